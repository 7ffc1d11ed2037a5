"""Metrics and traces of HTTP calls to providers, by the name of a call and never by its content."""

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from typing import Any

import httpx
from opentelemetry.trace import Span, SpanKind
from prometheus_client import Histogram

from services.kit.observe.setup import Telemetry
from services.kit.observe.tracing import is_traced, set_status, start_span

# Seconds.
_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

# Names the call of a request to this URL, such as `messages.get`: one of a short list, without ids and queries.
type NameCall = Callable[[httpx.URL], str]


class CallObserver:
    """The observer of a process's calls to providers."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._tracer = telemetry.tracer
        self._seconds = Histogram(
            "mailroom_provider_call_seconds",
            "Calls to providers until their answer was read, by HTTP status; none: no whole answer came.",
            ["call", "status"],
            registry=telemetry.registry,
            buckets=_BUCKETS,
        )

    @contextmanager
    def observe(self, call: str) -> Iterator[Callable[[int | None], None]]:
        """Time and trace the call in the block, which passes the response's status to the yielded function.

        None means that the response broke off.
        """
        began = time.perf_counter()
        status = "none"

        def answered(code: int | None) -> None:
            nonlocal status
            status = "none" if code is None else str(code)

        with self._span(call) as span:
            try:
                yield answered
            finally:
                self._seconds.labels(call, status).observe(time.perf_counter() - began)
                if span is not None:
                    set_status(span, status, failed=status[0] not in "23")

    def _span(self, call: str) -> AbstractContextManager[Span | None]:
        if self._tracer is None or not is_traced():
            return nullcontext()
        return start_span(self._tracer, call, kind=SpanKind.CLIENT)


class ObservedClient(httpx.AsyncClient):
    """An HTTP client whose streamed calls are observed from their start until their block is left."""

    def __init__(self, *, observer: CallObserver, name_call: NameCall, **options: Any) -> None:
        super().__init__(**options)
        self._observer = observer
        self._name_call = name_call

    @asynccontextmanager
    async def stream(self, method: str, url: httpx.URL | str, **options: Any) -> AsyncIterator[httpx.Response]:
        """Stream a response, as httpx does, and observe the call."""
        with self._observer.observe(self._name_call(httpx.URL(url))) as answered:
            async with super().stream(method, url, **options) as response:
                answered(response.status_code)
                try:
                    yield response
                except httpx.RequestError:
                    answered(None)
                    raise
