"""Fault plan: which calls go wrong, how, and how often they did.

A rule names a method by pattern (`gmail.messages.get`, `gmail.*`, `oauth.token`, `batch`) and a kind. Every matching
call draws once from the rule's own seeded generator, so that a plan fires alike for the same sequence of calls.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
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
]
ABORT = "sandbox.abort"
"""Scope key of the function that drops the client's connection at once; set by `Abortable`."""

FRONT_END_ERROR = (
    "<!DOCTYPE html><html lang=en><title>Error {status} (Server Error)!!1</title>"
    "<p><b>{status}.</b> <ins>That’s an error.</ins><p>The server encountered a temporary error. Please try again."
)


class FaultRule(BaseModel):
    """One line of a plan, as the control API takes it.

    `error` answers `status` and `reason` in the shape of the API that was called; `html_503` an HTML page of the front
    end (`status` may be another one); `reset` drops the connection before the call is executed, `lost_response` after;
    `slow` waits `seconds` first, `slow_body` spreads the body over `seconds`; `truncate` cuts the body short of its
    Content-Length; `garbage` answers 200 with half of the JSON; `timeout` holds the call for `seconds` and drops it.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    method: str
    kind: Kind
    probability: float = Field(default=1.0, ge=0, le=1)
    count: int | None = Field(default=None, ge=0, description="fires at most so often")
    after: int = Field(default=0, ge=0, description="leaves so many matching calls alone first")
    user: str | None = Field(default=None, description="only calls for this e-mail address")
    path: str | None = Field(default=None, description="only calls whose path and query contain this")
    status: int = Field(default=503, ge=400, le=599)
    reason: str = "backendError"
    message: str = "Backend Error"
    retry_after: float | None = Field(default=None, description="seconds named in the message, as quota errors do")
    seconds: float = Field(default=1.0, ge=0, le=600)


class FaultSettings(BaseModel):
    """A whole plan."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    seed: int = 0
    rules: list[FaultRule] = []


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one call."""

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
    def breaks_connection(self) -> bool:
        """Whether it acts on the connection, so that inside a batch the whole batch suffers it."""
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
    """The rules in force. One call meets the first rule that fires."""

    def __init__(self) -> None:
        self._seed = 0
        self._rules: list[_Rule] = []

    def replace(self, settings: FaultSettings) -> None:
        """Drop the old plan with its counts and start this one from its beginning."""
        self._seed = settings.seed
        self._rules = [_Rule(rule, seed=f"{settings.seed}:{i}") for i, rule in enumerate(settings.rules)]

    def clear(self) -> None:
        """No faults any more."""
        self.replace(FaultSettings())

    def draw(self, method: str, user: str | None = None, *, path: str = "") -> Fault | None:
        """What happens to this call; `user` is the e-mail address that it acts for, if one is known."""
        for rule in self._rules:
            fault = rule.draw(method, user, path)
            if fault is not None:
                return fault
        return None

    def report(self) -> dict[str, object]:
        """Seed and rules, each with the calls that it saw and how often it fired."""
        rules = [
            {**rule.settings.model_dump(exclude_defaults=True), "seen": rule.seen, "fired": rule.fired}
            for rule in self._rules
        ]
        return {"seed": self._seed, "rules": rules}


class Abortable:
    """Outermost ASGI application: lets the inside drop a connection, which ASGI itself has no word for."""

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
    """No answer: the connection ends, after `seconds` if any."""

    def __init__(self, *, seconds: float = 0) -> None:
        super().__init__()
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        if self._seconds:
            await asyncio.sleep(self._seconds)
        await _drop_connection(scope, receive)


class TruncatedResponse(Response):
    """The first half of another answer under its full Content-Length."""

    def __init__(self, answer: Response) -> None:
        super().__init__(status_code=answer.status_code)
        self.raw_headers = answer.raw_headers
        self.body = answer.body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        half = bytes(self.body[: len(self.body) // 2])
        await send({"type": "http.response.body", "body": half, "more_body": True})
        await _drop_connection(scope, receive)


class SlowBodyResponse(TruncatedResponse):
    """Another answer whose body arrives in ten pieces."""

    def __init__(self, answer: Response, *, seconds: float) -> None:
        super().__init__(answer)
        self._pause = seconds / 10

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        body = bytes(self.body)
        step = len(body) // 10 + 1
        for start in range(0, len(body), step):
            await send({"type": "http.response.body", "body": body[start : start + step], "more_body": True})
            await asyncio.sleep(self._pause)
        await send({"type": "http.response.body", "body": b""})


def _half(answer: Response) -> Response:
    body = bytes(answer.body)
    return Response(body[: len(body) // 2], answer.status_code, media_type="application/json; charset=UTF-8")


def _instead(fault: Fault, render_error: Callable[[Fault], Response]) -> Response | None:
    """The answer of a fault that keeps the call from being executed; None for the other kinds."""
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


def _spoilt(fault: Fault, answer: Response) -> Response:
    """What the client gets of the answer to a call that was executed."""
    match fault.kind:
        case "lost_response":
            return DroppedResponse()
        case "truncate":
            return TruncatedResponse(answer)
        case "garbage":
            return _half(answer)
        case "slow_body":
            return SlowBodyResponse(answer, seconds=fault.seconds)
        case _:
            return answer


async def answer_with(
    fault: Fault | None,
    respond: Callable[[], Awaitable[Response]],
    *,
    render_error: Callable[[Fault], Response],
) -> Response:
    """Answer a call as the fault says; `respond` executes it, `render_error` writes an error in the API's own shape."""
    if fault is None:
        return await respond()
    answer = _instead(fault, render_error)
    if answer is not None:
        return answer
    if fault.kind == "slow":
        await asyncio.sleep(fault.seconds)
    return _spoilt(fault, await respond())
