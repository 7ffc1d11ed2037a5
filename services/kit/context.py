"""The id and the deadline of a request, through a process and on to the next."""

import re
import time
import uuid
from contextvars import ContextVar

import structlog

REQUEST_ID_HEADER = "x-request-id"
# A sub-call must end before its caller's deadline, so that the caller can still answer.
DEADLINE_MARGIN = 0.1

_request_id: ContextVar[str] = ContextVar("request_id", default="")
_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)
# The signed principal for which this process acts (services/kit/principals.py).
_acting_for: ContextVar[str] = ContextVar("acting_for", default="")
_ACCEPTABLE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def start_request(*, request_id: str | None, timeout: float | None = None) -> str:
    """Bind the request id (a new one unless the given one is well-formed) and the seconds left; return the id."""
    value = request_id if request_id and _ACCEPTABLE_ID.fullmatch(request_id) else uuid.uuid4().hex
    _request_id.set(value)
    _deadline.set(None if timeout is None else time.monotonic() + timeout)
    _acting_for.set("")
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=value)
    return value


def request_id() -> str:
    """Return the current request's id, empty outside of a request."""
    return _request_id.get()


def act_for(principal: str) -> None:
    """Pass this principal on with the calls of the current request."""
    _acting_for.set(principal)


def acting_for() -> str:
    """Return the principal of the current request; empty without one."""
    return _acting_for.get()


def remaining(limit: float) -> float:
    """Return the seconds that a sub-call may take: `limit`, or less if the request must end earlier."""
    deadline = _deadline.get()
    if deadline is None:
        return limit
    return max(0.0, min(limit, deadline - time.monotonic() - DEADLINE_MARGIN))
