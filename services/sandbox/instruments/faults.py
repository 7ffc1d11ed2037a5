"""Fault plan: rules by which calls fail, and counts of the failures.

A rule names a kind and a method pattern (`oauth.token`, `batch`, `*.messages.get`). Every matching call draws once from
the rule's own seeded generator, so a plan fires alike for the same sequence of calls.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

Kind = Literal[
    "error",
    "html_503",
    "reset",
    "slow",
    "slow_body",
    "truncate",
    "garbage",
    "timeout",
    "lost_response",
    "bye",
    "cut_literal",
    "stale_status",
    "duplicate_uids",
    "uidvalidity_reset",
    "lying_exists",
]
# Of IMAP alone.
_IMAP_KINDS = frozenset({"bye", "cut_literal", "stale_status", "duplicate_uids", "uidvalidity_reset", "lying_exists"})
_DAMAGES = frozenset({"lost_response", "truncate", "garbage", "slow_body", "cut_literal"})
ABORT = "sandbox.abort"
"""Scope key of the function that drops the client's connection; set by `Abortable`."""

FRONT_END_ERROR = (
    "<!DOCTYPE html><html lang=en><title>Error {status} (Server Error)!!1</title>"
    "<p><b>{status}.</b> <ins>That’s an error.</ins><p>The server encountered a temporary error. Please try again."
)


class FaultRule(BaseModel):
    """One rule of a plan, as the control API takes it.

    `error` responds with `status` and `reason` in the shape of the called API; `html_503` with a front end's HTML page
    (`status` may differ); `reset` drops the connection before the call is executed, `lost_response` after it; `slow`
    waits `seconds` first, at most until the plan is removed, `slow_body` spreads the body over `seconds`; `truncate`
    cuts the body short of its Content-Length; `garbage` responds 200 with half of the JSON; `timeout` holds the call
    for `seconds` and drops it.

    At the IMAP servers methods are `imap.<command>`, as `imap.fetch` or `imap.uid`. `bye` ends the connection with BYE
    and `message`, `cut_literal` inside of the response's first literal; `stale_status` answers STATUS as before the
    newest message came; `duplicate_uids` tells each message twice; `uidvalidity_reset` numbers the folder anew at its
    selection; `lying_exists` tells more messages than there are.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    method: str
    kind: Kind
    probability: float = Field(default=1.0, ge=0, le=1)
    count: int | None = Field(default=None, ge=0, description="limit of hits")
    after: int = Field(default=0, ge=0, description="matching calls to spare first")
    user: str | None = Field(default=None, description="only calls for this e-mail address")
    path: str | None = Field(default=None, description="only calls whose path and query contain this")
    status: int = Field(default=503, ge=400, le=599)
    reason: str = "backendError"
    message: str = "Backend Error"
    retry_after: float | None = Field(default=None, description="seconds named in the message, as in quota errors")
    seconds: float = Field(default=1.0, ge=0, le=600)

    @model_validator(mode="after")
    def _has_a_kind_of_its_method(self) -> Self:
        is_imap = self.method.startswith("imap.")
        if (self.kind in _IMAP_KINDS and not is_imap) or (self.kind == "html_503" and is_imap):
            raise ValueError(f"{self.kind} does not occur in calls of {self.method}")
        return self


class FaultSettings(BaseModel):
    """A whole plan."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    seed: int = 0
    rules: list[FaultRule] = []


@dataclass(frozen=True, slots=True)
class Fault:
    """The fault of one call."""

    kind: Kind
    status: int = 503
    reason: str = "backendError"
    message: str = "Backend Error"
    retry_after: float | None = None
    seconds: float = 1.0

    @property
    def prevents_call(self) -> bool:
        """Whether the call is not executed."""
        return self.kind in ("error", "html_503", "reset", "timeout")

    @property
    def damages_response(self) -> bool:
        """Whether the response of the executed call is damaged."""
        return self.kind in _DAMAGES

    @property
    def breaks_connection(self) -> bool:
        """Whether the fault acts on the connection; a batch with such a part suffers it as a whole."""
        return self.kind not in ("error", "html_503")


class _Rule:
    def __init__(self, rule: FaultRule, *, seed: str) -> None:
        self.settings = rule
        self.seen = 0
        self.fired = 0
        self._random = random.Random(seed)  # noqa: S311 - reproducible by design
        self._fault = Fault(rule.kind, rule.status, rule.reason, rule.message, rule.retry_after, rule.seconds)

    def draw(self, method: str, user: str | None, path: str) -> Fault | None:
        rule = self.settings
        if not fnmatchcase(method, rule.method):
            return None
        if rule.user is not None and rule.user.lower() != (user or "").lower():
            return None
        if rule.path is not None and rule.path not in path:
            return None
        self.seen += 1
        if self.seen <= rule.after or (rule.count is not None and self.fired >= rule.count):
            return None
        if self._random.random() >= rule.probability:
            return None
        self.fired += 1
        return self._fault


class FaultPlan:
    """The rules in force. The first rule that fires decides."""

    def __init__(self) -> None:
        self._seed = 0
        self._rules: list[_Rule] = []
        self._removed = asyncio.Event()

    def replace(self, settings: FaultSettings) -> None:
        """Replace the plan; its counts start at zero."""
        self._seed = settings.seed
        self._rules = [_Rule(rule, seed=f"{settings.seed}:{i}") for i, rule in enumerate(settings.rules)]

    def clear(self) -> None:
        """Remove all rules; calls that `slow` still delays are executed at once."""
        self.replace(FaultSettings())
        self._removed.set()
        self._removed = asyncio.Event()

    async def hold(self, seconds: float) -> None:
        """Wait so many seconds, or until the rules are removed."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._removed.wait(), seconds)

    def draw(self, method: str, user: str | None = None, *, path: str = "") -> Fault | None:
        """Return the fault of this call, if any; `user` is the e-mail address that it acts for, None if unknown."""
        for rule in self._rules:
            fault = rule.draw(method, user, path)
            if fault is not None:
                return fault
        return None

    def report(self) -> dict[str, object]:
        """Return seed and rules, each with the number of calls that it saw and that it hit."""
        rules = [
            {**rule.settings.model_dump(exclude_defaults=True), "seen": rule.seen, "fired": rule.fired}
            for rule in self._rules
        ]
        return {"seed": self._seed, "rules": rules}


class Abortable:
    """Outermost ASGI application. Gives the inner ones a function that drops the connection, which ASGI lacks."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        transport = getattr(getattr(send, "__self__", None), "transport", None)
        if transport is not None and scope["type"] == "http":
            scope[ABORT] = transport.abort
        await self._app(scope, receive, send)


async def _drop_connection(scope: Scope, receive: Receive) -> None:
    abort = scope.get(ABORT)
    if abort is None:
        raise ConnectionResetError("the fault plan dropped this connection")
    abort()
    while (await receive())["type"] != "http.disconnect":
        pass


class DroppedResponse(Response):
    """No response: the connection ends, after `seconds`."""

    def __init__(self, *, seconds: float = 0) -> None:
        super().__init__()
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        if self._seconds:
            await asyncio.sleep(self._seconds)
        await _drop_connection(scope, receive)


class TruncatedResponse(Response):
    """The first half of another response under its full Content-Length."""

    def __init__(self, response: Response) -> None:
        super().__init__(status_code=response.status_code)
        self.raw_headers = response.raw_headers
        self.body = response.body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        half = bytes(self.body[: len(self.body) // 2])
        await send({"type": "http.response.body", "body": half, "more_body": True})
        await _drop_connection(scope, receive)


class SlowBodyResponse(TruncatedResponse):
    """Another response whose body arrives in ten pieces."""

    def __init__(self, response: Response, *, seconds: float) -> None:
        super().__init__(response)
        self._pause = seconds / 10

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        body = bytes(self.body)
        step = len(body) // 10 + 1
        for start in range(0, len(body), step):
            await send({"type": "http.response.body", "body": body[start : start + step], "more_body": True})
            await asyncio.sleep(self._pause)
        await send({"type": "http.response.body", "body": b""})


def _half_response(response: Response) -> Response:
    body = bytes(response.body)
    return Response(body[: len(body) // 2], response.status_code, media_type="application/json; charset=UTF-8")


def _response_instead(fault: Fault, render_error: Callable[[Fault], Response]) -> Response | None:
    """Return the response of a fault that prevents the call; None for the other kinds."""
    match fault.kind:
        case "error":
            return render_error(fault)
        case "html_503":
            return HTMLResponse(FRONT_END_ERROR.format(status=fault.status), fault.status)
        case "reset":
            return DroppedResponse()
        case "timeout":
            return DroppedResponse(seconds=fault.seconds)
        case _:
            return None


def _damaged_response(fault: Fault, response: Response) -> Response:
    """Apply a fault to the response of an executed call."""
    match fault.kind:
        case "lost_response":
            return DroppedResponse()
        case "truncate":
            return TruncatedResponse(response)
        case "garbage":
            return _half_response(response)
        case "slow_body":
            return SlowBodyResponse(response, seconds=fault.seconds)
        case _:
            return response


async def respond_with_fault(
    plan: FaultPlan,
    fault: Fault | None,
    respond: Callable[[], Awaitable[Response]],
    *,
    render_error: Callable[[Fault], Response],
) -> Response:
    """Respond as the plan's fault demands.

    `respond` executes the call, `render_error` renders an error in the API's shape.
    """
    if fault is None:
        return await respond()
    response = _response_instead(fault, render_error)
    if response is not None:
        return response
    if fault.kind == "slow":
        await plan.hold(fault.seconds)
    return _damaged_response(fault, await respond())
