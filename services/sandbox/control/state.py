"""Control API over state that mailboxes share, below `/_sandbox/`: faults, quota, errors, push, counts, audit log."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Literal

from pydantic import Field, model_validator
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from services.sandbox.control.json_body import ControlBody, ControlError, read_body
from services.sandbox.google.gmail.dispatch import Dispatcher
from services.sandbox.google.gmail.page_tokens import PageTokens
from services.sandbox.google.gmail.quota import PROFILES, Kind, Quota, QuotaErrors
from services.sandbox.google.gmail.watch_and_push import PushFaults, PushService
from services.sandbox.instruments.audit_log import AuditLog
from services.sandbox.instruments.call_counts import CallCounts
from services.sandbox.instruments.faults import FaultPlan, FaultSettings

NDJSON = "application/x-ndjson"


class GmailBody(ControlBody):
    """Behaviour of the whole Gmail API; absent fields keep their values."""

    error_shape: Literal["old", "new"] = "new"
    user_limit_status: Literal[403, 429] = 403
    names_time: bool = True
    hammer_penalty: float = Field(default=0.0, ge=0)
    quota_profile: str = "2026-05"
    quota_window: float = Field(default=60.0, gt=0)
    quota_kind: Kind = "fixed"
    concurrency: int = Field(default=10, ge=1)
    page_token_lifetime: float = Field(default=86_400.0, ge=0)

    @model_validator(mode="after")
    def _known_profile(self) -> "GmailBody":
        if self.quota_profile not in PROFILES:
            raise ValueError(f"quota_profile is one of {sorted(PROFILES)}")
        return self


class PushFaultsBody(ControlBody):
    """Faults of push delivery: percentages, and seconds of delay."""

    drop: int = Field(default=0, ge=0, le=100)
    duplicate: int = Field(default=0, ge=0, le=100)
    delay: float = Field(default=0.0, ge=0, le=600)
    numeric_history_id: bool = False


class StateControl:
    """Handlers for faults, quota, push, call counts and the audit log."""

    def __init__(
        self,
        *,
        faults: FaultPlan,
        quota: Quota,
        call_counts: CallCounts,
        log: AuditLog,
        pages: PageTokens,
        push: PushService,
        dispatcher: Dispatcher,
    ) -> None:
        self._faults = faults
        self._quota = quota
        self._call_counts = call_counts
        self._log = log
        self._pages = pages
        self._push = push
        self._dispatcher = dispatcher

    def routes(self) -> list[Route]:
        """Return the routes to mount."""
        return [
            Route("/_sandbox/faults", self.get_faults),
            Route("/_sandbox/faults", self.put_faults, methods=["PUT"]),
            Route("/_sandbox/faults", self.clear_faults, methods=["DELETE"]),
            Route("/_sandbox/gmail", self.patch_gmail, methods=["PATCH"]),
            Route("/_sandbox/push", self.get_push),
            Route("/_sandbox/push", self.put_push, methods=["PUT"]),
            Route("/_sandbox/calls", self.get_calls),
            Route("/_sandbox/calls", self.clear_calls, methods=["DELETE"]),
            Route("/_sandbox/log", self.get_log),
        ]

    async def get_faults(self, _: Request) -> Response:
        """Return the fault plan with its counts."""
        return JSONResponse(self._faults.report())

    async def put_faults(self, request: Request) -> Response:
        """Replace the fault plan."""
        self._faults.replace(await read_body(request, FaultSettings))
        return JSONResponse(self._faults.report())

    async def clear_faults(self, _: Request) -> Response:
        """Remove the fault plan."""
        self._faults.clear()
        return Response(status_code=204)

    async def patch_gmail(self, request: Request) -> Response:
        """Set error bodies, quota and the lifetime of page tokens; only fields of the body change."""
        body = await read_body(request, GmailBody)
        given = body.model_dump(exclude_unset=True)
        quota = self._quota
        self._dispatcher.error_shape = given.get("error_shape", self._dispatcher.error_shape)
        self._pages.lifetime = given.get("page_token_lifetime", self._pages.lifetime)
        quota.profile = PROFILES[given.get("quota_profile", quota.profile.name)]
        quota.window = given.get("quota_window", quota.window)
        quota.kind = given.get("quota_kind", quota.kind)
        quota.concurrency = given.get("concurrency", quota.concurrency)
        quota.errors = QuotaErrors(
            user_status=given.get("user_limit_status", quota.errors.user_status),
            names_time=given.get("names_time", quota.errors.names_time),
            hammer_penalty=given.get("hammer_penalty", quota.errors.hammer_penalty),
        )
        return JSONResponse({"quota": quota.report(), "error_shape": self._dispatcher.error_shape})

    async def get_push(self, _: Request) -> Response:
        """Return watches and delivery counts."""
        return JSONResponse(self._push.report())

    async def put_push(self, request: Request) -> Response:
        """Replace the faults of push delivery."""
        body = await read_body(request, PushFaultsBody)
        self._push.faults = PushFaults(**body.model_dump())
        return JSONResponse(body.model_dump())

    async def get_calls(self, _: Request) -> Response:
        """Return call counts by method, and units by user and project."""
        return JSONResponse(self._call_counts.report() | {"quota": self._quota.report()})

    async def clear_calls(self, _: Request) -> Response:
        """Reset call counts and spent units."""
        self._call_counts.clear()
        self._quota.reset()
        return Response(status_code=204)

    async def get_log(self, request: Request) -> Response:
        """Stream events of mailboxes after `?since=` (a sequence number, default 0) as NDJSON."""
        since = request.query_params.get("since", "0")
        if not since.isascii() or not since.isdigit():
            raise ControlError(400, "since: a sequence number")
        return StreamingResponse(json_lines(self._log.since(int(since))), media_type=NDJSON)


async def json_lines(facts: Iterator[dict[str, object]]) -> AsyncIterator[bytes]:
    """Encode objects as JSON lines, in chunks of 100: other requests run between chunks."""
    chunk: list[str] = []
    for fact in facts:
        chunk.append(json.dumps(fact))
        if len(chunk) == 100:
            yield ("\n".join(chunk) + "\n").encode()
            chunk.clear()
    if chunk:
        yield ("\n".join(chunk) + "\n").encode()
