"""Our own access tokens: short-lived JWTs (RFC 9068) that name a user and their session."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import jwt

from services.auth.model import ApiKey
from services.auth.sessions.signing_keys import SigningKey, SigningKeys
from services.kit.principals import PRINCIPAL_TYPE, key_subject
from services.kit.scopes import Scope

LIFETIME = timedelta(minutes=15)
# The operator's frontend is the only client; RFC 9068 requires its name.
CLIENT_ID = "mailroom"


@dataclass(frozen=True)
class AccessToken:
    """A signed token for the REST API."""

    value: str = field(repr=False)
    expires_at: datetime


class AccessTokens:
    """The issuer of access tokens."""

    def __init__(
        self,
        *,
        signing_keys: SigningKeys,
        issuer: str,
        clock: Callable[[], datetime],
        new_id: Callable[[], UUID],
    ) -> None:
        self._signing_keys = signing_keys
        self._issuer = issuer
        self._clock = clock
        self._new_id = new_id

    async def issue(
        self, user_id: UUID, *, session_id: UUID, signed_in_at: datetime, session_expires_at: datetime
    ) -> AccessToken:
        """Issue a token that expires with the session at the latest. Our public address is issuer and audience."""
        key = await self._signing_keys.current()
        now = self._clock()
        expires_at = min(now + LIFETIME, session_expires_at)
        claims = {
            "iss": self._issuer,
            "aud": self._issuer,
            "sub": str(user_id),
            "client_id": CLIENT_ID,
            "iat": int(now.timestamp()),
            "exp": int(expires_at.timestamp()),
            "jti": str(self._new_id()),
            # The time of the sign-in, which refreshes do not change (RFC 9068, section 2.2.1).
            "auth_time": int(signed_in_at.timestamp()),
            # The session's id, as OpenID Connect Front-Channel Logout names it.
            "sid": str(session_id),
        }
        return _signed(claims, key, type_="at+jwt", expires_at=expires_at)

    async def issue_by_exchange(self, user_id: UUID, *, api_key: ApiKey, scopes: Collection[Scope]) -> AccessToken:
        """Issue a token of a user in which the key is the actor (RFC 8693 section 4.1); it expires with the key.

        It is of no session, so that nothing refreshes it.
        """
        key = await self._signing_keys.current()
        now = self._clock()
        expires_at = _end(api_key, now)
        claims = {
            "iss": self._issuer,
            "aud": self._issuer,
            "sub": str(user_id),
            "client_id": str(api_key.application_id),
            "iat": int(now.timestamp()),
            "exp": int(expires_at.timestamp()),
            "jti": str(self._new_id()),
            "scope": " ".join(sorted(scopes)),
            "act": {"sub": key_subject(api_key.key_id)},
        }
        return _signed(claims, key, type_="at+jwt", expires_at=expires_at)

    async def issue_for_key(self, api_key: ApiKey) -> AccessToken:
        """Issue the principal of an API key: a token by which services behind the gateway recognise it."""
        key = await self._signing_keys.current()
        now = self._clock()
        expires_at = _end(api_key, now)
        claims = {
            "iss": self._issuer,
            "aud": self._issuer,
            "sub": key_subject(api_key.key_id),
            "iat": int(now.timestamp()),
            "exp": int(expires_at.timestamp()),
            "jti": str(self._new_id()),
            "scope": " ".join(sorted(api_key.scopes)),
        }
        if api_key.application_id is not None:
            claims["app"] = str(api_key.application_id)
        if api_key.mailbox_ids is not None:
            claims["mailboxes"] = sorted(map(str, api_key.mailbox_ids))
        return _signed(claims, key, type_=PRINCIPAL_TYPE, expires_at=expires_at)


def _end(api_key: ApiKey, now: datetime) -> datetime:
    return now + LIFETIME if api_key.expires_at is None else min(now + LIFETIME, api_key.expires_at)


def _signed(claims: dict[str, Any], key: SigningKey, *, type_: str, expires_at: datetime) -> AccessToken:
    headers = {"typ": type_, "kid": key.key_id}
    return AccessToken(jwt.encode(claims, key.private_key, algorithm="ES256", headers=headers), expires_at)
