"""userinfo and tokeninfo, in the shapes of both generations of these endpoints."""

import jwt

from services.sandbox.clock import Clock
from services.sandbox.google.oauth.grants import AccessToken
from services.sandbox.google.oauth.scopes import EMAIL, SIGN_IN_SCOPES, token_scope
from services.sandbox.google.oauth.users import Access, SandboxUsers
from services.sandbox.mailboxes.user import User

_V2_NAMES = {"sub": "id", "email_verified": "verified_email"}


class UserInfoEndpoint:
    """Describes tokens. Methods return None for a token that is unknown, expired or too narrow."""

    def __init__(self, *, users: SandboxUsers, clock: Clock) -> None:
        self._users = users
        self._clock = clock

    def userinfo(self, access: Access) -> dict[str, object] | None:
        """Return OIDC userinfo; None if the token covers no sign-in scope."""
        if not access.scopes & SIGN_IN_SCOPES:
            return None
        claims = self._users.profile(access.user, access.scopes)
        if self._users.deviations(access.user.sub).extra_fields:
            claims["sandbox_unknown_field"] = {"ignore": ["me"]}
        return claims

    def userinfo_v2(self, access: Access) -> dict[str, object] | None:
        """Return the legacy form, with `id` and `verified_email`."""
        claims = self.userinfo(access)
        return None if claims is None else {_V2_NAMES.get(name, name): value for name, value in claims.items()}

    def tokeninfo(self, token: str) -> dict[str, object] | None:
        """Describe an access token, with numbers and booleans as strings."""
        held, user = self._held(token)
        if held is None or user is None:
            return None
        facts = {
            "azp": held.client_id,
            "aud": held.client_id,
            "sub": user.sub,
            "scope": token_scope(held.scopes),
            "exp": str(int(held.expires_at)),
            "expires_in": str(self._left(held)),
        }
        if EMAIL in held.scopes:
            facts |= {"email": user.email, "email_verified": str(user.email_verified).lower()}
        return {**facts, "access_type": "offline" if held.offline else "online"}

    def tokeninfo_v2(self, token: str) -> dict[str, object] | None:
        """Describe an access token in the legacy form."""
        held, user = self._held(token)
        if held is None or user is None:
            return None
        facts: dict[str, object] = {
            "issued_to": held.client_id,
            "audience": held.client_id,
            "user_id": user.sub,
            "scope": token_scope(held.scopes),
            "expires_in": self._left(held),
        }
        if EMAIL in held.scopes:
            facts |= {"email": user.email, "verified_email": user.email_verified}
        return {**facts, "access_type": "offline" if held.offline else "online"}

    def id_tokeninfo(self, token: str) -> dict[str, object] | None:
        """Return the claims of a valid ID token as strings, with its header."""
        try:
            claims = self._users.keys.verify(token)
            header = jwt.get_unverified_header(token)
        except jwt.InvalidTokenError:
            return None
        if claims["exp"] <= self._clock.now():
            return None
        texts = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in claims.items()}
        return {**texts, "alg": header["alg"], "kid": header["kid"], "typ": header["typ"]}

    def _held(self, token: str) -> tuple[AccessToken | None, User | None]:
        held = self._users.grants.find_access(token)
        return held, self._users.find_sub(held.sub) if held else None

    def _left(self, held: AccessToken) -> int:
        return int(held.expires_at - self._clock.now())
