"""Validation of ID tokens (OpenID Connect Core 1.0, section 3.1.3.7)."""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from services.auth.providers.base import AuthenticationTooOldError, IdentityRefusedError, ProviderUnavailableError
from services.kit.jwks import KeySet, KeysUnavailableError
from services.kit.jwt import InvalidTokenError, TokenRules, TokenVerifier

LEEWAY = 60.0
# Characters. Tokens that list a user's groups reach some kilobytes.
LONGEST_TOKEN = 65_536


@dataclass(frozen=True)
class ExpectedAuthentication:
    """What the ID token of a sign-in must agree with.

    `max_age` is the largest age of the user's authentication in seconds; None takes any.
    """

    nonce: str
    access_token: str = field(repr=False)
    max_age: int | None


class IdTokens:
    """The validator of a provider's ID tokens, RS256 only.

    `keys` is None where the provider publishes none. With a `trusted_channel` the call to the token endpoint proves the
    origin of the token (section 3.1.3.7, item 6): its signature may go unchecked while the keys are unavailable. All
    claims are checked in any case.
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
        self._trusted_channel = trusted_channel
        self._clock = clock
        rules = TokenRules(
            algorithm="RS256",
            issuers=issuers,
            audience=client_id,
            required=frozenset({"sub", "nonce"}),
            leeway=LEEWAY,
            longest=LONGEST_TOKEN,
        )
        self._verifier = TokenVerifier(rules, keys=keys or _NoKeys(), now=lambda: clock().timestamp())

    async def read(self, token: str, expected: ExpectedAuthentication) -> tuple[dict[str, Any], bool]:
        """Return the checked claims, and whether the signature was checked too.

        Raises IdentityRefusedError, AuthenticationTooOldError, or ProviderUnavailableError if the keys are needed and
        unavailable.
        """
        try:
            claims, proven = await self._verify(token)
        except InvalidTokenError as error:
            raise IdentityRefusedError(f"ID token: {error}") from error
        self._check(claims, nonce=expected.nonce, access_token=expected.access_token)
        if expected.max_age is not None:
            self._check_age(claims.get("auth_time"), max_age=expected.max_age)
        return claims, proven

    async def _verify(self, token: str) -> tuple[dict[str, Any], bool]:
        try:
            return (await self._verifier.verify(token)).claims, True
        except KeysUnavailableError as error:
            if not self._trusted_channel:
                raise ProviderUnavailableError(f"signing keys: {error}") from error
        return self._verifier.claims_without_signature(token), False

    def _check(self, claims: dict[str, Any], *, nonce: str, access_token: str) -> None:
        # `aud` holds our id. If it holds others too, we must be the authorized party.
        shared = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if claims.get("azp", None if shared else self._client_id) != self._client_id:
            raise IdentityRefusedError("ID token: for another client")
        # A comparison in variable time is safe: each guess needs a token that the provider signed for a code.
        if claims["nonce"] != nonce:
            raise IdentityRefusedError("ID token: another nonce")
        if claims.get("at_hash", _at_hash(access_token)) != _at_hash(access_token):
            raise IdentityRefusedError("ID token: for another access token")

    def _check_age(self, auth_time: object, *, max_age: int) -> None:
        """Check the claim that a request with `max_age` requires (section 3.1.3.7, item 12)."""
        if isinstance(auth_time, bool) or not isinstance(auth_time, int | float):
            raise AuthenticationTooOldError("ID token: no auth_time")
        # In this form it refuses NaN, and takes integers of any size.
        if not -LEEWAY <= int(self._clock().timestamp()) - auth_time <= max_age + LEEWAY:
            raise AuthenticationTooOldError("ID token: the authentication is not of the last max_age seconds")


class _NoKeys:
    """The keys of a provider that publishes none."""

    async def find(self, _: str | None, /) -> None:
        raise KeysUnavailableError("the provider publishes none")


def _at_hash(access_token: str) -> str:
    """Return the claim that binds an access token to an ID token signed with SHA-256 (section 3.1.3.6)."""
    digest = hashlib.sha256(access_token.encode()).digest()
    return base64.urlsafe_b64encode(digest[: len(digest) // 2]).decode().rstrip("=")
