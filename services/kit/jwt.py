"""Verification of JSON Web Tokens (RFC 7519) as RFC 8725 advises.

One algorithm per verifier, the header is checked before any key is looked up, and times are compared with an injected
clock. Errors name the broken rule and quote nothing of the token.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import jwt

from services.kit.jwks import Algorithm

# Verified tokens that are remembered.
MOST_TOKENS = 5000


class InvalidTokenError(Exception):
    """The token breaks a rule, which the text names."""


class Keys(Protocol):
    """The source of the keys that verify signatures."""

    async def find(self, key_id: str | None, /) -> jwt.PyJWK | None:
        """Return the key with this id, or the only one for None; None if it is unknown. Raises KeysUnavailableError."""
        ...


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """The claims of a token, and the key that verified its signature."""

    claims: dict[str, Any]
    key: jwt.PyJWK


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRules:
    """The rules for a token. `required` claims are checked for presence, as are iss, aud, exp and iat."""

    algorithm: Algorithm
    issuers: frozenset[str]
    audience: str
    required: frozenset[str] = frozenset()
    # Accepted media types (`typ`, RFC 8725, section 3.11) in lower case; None accepts any.
    types: frozenset[str] | None = None
    # Seconds by which the issuer's clock may differ from ours.
    leeway: float
    # Characters of the longest token that is read.
    longest: int


class TokenVerifier:
    """The verifier of an issuer's tokens. `now` returns Unix time in seconds."""

    def __init__(self, rules: TokenRules, *, keys: Keys, now: Callable[[], float]) -> None:
        self._rules = rules
        self._keys = keys
        self._now = now
        # Times are checked below, against the injected clock.
        self._options: jwt.types.Options = {
            "require": ["iss", "aud", "exp", "iat", *rules.required],
            "verify_signature": True,
            "verify_iss": True,
            "verify_aud": True,
            "verify_sub": True,
            "verify_exp": False,
            "verify_iat": False,
            "verify_nbf": False,
        }

    async def verify(self, token: str) -> VerifiedToken:
        """Verify signature and claims. Raises InvalidTokenError, KeysUnavailableError."""
        key = await self._keys.find(self._key_id(token))
        if key is None:
            raise InvalidTokenError("unknown key")
        return VerifiedToken(self._claims(token, key, self._options), key)

    def claims_without_signature(self, token: str) -> dict[str, Any]:
        """Check all but the signature, of a token whose channel proves its origin. Raises InvalidTokenError."""
        self._key_id(token)
        return self._claims(token, None, {**self._options, "verify_signature": False})

    def _key_id(self, token: str) -> str | None:
        if len(token) > self._rules.longest:
            raise InvalidTokenError("too long")
        try:
            header = jwt.get_unverified_header(token)
        # ValueError: text that has no UTF-8 form.
        except (jwt.PyJWTError, ValueError) as error:
            raise InvalidTokenError(type(error).__name__) from error
        if header.get("alg") != self._rules.algorithm:
            raise InvalidTokenError("another algorithm")
        if self._rules.types is not None and str(header.get("typ")).lower() not in self._rules.types:
            raise InvalidTokenError("another type")
        key_id: str | None = header.get("kid")
        return key_id

    def _claims(self, token: str, key: jwt.PyJWK | None, options: jwt.types.Options) -> dict[str, Any]:
        try:
            claims = jwt.decode(
                token,
                key or "",
                algorithms=[self._rules.algorithm],
                audience=self._rules.audience,
                issuer=self._rules.issuers,
                options=options,
            )
        except jwt.PyJWTError as error:
            raise InvalidTokenError(type(error).__name__) from error
        self._check_times(claims)
        return claims

    def _check_times(self, claims: dict[str, Any]) -> None:
        expires, starts = claims["exp"], [claims[name] for name in ("iat", "nbf") if name in claims]
        if not all(_is_time(time) for time in (expires, *starts)):
            raise InvalidTokenError("a time that is not a number")
        now = self._now()
        if expires <= now - self._rules.leeway:
            raise InvalidTokenError("expired")
        if max(starts) > now + self._rules.leeway:
            raise InvalidTokenError("not valid yet")


class RememberingVerifier[Content]:
    """A verifier that keeps what the last tokens said: a repeated one is not verified again (0.10 ms of CPU).

    It is kept until the token expires, while its key is the same. `content_of` gets the token and its claims, and may
    raise InvalidTokenError.
    """

    def __init__(
        self,
        rules: TokenRules,
        *,
        keys: Keys,
        now: Callable[[], float],
        content_of: Callable[[str, dict[str, Any]], Content],
        most: int = MOST_TOKENS,
    ) -> None:
        self._verifier = TokenVerifier(rules, keys=keys, now=now)
        self._leeway = rules.leeway
        self._keys = keys
        self._now = now
        self._content_of = content_of
        self._most = most
        self._remembered: dict[str, _Remembered[Content]] = {}

    async def read(self, token: str) -> Content:
        """Return the content of a token. Raises InvalidTokenError, KeysUnavailableError."""
        known = self._remembered.get(token)
        if known is None or await self._keys.find(known.key.key_id) is not known.key:
            return await self._verify(token)
        if self._now() >= known.expires_at + self._leeway:
            raise InvalidTokenError("expired")
        return known.content

    async def _verify(self, token: str) -> Content:
        verified = await self._verifier.verify(token)
        content = self._content_of(token, verified.claims)
        self._remembered[token] = _Remembered(verified.key, int(verified.claims["exp"]), content)
        if len(self._remembered) > self._most:
            del self._remembered[next(iter(self._remembered))]
        return content


@dataclass(frozen=True, slots=True)
class _Remembered[Content]:
    key: jwt.PyJWK
    expires_at: int
    content: Content


def _is_time(value: object) -> bool:
    """Return whether the value is a number that can be compared; a large `int` has no `float`."""
    return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
