"""The caller of a request: a user with a session, or an API key."""

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
    # Of an API key only.
    key_id: str = ""
    application_id: str = ""
    scopes: frozenset[Scope] = frozenset()
    # Whether the key is limited to some mailboxes.
    is_limited: bool = False


def caller_in(request: Request) -> Caller | None:
    """Return the caller of a request; None before it is known, or without one."""
    caller: Caller | None = request.get(_CALLER)
    return caller


def admit(caller: Caller, request: Request) -> None:
    """Note the caller in the request if its operation is open to them. Raises AppError."""
    operation: str = request[OPERATION]
    requirement = requirement_of(operation)
    if caller.key_id:
        _check_key(caller, requirement)
        if caller.is_limited and operation in OF_USERS:
            raise _wrong_credential("An API key that is limited to mailboxes reaches no users.")
    elif operation in KEYS_ONLY:
        raise _wrong_credential("This needs an API key, which a user's access token does not replace.")
    request[_CALLER] = caller


def _check_key(caller: Caller, requirement: Scope | Credential) -> None:
    if isinstance(requirement, Credential):
        raise _wrong_credential("This needs a user's access token, which an API key does not replace.")
    if requirement not in caller.scopes:
        raise AppError(
            Kind.FORBIDDEN,
            "insufficient_scope",
            f"The API key lacks the scope {requirement}.",
            {"scope": requirement},
        )


def _wrong_credential(message: str) -> AppError:
    return AppError(Kind.FORBIDDEN, "wrong_credential", message)
