"""Our own access tokens: short-lived JWTs (RFC 9068) that name a user and their session."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import jwt

from services.auth.sessions.signing_keys import SigningKeys

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
        headers = {"typ": "at+jwt", "kid": key.key_id}
        return AccessToken(jwt.encode(claims, key.private_key, algorithm="ES256", headers=headers), expires_at)
