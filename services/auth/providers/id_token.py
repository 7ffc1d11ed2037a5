"""Validating ID tokens (OpenID Connect Core 1.0, section 3.1.3.7)."""

import base64
import hashlib
import math
from collections.abc import Callable
from datetime import datetime
from typing import Any

import jwt

from services.auth.providers.base import IdentityRefusedError, ProviderUnavailableError
from services.kit.http.jwks import KeySet

LEEWAY = 60.0
_REQUIRED = ["iss", "sub", "aud", "exp", "iat", "nonce"]
# Times are checked below against the injected clock; the issuer has two spellings.
_OPTIONS: jwt.types.Options = {
    "require": _REQUIRED,
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
    "verify_iss": False,
}


class IdTokens:
    """Reads the claims of a provider's ID tokens, RS256 only.

    `trusted_channel`: the token endpoint proves by itself where the token comes from (section 3.1.3.7, item 6), so that
    the signature may go unchecked when no keys can be had. All claims are checked in any case.
    """

    def __init__(
        self,
        *,
        client_id: str,
        issuers: frozenset[str],
        keys: KeySet | None,
        trusted_channel: bool,
        clock: Callable[[], datetime],
    ) -> None:
        self._client_id = client_id
        self._issuers = issuers
        self._keys = keys
        self._trusted_channel = trusted_channel
        self._clock = clock

    async def read(self, token: str, *, nonce: str, access_token: str) -> tuple[dict[str, Any], bool]:
        """The claims, and whether the signature was checked too.

        Raises IdentityRefusedError, or ProviderUnavailableError if the keys are needed and cannot be had.
        """
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") != "RS256":
                raise IdentityRefusedError("ID token: not signed with RS256")
            key = await self._key(header.get("kid"))
            claims = self._decode(token, key)
        except jwt.PyJWTError as error:
            raise IdentityRefusedError(f"ID token: {type(error).__name__}") from error
        self._check(claims, nonce=nonce, access_token=access_token)
        return claims, key is not None

    async def _key(self, key_id: str | None) -> jwt.PyJWK | None:
        try:
            if self._keys is None:
                raise ProviderUnavailableError("the provider publishes no signing keys")
            key = await self._keys.find(key_id)
        except ProviderUnavailableError:
            if self._trusted_channel:
                return None
            raise
        if key is None:
            # Keys are published and this one is not among them: never a reason to look away.
            raise IdentityRefusedError("ID token: signed with an unknown key")
        return key

    def _decode(self, token: str, key: jwt.PyJWK | None) -> dict[str, Any]:
        if key is not None:
            return jwt.decode(token, key, algorithms=["RS256"], audience=self._client_id, options=_OPTIONS)
        unsigned: jwt.types.Options = {**_OPTIONS, "verify_signature": False, "verify_aud": True}
        return jwt.decode(token, audience=self._client_id, options=unsigned)

    def _check(self, claims: dict[str, Any], *, nonce: str, access_token: str) -> None:
        if not isinstance(claims["iss"], str) or claims["iss"] not in self._issuers:
            raise IdentityRefusedError("ID token: another issuer")
        # PyJWT has found our id in `aud`; where others are named too, we must be the authorized party.
        shared = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if claims.get("azp", None if shared else self._client_id) != self._client_id:
            raise IdentityRefusedError("ID token: for another client")
        self._check_times(claims)
        # Nobody can try nonces one by one: each comes in a token that the provider made for a code.
        if claims["nonce"] != nonce:
            raise IdentityRefusedError("ID token: another nonce")
        if claims.get("at_hash", _at_hash(access_token)) != _at_hash(access_token):
            raise IdentityRefusedError("ID token: for another access token")

    def _check_times(self, claims: dict[str, Any]) -> None:
        expires, issued = claims["exp"], claims["iat"]
        if not all(isinstance(moment, int | float) and math.isfinite(moment) for moment in (expires, issued)):
            raise IdentityRefusedError("ID token: times that are not numbers")
        now = self._clock().timestamp()
        if expires <= now - LEEWAY or issued > now + LEEWAY:
            raise IdentityRefusedError("ID token: expired, or issued in the future")


def _at_hash(access_token: str) -> str:
    """The claim that ties an access token to an ID token signed with SHA-256 (section 3.1.3.6)."""
    digest = hashlib.sha256(access_token.encode()).digest()
    return base64.urlsafe_b64encode(digest[: len(digest) // 2]).decode().rstrip("=")
