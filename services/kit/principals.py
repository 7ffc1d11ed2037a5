"""Who asks, proven to the end: the gateway passes on a signed principal, which the service behind it verifies.

The principal of a user is their access token; that of an API key is a short token that auth made for it.
"""

import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from services.kit.errors import AppError, Kind, service_unavailable
from services.kit.jwks import KeysUnavailableError
from services.kit.jwt import InvalidTokenError, Keys, RememberingVerifier, TokenRules

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

_current: ContextVar["Principal | None"] = ContextVar("principal", default=None)


@dataclass(frozen=True, slots=True)
class Principal:
    """The user or the API key that asks; `subject` is the user's id or names the key."""

    subject: str
    # Of an API key only.
    application_id: UUID | None = None
    # Of an API key that is limited to these mailboxes.
    mailbox_ids: frozenset[UUID] | None = None
    # The API key that acts for the user (RFC 8693 section 4.1); None: the user has signed in.
    actor_key_id: str | None = None

    @property
    def is_operator(self) -> bool:
        """Whether it is an operator's key, which reaches applications and no mail."""
        return self.subject.startswith(_KEY) and self.application_id is None


def key_subject(key_id: str) -> str:
    """Return the subject of an API key."""
    return _KEY + key_id


def current_principal() -> Principal | None:
    """Return the principal of the current call; None where the server verifies none."""
    return _current.get()


class Principals:
    """The verifier of principals.

    Operator keys, which have no application, are principals only where `operators` says so.
    """

    def __init__(
        self, keys: Keys, *, issuer: str, operators: bool = False, now: Callable[[], float] = time.time
    ) -> None:
        rules = TokenRules(
            algorithm="ES256",
            issuers=frozenset({issuer}),
            audience=issuer,
            required=frozenset({"sub"}),
            types=frozenset({PRINCIPAL_TYPE, *_ACCESS_TOKEN_TYPES}),
            leeway=_LEEWAY,
            longest=_LONGEST,
        )
        self._operators = operators
        self._tokens = RememberingVerifier(rules, keys=keys, now=now, content_of=self._principal_of)

    async def bind(self, token: str, *, subject: str) -> None:
        """Bind the principal of a call that acts for `subject`.

        Raises AppError invalid_token, service_unavailable.
        """
        principal = await self.read(token)
        if principal.subject != subject:
            raise unproven_caller()
        _current.set(principal)

    async def read(self, token: str) -> Principal:
        """Return the principal that a token proves. Raises AppError invalid_token, service_unavailable."""
        try:
            return await self._tokens.read(token)
        except InvalidTokenError as error:
            raise unproven_caller() from error
        except KeysUnavailableError as error:
            raise service_unavailable() from error

    def _principal_of(self, _: str, claims: dict[str, Any]) -> Principal:
        principal = _principal_of(claims)
        if principal.is_operator and not self._operators:
            raise InvalidTokenError("no application")
        return principal


def _principal_of(claims: dict[str, Any]) -> Principal:
    subject = str(claims["sub"])
    if not subject.startswith(_KEY):
        return Principal(subject, actor_key_id=actor_key_id(claims))
    mailbox_ids = claims.get("mailboxes")
    try:
        return Principal(
            subject,
            application_id=UUID(str(claims["app"])) if "app" in claims else None,
            mailbox_ids=None if mailbox_ids is None else frozenset(map(UUID, _texts(mailbox_ids))),
        )
    except ValueError as error:
        raise InvalidTokenError("an id that is no UUID") from error


def actor_key_id(claims: dict[str, Any]) -> str | None:
    """Return the API key for which a user's token was made; None for one of a session. Raises InvalidTokenError."""
    if "act" not in claims:
        return None
    actor = claims["act"]
    subject = str(actor.get("sub", "")) if isinstance(actor, dict) else ""
    if not subject.startswith(_KEY) or subject == _KEY:
        raise InvalidTokenError("an actor that is no API key")
    return subject.removeprefix(_KEY)


def _texts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def unproven_caller() -> AppError:
    """Return the error of a call whose principal does not prove who asks."""
    return AppError(Kind.UNAUTHENTICATED, "invalid_token", "The call does not prove who asks.")
