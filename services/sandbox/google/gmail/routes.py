"""The Gmail API over HTTP: single calls and batches, with faults and the limit of concurrent calls per mailbox."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.sandbox.google.gmail.batch import write_batch
from services.sandbox.google.gmail.dispatch import PREFIXES, Dispatcher, RoutedCall
from services.sandbox.google.gmail.errors import TOO_MANY_CONCURRENT, CallRefusedError
from services.sandbox.google.gmail.quota import Quota
from services.sandbox.google.gmail.wire import Reply, read_batch_requests, read_request, wants_gzip
from services.sandbox.instruments.call_counts import CallCounts
from services.sandbox.instruments.faults import Fault, FaultPlan, respond_with_fault

VERBS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
PARALLEL_PARTS = 10
"""A batch takes one concurrency slot per this many parts."""


class GmailApi:
    """Handlers of the Gmail API."""

    def __init__(self, dispatcher: Dispatcher, *, quota: Quota, call_counts: CallCounts, faults: FaultPlan) -> None:
        self._dispatcher = dispatcher
        self._quota = quota
        self._call_counts = call_counts
        self._faults = faults

    def routes(self) -> list[Route]:
        """Return the routes to mount."""
        return [
            Route("/batch", self.batch, methods=["POST"]),
            Route("/batch/gmail/v1", self.batch, methods=["POST"]),
            *(Route(f"{prefix}{{rest:path}}", self.single, methods=VERBS) for prefix in PREFIXES),
        ]

    async def single(self, request: Request) -> Response:
        """Execute one call."""
        call = self._dispatcher.route(await read_request(request))
        compress = wants_gzip(request)

        async def respond() -> Response:
            return self._dispatcher.execute(call).response(compress=compress)

        async def answer() -> Response:
            return await respond_with_fault(
                self._faults,
                call.fault,
                respond,
                render_error=lambda fault: self._dispatcher.fault_reply(call, fault).response(),
            )

        def refuse() -> Response:
            self._call_counts.record(call.name, call.email, TOO_MANY_CONCURRENT.code)
            return self._dispatcher.error_reply(TOO_MANY_CONCURRENT).response()

        return await self._within_concurrency(call, 1, answer, refuse)

    async def batch(self, request: Request) -> Response:
        """Execute up to 100 calls; responses are in their order."""
        try:
            parts, requests = await read_batch_requests(request)
        except CallRefusedError as refused:
            self._call_counts.record("batch", None, refused.error.code)
            return self._dispatcher.error_reply(refused.error).response()
        fault = self._faults.draw("batch", self._dispatcher.email_of(requests[0]))
        draw_fault = fault is None or not fault.prevents_call
        routed = [self._dispatcher.route(one, draw_fault=draw_fault) for one in requests]
        # A fault of one part that breaks the connection breaks that of the whole batch.
        fault = fault or next((call.fault for call in routed if call.fault and call.fault.breaks_connection), None)
        compress = wants_gzip(request)

        def written(replies: list[Reply]) -> Response:
            data, kind = write_batch(parts, replies)
            self._call_counts.record("batch", routed[0].email, 200)
            return Reply(200, data, kind).response(compress=compress)

        async def respond() -> Response:
            return written([self._dispatcher.execute_part(call) for call in routed])

        def refuse() -> Response:
            for call in routed:
                self._call_counts.record(call.name, call.email, TOO_MANY_CONCURRENT.code)
            return written([self._dispatcher.error_reply(TOO_MANY_CONCURRENT)] * len(parts))

        def fail(fault: Fault) -> Response:
            self._call_counts.record("batch", routed[0].email, fault.status)
            return self._dispatcher.error_reply(self._dispatcher.fault_error(fault)).response()

        async def answer() -> Response:
            return await respond_with_fault(self._faults, fault, respond, render_error=fail)

        return await self._within_concurrency(routed[0], -(-len(parts) // PARALLEL_PARTS), answer, refuse)

    async def _within_concurrency(
        self,
        call: RoutedCall,
        slots: int,
        answer: Callable[[], Awaitable[Response]],
        refuse: Callable[[], Response],
    ) -> Response:
        """Respond while holding slots of the mailbox's concurrency, or refuse if too few are free."""
        if call.access is None:
            return await answer()
        user = call.access.user.email
        if not self._quota.enter(user, slots):
            return refuse()
        try:
            return await answer()
        finally:
            self._quota.leave(user, slots)
