"""The Gmail API over HTTP: one call or a batch of them, disturbed by the fault plan, few at a time per mailbox."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.sandbox.google.gmail.batch import write_batch
from services.sandbox.google.gmail.dispatch import PREFIXES, Dispatcher, RoutedCall
from services.sandbox.google.gmail.errors import TOO_MANY_CONCURRENT, Refused
from services.sandbox.google.gmail.quota import Quota
from services.sandbox.google.gmail.wire import Reply, read_batch_requests, read_request, wants_gzip
from services.sandbox.instruments.call_counts import CallCounts
from services.sandbox.instruments.faults import Fault, FaultPlan, answer_with

VERBS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
PARALLEL_PARTS = 10
"""A batch counts as one running call per so many parts."""


class GmailApi:
    """Answers HTTP requests."""

    def __init__(self, dispatcher: Dispatcher, *, quota: Quota, calls: CallCounts, faults: FaultPlan) -> None:
        self._dispatcher = dispatcher
        self._quota = quota
        self._calls = calls
        self._faults = faults

    def routes(self) -> list[Route]:
        """What the application mounts."""
        return [
            Route("/batch", self.batch, methods=["POST"]),
            Route("/batch/gmail/v1", self.batch, methods=["POST"]),
            *(Route(f"{prefix}{{rest:path}}", self.single, methods=VERBS) for prefix in PREFIXES),
        ]

    async def single(self, request: Request) -> Response:
        """One call."""
        prepared = self._dispatcher.prepare(await read_request(request))
        compress = wants_gzip(request)

        async def respond() -> Response:
            return self._dispatcher.execute(prepared).response(compress=compress)

        async def answer() -> Response:
            return await answer_with(
                prepared.fault,
                respond,
                render_error=lambda fault: self._dispatcher.fault_reply(prepared, fault).response(),
            )

        def refuse() -> Response:
            self._calls.record(prepared.name, prepared.email, TOO_MANY_CONCURRENT.code)
            return self._dispatcher.error_reply(TOO_MANY_CONCURRENT).response()

        return await self._one_of_few(prepared, 1, answer, refuse)

    async def batch(self, request: Request) -> Response:
        """Up to 100 calls in one; their answers come in order."""
        try:
            parts, requests = await read_batch_requests(request)
        except Refused as refused:
            self._calls.record("batch", None, refused.error.code)
            return self._dispatcher.error_reply(refused.error).response()
        fault = self._faults.draw("batch", self._dispatcher.email_of(requests[0]))
        draw_fault = fault is None or not fault.prevents_call
        prepared = [self._dispatcher.prepare(one, draw_fault=draw_fault) for one in requests]
        # A fault of one part that hits the connection hits the connection of all.
        fault = fault or next((item.fault for item in prepared if item.fault and item.fault.breaks_connection), None)
        compress = wants_gzip(request)

        def written(replies: list[Reply]) -> Response:
            data, kind = write_batch(parts, replies)
            self._calls.record("batch", prepared[0].email, 200)
            return Reply(200, data, kind).response(compress=compress)

        async def respond() -> Response:
            return written([self._dispatcher.part_reply(item) for item in prepared])

        def refuse() -> Response:
            for item in prepared:
                self._calls.record(item.name, item.email, TOO_MANY_CONCURRENT.code)
            return written([self._dispatcher.error_reply(TOO_MANY_CONCURRENT)] * len(parts))

        def fail(fault: Fault) -> Response:
            self._calls.record("batch", prepared[0].email, fault.status)
            return self._dispatcher.error_reply(self._dispatcher.fault_error(fault)).response()

        async def answer() -> Response:
            return await answer_with(fault, respond, render_error=fail)

        return await self._one_of_few(prepared[0], -(-len(parts) // PARALLEL_PARTS), answer, refuse)

    async def _one_of_few(
        self,
        prepared: RoutedCall,
        slots: int,
        answer: Callable[[], Awaitable[Response]],
        refuse: Callable[[], Response],
    ) -> Response:
        """Answer while slots of the mailbox's concurrency are held, or refuse for want of them."""
        if prepared.access is None:
            return await answer()
        user = prepared.access.user.email
        if not self._quota.enter(user, slots):
            return refuse()
        try:
            return await answer()
        finally:
            self._quota.leave(user, slots)
