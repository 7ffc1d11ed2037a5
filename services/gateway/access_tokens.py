"""Verification of our own access tokens (RFC 9068) with the keys that auth publishes."""

import time
from collections.abc import Callable
from typing import Any

from mailroom.auth.v1.auth_pb2 import ListSigningKeysRequest
from mailroom.auth.v1.auth_pb2_grpc import SessionServiceStub

from services.gateway.caller import Caller
from services.kit.errors import AppError, Kind, service_unavailable
from services.kit.jwks import FetchKeys, KeySet, KeysUnavailableError, PublishedKeys
from services.kit.jwt import InvalidTokenError, Keys, RememberingVerifier, TokenRules
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
        self._tokens = RememberingVerifier(rules, keys=keys, now=now, content_of=_caller_of)

    async def read(self, token: str) -> Caller:
        """Return the caller of a valid token. Raises AppError invalid_token, or service_unavailable without keys."""
        try:
            return await self._tokens.read(token)
        except InvalidTokenError as error:
            raise invalid_token() from error
        except KeysUnavailableError as error:
            raise service_unavailable() from error


def _caller_of(token: str, claims: dict[str, Any]) -> Caller:
    actor = actor_key_id(claims) or ""
    return Caller(
        str(claims["sub"]),
        str(claims.get("sid", "")),
        int(claims["exp"]),
        token,
        actor_key_id=actor,
        application_id=str(claims.get("client_id", "")) if actor else "",
        scopes=known_scopes(str(claims.get("scope", "")).split()),
    )


def invalid_token() -> AppError:
    """Return the error of any invalid token: a reason would help a forger only."""
    return AppError(Kind.UNAUTHENTICATED, "invalid_token", "The access token is invalid or has expired.")
