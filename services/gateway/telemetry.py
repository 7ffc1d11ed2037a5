"""Metrics and traces of the requests to the gateway."""

import time
from contextlib import AbstractContextManager, nullcontext

from opentelemetry.trace import Span, SpanKind
from prometheus_client import Histogram
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.kit.observe.setup import Telemetry
from services.kit.observe.tracing import TRACE_PARENT, continued, set_status, start_span
from services.kit.rpc.telemetry import BUCKETS

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class RequestTelemetry:
    """The outermost middleware. It labels requests by their route's template: paths and queries hold ids and codes."""

    def __init__(self, app: ASGIApp, *, telemetry: Telemetry) -> None:
        self._app = app
        self._tracer = telemetry.tracer
        self._seconds = Histogram(
            "mailroom_http_request_seconds",
            "Requests until the end of their answer, by route and status; none: the client left before there was one.",
            ["method", "route", "status"],
            registry=telemetry.registry,
            buckets=BUCKETS,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = "none"

        async def watched_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        # Clients can invent methods and paths, which must not become labels.
        method = scope["method"] if scope["method"] in _METHODS else "other"
        with self._span(scope, method) as span:
            try:
                await self._app(scope, receive, watched_send)
            finally:
                route = getattr(scope.get("route"), "path", "none")
                self._seconds.labels(method, route, status).observe(time.perf_counter() - began)
                if span is not None:
                    _describe(span, method, route, status)

    def _span(self, scope: Scope, method: str) -> AbstractContextManager[Span | None]:
        if self._tracer is None:
            return nullcontext()
        parent = continued(Headers(scope=scope).get(TRACE_PARENT))
        return start_span(self._tracer, method, kind=SpanKind.SERVER, context=parent)


def _describe(span: Span, method: str, route: str, status: str) -> None:
    span.update_name(f"{method} {route}")
    span.set_attributes({"http.request.method": method, "http.route": route})
    set_status(span, status, failed=status[0] not in "234")
