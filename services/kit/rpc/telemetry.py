"""Metrics and traces of gRPC calls, at both ends."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import grpc
from grpc import aio
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from prometheus_client import Histogram

from services.kit.observe.setup import Telemetry
from services.kit.observe.tracing import TRACE_PARENT, continued, is_traced, start_span, trace_parent

# Seconds.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

_HEALTH = "/grpc.health.v1.Health/"


class RpcObserver:
    """The observer of the calls that a server handles."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._tracer = telemetry.tracer
        self._seconds = Histogram(
            "mailroom_rpc_seconds",
            "Calls that this process answered, streams as a whole, by method and gRPC status.",
            ["rpc", "code"],
            registry=telemetry.registry,
            buckets=BUCKETS,
        )

    @contextmanager
    def observe(self, method: str, context: aio.ServicerContext[Any, Any]) -> Iterator[None]:
        """Time and trace the handler of a call in the block; `method` is `/package.Service/Method`."""
        began = time.perf_counter()
        code = grpc.StatusCode.CANCELLED
        with self._span(method, context) as span:
            try:
                yield
                code = grpc.StatusCode.OK
            except Exception:
                # Zero unless the call was aborted, unlike the type stub says.
                code = context.code() or grpc.StatusCode.UNKNOWN  # type: ignore[unreachable]
                raise
            finally:
                self._seconds.labels(method[1:], code.name).observe(time.perf_counter() - began)
                if span is not None:
                    _set_code(span, code)

    def _span(self, method: str, context: aio.ServicerContext[Any, Any]) -> AbstractContextManager[Span | None]:
        if self._tracer is None or method.startswith(_HEALTH):
            return nullcontext()
        given = dict(context.invocation_metadata() or ()).get(TRACE_PARENT)
        parent = continued(given if isinstance(given, str) else None)
        return start_span(
            self._tracer, method[1:], kind=SpanKind.SERVER, context=parent, attributes=_attributes(method)
        )


def client_interceptors(tracer: Tracer | None) -> list[aio.ClientInterceptor]:
    """Return interceptors that trace a channel's calls and pass the trace on; none where no traces are collected."""
    return [] if tracer is None else [_TracedUnary(tracer), _TracedStream(tracer)]


class _TracedUnary(aio.UnaryUnaryClientInterceptor):
    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    async def intercept_unary_unary(
        self, continuation: Callable[..., Any], client_call_details: aio.ClientCallDetails, request: Any
    ) -> Any:
        """gRPC's contract."""
        if not is_traced():
            return await continuation(client_call_details, request)
        method = _text(client_call_details.method)
        with start_span(self._tracer, method[1:], kind=SpanKind.CLIENT, attributes=_attributes(method)) as span:
            calling = await continuation(_traced(client_call_details), request)
            _set_code(span, await calling.code())
            return calling


class _TracedStream(aio.UnaryStreamClientInterceptor):
    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    async def intercept_unary_stream(
        self, continuation: Callable[..., Any], client_call_details: aio.ClientCallDetails, request: Any
    ) -> Any:
        """gRPC's contract. The span ends when the stream begins; the server's span lasts as long as the stream."""
        if not is_traced():
            return await continuation(client_call_details, request)
        method = _text(client_call_details.method)
        with start_span(self._tracer, method[1:], kind=SpanKind.CLIENT, attributes=_attributes(method)):
            return await continuation(_traced(client_call_details), request)


def _traced(details: aio.ClientCallDetails) -> aio.ClientCallDetails:
    parent = trace_parent()
    if parent is None:
        return details
    metadata = aio.Metadata(*(details.metadata or ()), (TRACE_PARENT, parent))
    return aio.ClientCallDetails(details.method, details.timeout, metadata, details.credentials, details.wait_for_ready)


def _attributes(method: str) -> dict[str, str]:
    service, _, name = method[1:].rpartition("/")
    return {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}


def _set_code(span: Span, code: grpc.StatusCode) -> None:
    span.set_attribute("rpc.grpc.status_code", code.value[0])
    if code is not grpc.StatusCode.OK:
        span.set_status(Status(StatusCode.ERROR, code.name))


def _text(method: str | bytes) -> str:
    return method.decode() if isinstance(method, bytes) else method
