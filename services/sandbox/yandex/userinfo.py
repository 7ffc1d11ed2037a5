"""Userinfo, which tells who an access token belongs to. Source: yandex.com/dev/id, "User data"."""

import hashlib

from services.sandbox.mailboxes.user import User
from services.sandbox.yandex.grants_file import TokenPair
from services.sandbox.yandex.scopes import AVATAR, BIRTHDAY, EMAIL, INFO, PHONE


def id_of(user: User) -> str:
    """Return the user's id at Yandex: digits, another number than at other providers."""
    return str(int.from_bytes(hashlib.sha256(f"yandex:{user.sub}".encode()).digest()[:4]) + 10**9)


def userinfo(user: User, pair: TokenPair) -> dict[str, object]:
    """Return the fields that the token's scopes cover; `id`, `login`, `client_id` and `psuid` always."""
    pairwise = hashlib.sha256(f"{pair.client_id}:{user.sub}".encode()).hexdigest()[:20]
    facts: dict[str, object] = {
        "id": id_of(user),
        "login": user.email.partition("@")[0],
        "client_id": pair.client_id,
        "psuid": f"1.AA{pairwise}",
    }
    if EMAIL in pair.scopes:
        facts |= {"default_email": user.email, "emails": list(user.addresses)}
    if INFO in pair.scopes:
        first, _, last = user.name.partition(" ")
        facts |= {"display_name": user.name, "real_name": user.name, "first_name": first, "last_name": last}
        facts["sex"] = None
    if AVATAR in pair.scopes:
        facts |= {"default_avatar_id": "0/0-0", "is_avatar_empty": True}
    facts |= {name: None for name, scope in (("birthday", BIRTHDAY), ("default_phone", PHONE)) if scope in pair.scopes}
    return facts
