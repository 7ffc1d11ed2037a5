"""W3C trace context (https://www.w3.org/TR/trace-context/) in gRPC metadata, HTTP headers and database columns."""

import contextvars
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

from opentelemetry.context import Context, attach, get_current
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, Tracer, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

TRACE_PARENT = "traceparent"

_PROPAGATOR = TraceContextTextMapPropagator()


def trace_parent() -> str | None:
    """Return the current span as the value of a `traceparent` header; None outside of a trace."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier.get(TRACE_PARENT)


def continued(value: str | None) -> Context:
    """Return the context of the span that `value`, a `traceparent`, names; an empty one if it names none."""
    return _PROPAGATOR.extract({} if value is None else {TRACE_PARENT: value}, context=Context())


def is_traced() -> bool:
    """Return whether a trace is under way. Requests and turns of workers begin traces, calls do not."""
    return get_current_span().get_span_context().is_valid


def only_the_trace() -> contextvars.Context:
    """Return context variables for a task that outlives its caller: the trace, without deadline and request id."""
    bare = contextvars.Context()
    bare.run(attach, get_current())
    return bare


def start_span(
    tracer: Tracer,
    name: str,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    context: Context | None = None,
    attributes: Mapping[str, AttributeValue] | None = None,
    links: Sequence[Link] = (),
) -> AbstractContextManager[Span]:
    """Start a span for the block, within `context` or the current span.

    Exceptions are not recorded in it: their text can quote a request, an address or a message.
    """
    return tracer.start_as_current_span(
        name,
        context=context,
        kind=kind,
        attributes=attributes,
        links=links,
        record_exception=False,
        set_status_on_exception=False,
    )


def set_status(span: Span, status: str, *, failed: bool) -> None:
    """Record an HTTP status in the span; `none` stands for a missing response."""
    if status.isdecimal():
        span.set_attribute("http.response.status_code", int(status))
    if failed:
        span.set_status(Status(StatusCode.ERROR, status))
