"""Verification of our own access tokens (RFC 9068) with the keys that auth publishes."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import jwt
from mailroom.auth.v1.auth_pb2 import ListSigningKeysRequest
from mailroom.auth.v1.auth_pb2_grpc import SessionServiceStub

from services.gateway.caller import Caller
from services.kit.errors import AppError, Kind, service_unavailable
from services.kit.jwks import FetchKeys, KeySet, KeysUnavailableError, PublishedKeys
from services.kit.jwt import InvalidTokenError, Keys, TokenRules, TokenVerifier
from services.kit.principals import actor_key_id
from services.kit.rpc.client import call
from services.kit.scopes import known_scopes

# Seconds. A key that auth has withdrawn is refused after this long.
MAX_AGE_SECONDS = 600.0
RETRY_SECONDS = 1.0
FETCH_TIMEOUT = 3.0
CLOCK_SKEW_SECONDS = 5
# Characters.
MAX_TOKEN_LENGTH = 4096
# Verified tokens that are remembered.
MOST_TOKENS = 5000
_TYPES = frozenset({"at+jwt", "application/at+jwt"})


def auth_key_set(sessions: SessionServiceStub, *, monotonic: Callable[[], float] = time.monotonic) -> KeySet:
    """Return auth's public keys, fetched when needed; the old set stays in use while auth is down."""
    return KeySet(_keys_from(sessions), algorithm="ES256", retry_interval=RETRY_SECONDS, monotonic=monotonic)


def _keys_from(sessions: SessionServiceStub) -> FetchKeys:
    async def fetch() -> PublishedKeys:
        try:
            answer = await call(sessions.ListSigningKeys, ListSigningKeysRequest(), timeout=FETCH_TIMEOUT)
        except AppError as error:
            raise KeysUnavailableError(error.reason) from error
        return PublishedKeys(answer.jwks.encode(), max_age=MAX_AGE_SECONDS)

    return fetch


@dataclass(frozen=True, slots=True)
class _Verified:
    key: jwt.PyJWK
    caller: Caller


class AccessTokens:
    """The verifier of access tokens."""

    def __init__(self, keys: Keys, *, issuer: str, audience: str, now: Callable[[], float] = time.time) -> None:
        rules = TokenRules(
            algorithm="ES256",
            issuers=frozenset({issuer}),
            audience=audience,
            required=frozenset({"sub"}),
            types=_TYPES,
            leeway=CLOCK_SKEW_SECONDS,
            longest=MAX_TOKEN_LENGTH,
        )
        self._verifier = TokenVerifier(rules, keys=keys, now=now)
        self._keys = keys
        self._now = now
        self._verified: dict[str, _Verified] = {}

    async def read(self, token: str) -> Caller:
        """Return the caller of a valid token. Raises AppError invalid_token, or service_unavailable without keys.

        A repeated token is not verified again (0.10 ms of CPU) before it expires, while its key is the same.
        """
        try:
            return (await self._known(token) or await self._verify(token)).caller
        except InvalidTokenError as error:
            raise invalid_token() from error
        except KeysUnavailableError as error:
            raise service_unavailable() from error

    async def _known(self, token: str) -> _Verified | None:
        known = self._verified.get(token)
        if known is None or await self._keys.find(known.key.key_id) is not known.key:
            return None
        if self._now() >= known.caller.expires_at + CLOCK_SKEW_SECONDS:
            raise InvalidTokenError("expired")
        return known

    async def _verify(self, token: str) -> _Verified:
        verified = await self._verifier.verify(token)
        claims = verified.claims
        caller = Caller(
            str(claims["sub"]),
            str(claims.get("sid", "")),
            int(claims["exp"]),
            token,
            actor_key_id=actor_key_id(claims) or "",
            scopes=known_scopes(str(claims.get("scope", "")).split()),
        )
        known = self._verified[token] = _Verified(verified.key, caller)
        if len(self._verified) > MOST_TOKENS:
            del self._verified[next(iter(self._verified))]
        return known


def invalid_token() -> AppError:
    """Return the error of any invalid token: a reason would help a forger only."""
    return AppError(Kind.UNAUTHENTICATED, "invalid_token", "The access token is invalid or has expired.")
