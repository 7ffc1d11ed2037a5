"""Who asks, proven to the end: the gateway passes on a signed principal, which the service behind it verifies.

The principal of a user is their access token; that of an API key is a short token that auth made for it.
"""

import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from uuid import UUID

import jwt

from services.kit.errors import AppError, Kind, service_unavailable
from services.kit.jwks import KeysUnavailableError
from services.kit.jwt import InvalidTokenError, Keys, TokenRules, TokenVerifier

# In the metadata of calls. Names that begin with `grpc-` are gRPC's own.
PRINCIPAL_HEADER = "mailroom-principal"
# The media type of the principal of an API key, so that it is no access token.
PRINCIPAL_TYPE = "mailroom-principal+jwt"
_ACCESS_TOKEN_TYPES = frozenset({"at+jwt", "application/at+jwt"})
_KEY = "key:"
# Seconds.
_LEEWAY = 30
# Characters.
_LONGEST = 8192
# Verified tokens that are remembered.
_MOST_TOKENS = 5000

_current: ContextVar["Principal | None"] = ContextVar("principal", default=None)


@dataclass(frozen=True, slots=True)
class Principal:
    """The user or the API key that asks; `subject` is the user's id or names the key."""

    subject: str
    # Of an API key only.
    application_id: UUID | None = None
    # Of an API key that is limited to these mailboxes.
    mailbox_ids: frozenset[UUID] | None = None


def key_subject(key_id: str) -> str:
    """Return the subject of an API key."""
    return _KEY + key_id


def current_principal() -> Principal | None:
    """Return the principal of the current call; None where the server verifies none."""
    return _current.get()


@dataclass(frozen=True, slots=True)
class _Verified:
    key: jwt.PyJWK
    principal: Principal
    expires_at: int


class Principals:
    """The verifier of principals. Verdicts are remembered until the token expires, while its key is the same."""

    def __init__(self, keys: Keys, *, issuer: str, now: Callable[[], float] = time.time) -> None:
        rules = TokenRules(
            algorithm="ES256",
            issuers=frozenset({issuer}),
            audience=issuer,
            required=frozenset({"sub"}),
            types=frozenset({PRINCIPAL_TYPE, *_ACCESS_TOKEN_TYPES}),
            leeway=_LEEWAY,
            longest=_LONGEST,
        )
        self._verifier = TokenVerifier(rules, keys=keys, now=now)
        self._keys = keys
        self._now = now
        self._verified: dict[str, _Verified] = {}

    async def bind(self, token: str, *, subject: str) -> None:
        """Bind the principal of a call that acts for `subject`.

        Raises AppError invalid_token, service_unavailable.
        """
        try:
            verified = await self._known(token) or await self._verify(token)
        except InvalidTokenError as error:
            raise _invalid() from error
        except KeysUnavailableError as error:
            raise service_unavailable() from error
        if verified.principal.subject != subject:
            raise _invalid()
        _current.set(verified.principal)

    async def _known(self, token: str) -> _Verified | None:
        known = self._verified.get(token)
        if known is None or await self._keys.find(known.key.key_id) is not known.key:
            return None
        if self._now() >= known.expires_at + _LEEWAY:
            raise InvalidTokenError("expired")
        return known

    async def _verify(self, token: str) -> _Verified:
        verified = await self._verifier.verify(token)
        claims = verified.claims
        known = self._verified[token] = _Verified(verified.key, _principal_of(claims), int(claims["exp"]))
        if len(self._verified) > _MOST_TOKENS:
            del self._verified[next(iter(self._verified))]
        return known


def _principal_of(claims: dict[str, object]) -> Principal:
    subject = str(claims["sub"])
    if not subject.startswith(_KEY):
        return Principal(subject)
    mailbox_ids = claims.get("mailboxes")
    try:
        return Principal(
            subject,
            application_id=UUID(str(claims["app"])),
            mailbox_ids=None if mailbox_ids is None else frozenset(map(UUID, _texts(mailbox_ids))),
        )
    except (KeyError, ValueError) as error:
        raise InvalidTokenError("no application") from error


def _texts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def _invalid() -> AppError:
    return AppError(Kind.UNAUTHENTICATED, "invalid_token", "The call does not prove who asks.")
