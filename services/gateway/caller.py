"""The caller of a request: a user with a session, an API key, or a user for whom an API key acts."""

from dataclasses import dataclass, field

from starlette.types import Scope as Request

from services.gateway.access import KEYS_ONLY, OF_USERS, Credential, requirement_of
from services.kit.errors import AppError, Kind
from services.kit.scopes import Scope

# In the scope of a request: the id of its operation, and its caller once that is known.
OPERATION = "mailroom.operation"
_CALLER = "mailroom.caller"


@dataclass(frozen=True, slots=True)
class Caller:
    """The user and session of a request, or its API key, with the token that proves it to other services.

    The token expires at the Unix time `expires_at`. The `user_id` of an API key is `key:<id>`.
    """

    user_id: str
    session_id: str
    expires_at: int
    token: str = field(repr=False)
    # The API key that a user's access token was exchanged for; empty for one of a session.
    actor_key_id: str = ""
    # The application of an API key, and of the one that a token was exchanged for.
    application_id: str = ""
    # Of an API key only.
    key_id: str = ""
    # Whether the key is limited to some mailboxes.
    is_limited: bool = False
    # Of an API key, and of an exchanged token.
    scopes: frozenset[Scope] = frozenset()

    @property
    def acting_key_id(self) -> str:
        """The API key with which the caller comes and goes; empty for a user with a session."""
        return self.key_id or self.actor_key_id


def caller_in(request: Request) -> Caller | None:
    """Return the caller of a request; None before it is known, or without one."""
    caller: Caller | None = request.get(_CALLER)
    return caller


def admit(caller: Caller, request: Request) -> None:
    """Note the caller in the request if its operation is open to them. Raises AppError."""
    operation: str = request[OPERATION]
    requirement = requirement_of(operation)
    if operation in KEYS_ONLY and not caller.key_id:
        raise _wrong_credential("This needs an API key, which a user's access token does not replace.")
    if caller.acting_key_id:
        _check_scope(caller, requirement)
    if caller.is_limited and operation in OF_USERS:
        raise _wrong_credential("An API key that is limited to mailboxes reaches no users.")
    request[_CALLER] = caller


def _check_scope(caller: Caller, requirement: Scope | Credential) -> None:
    if isinstance(requirement, Credential):
        raise _wrong_credential("This needs the access token of a user who has signed in, which no API key replaces.")
    if requirement not in caller.scopes:
        credential = "API key" if caller.key_id else "access token"
        raise AppError(
            Kind.FORBIDDEN,
            "insufficient_scope",
            f"The {credential} lacks the scope {requirement}.",
            {"scope": requirement},
        )


def _wrong_credential(message: str) -> AppError:
    return AppError(Kind.FORBIDDEN, "wrong_credential", message)
