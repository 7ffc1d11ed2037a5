"""Users of the sandbox, and the tokens that identify them: access tokens, ID tokens, push tokens."""

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from services.sandbox.clock import Clock
from services.sandbox.google.oauth.grants import Grants
from services.sandbox.google.oauth.grants_file import GrantsFile
from services.sandbox.google.oauth.scopes import EMAIL, PROFILE
from services.sandbox.google.oauth.signing_keys import SigningKeys
from services.sandbox.mailboxes.user import User

ID_TOKEN_LIFETIME = 3600


@dataclass(frozen=True, slots=True)
class Deviations:
    """Treatment of one user, where Google's differs between real users."""

    iss: bool = True
    """Whether the callback carries `iss` (RFC 9207)."""
    testing: bool = False
    """Whether the consent screen has the status Testing: grants end seven days after consent."""
    refresh_token_cap: int = 100
    authorize_error: str | None = None
    """Redirect with this `error` instead of a code, as an administrator's policy does."""
    rapt_required: bool = False
    """Whether refreshing needs the user to sign in again (`invalid_rapt`)."""
    extra_fields: bool = False
    """Whether responses have undocumented fields."""
    empty_arrays: bool = False
    """Whether Gmail sends empty arrays instead of omitting the key."""


@dataclass(frozen=True, slots=True)
class Access:
    """Scopes of an access token, and its user."""

    user: User
    client_id: str
    scopes: frozenset[str]


class UserExistsError(ValueError):
    """The address belongs to another account."""


class SandboxUsers:
    """Users with their grants, and the keys that sign their tokens."""

    def __init__(
        self,
        *,
        clock: Clock,
        issuer: str,
        access_lifetime: float,
        new_token: Callable[[int], str],
        new_key: Callable[[], RSAPrivateKey],
        seed: int = 0,
        grants_file: GrantsFile | None = None,
    ) -> None:
        self.grants = Grants(clock=clock, access_lifetime=access_lifetime, new_token=new_token, file=grants_file)
        self.keys = SigningKeys(lambda: new_token(20), new_key=new_key)
        self.issuer = issuer
        self._clock = clock
        self._seed = seed
        self._users: dict[str, User] = {}
        self._by_email: dict[str, str] = {}
        self._deviations: dict[str, Deviations] = {}
        self._creations: dict[str, int] = {}

    def add_user(
        self,
        email: str,
        *,
        name: str | None = None,
        email_verified: bool = True,
        hd: str | None = None,
        send_as: tuple[str, ...] = (),
    ) -> User:
        """Create an account. Raises UserExistsError if the address is taken.

        The `sub` follows from the seed and the address, so it survives a restart; an address created again after a
        removal gets another one, as at Google.
        """
        self._require_free(email)
        key = email.lower()
        self._creations[key] = self._creations.get(key, 0) + 1
        digest = hashlib.sha256(f"{self._seed}:{self._creations[key]}:{key}".encode()).digest()
        sub = f"1{int.from_bytes(digest[:16]) % 10**20:020d}"
        user = User(sub, email, name or _name_from(email), email_verified, hd, send_as)
        self._users[sub] = user
        self._by_email[key] = sub
        return user

    def change_user(self, sub: str, changes: Mapping[str, Any]) -> User:
        """Change attributes by name, the address included. Raises KeyError for an unknown `sub`."""
        old = self._users[sub]
        user = replace(old, **changes)
        if user.email.lower() != old.email.lower():
            self._require_free(user.email)
            del self._by_email[old.email.lower()]
            self._by_email[user.email.lower()] = sub
        self._users[sub] = user
        return user

    def remove_user(self, sub: str) -> None:
        """Delete an account with its grants. Raises KeyError for an unknown `sub`."""
        user = self._users.pop(sub)
        del self._by_email[user.email.lower()]
        self._deviations.pop(sub, None)
        self.grants.revoke(sub)

    def all(self) -> list[User]:
        """Return all accounts, oldest first."""
        return list(self._users.values())

    def find_user(self, email: str) -> User | None:
        """Return the account with this address, in any case, or None."""
        sub = self._by_email.get(email.lower())
        return None if sub is None else self._users[sub]

    def find_sub(self, sub: str) -> User | None:
        """Return the account with this key, or None."""
        return self._users.get(sub)

    def deviations(self, sub: str) -> Deviations:
        """Return how this user is treated."""
        return self._deviations.get(sub, _ORDINARY)

    def set_deviations(self, sub: str, deviations: Deviations) -> None:
        """Replace how this user is treated."""
        self._deviations[sub] = deviations

    def check_access(self, token: str) -> Access | None:
        """Return the access of a valid access token; None for any other string."""
        held = self.grants.find_access(token)
        user = self._users.get(held.sub) if held else None
        return Access(user, held.client_id, held.scopes) if held and user else None

    def profile(self, user: User, scopes: frozenset[str]) -> dict[str, object]:
        """Return the standard claims that the scopes cover; `sub` always."""
        claims: dict[str, object] = {"sub": user.sub}
        if PROFILE in scopes:
            given, _, family = user.name.partition(" ")
            claims |= {"name": user.name, "picture": f"{self.issuer}/avatars/{user.sub}.svg", "given_name": given}
            if family:
                claims["family_name"] = family
        if EMAIL in scopes:
            claims |= {"email": user.email, "email_verified": user.email_verified}
            if user.hd:
                claims["hd"] = user.hd
        return claims

    def id_token(
        self,
        user: User,
        *,
        client_id: str,
        scopes: frozenset[str],
        access_token: str,
        nonce: str | None = None,
        auth_time: int | None = None,
    ) -> str:
        """Sign an OIDC ID token bound to the access token; without `nonce` if the client gave none.

        `auth_time` is what Google adds for projects with "Session age claims". Source: Google "Security bundle".
        """
        now = int(self._clock.now())
        half = hashlib.sha256(access_token.encode()).digest()[:16]
        claims = {"iss": self.issuer, "azp": client_id, "aud": client_id, **self.profile(user, scopes)}
        claims["at_hash"] = base64.urlsafe_b64encode(half).rstrip(b"=").decode()
        if nonce is not None:
            claims["nonce"] = nonce
        if auth_time is not None:
            claims["auth_time"] = auth_time
        return self.keys.sign({**claims, "iat": now, "exp": now + ID_TOKEN_LIFETIME})

    def certificates(self) -> dict[str, str]:
        """Return the certificates of the published keys by `kid`."""
        return self.keys.certificates(now=self._clock.now())

    def push_token(self, *, audience: str, service_account: str) -> str:
        """Sign the OIDC token of a Pub/Sub push, valid for an hour."""
        now = int(self._clock.now())
        subject = str(int.from_bytes(hashlib.sha256(service_account.encode()).digest()[:8]))
        claims = {"iss": self.issuer, "aud": audience, "azp": subject, "sub": subject, "email": service_account}
        return self.keys.sign({**claims, "email_verified": True, "iat": now, "exp": now + ID_TOKEN_LIFETIME})

    def _require_free(self, email: str) -> None:
        if email.lower() in self._by_email:
            raise UserExistsError(f"{email} exists already")


_ORDINARY = Deviations()


def _name_from(email: str) -> str:
    words = email.partition("@")[0].replace(".", " ").replace("_", " ").replace("-", " ").split()
    return " ".join(word.capitalize() for word in words) or email
