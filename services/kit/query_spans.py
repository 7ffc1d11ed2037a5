"""Statements in traces, as asyncpg reports them: their text, which holds placeholders, and never their values."""

import time

from asyncpg.connection import LoggedQuery
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer

from services.kit.tracing import is_traced


class QuerySpans:
    """A query logger for `asyncpg.Connection.add_query_logger`; says nothing outside of a trace."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def __call__(self, query: LoggedQuery) -> None:
        """Makes a span of a statement that has just ended."""
        if not is_traced():
            return
        ended = time.time_ns()
        span = self._tracer.start_span(
            "postgres",
            kind=SpanKind.CLIENT,
            start_time=ended - int(query.elapsed * 1e9),
            attributes={"db.system.name": "postgresql", "db.query.text": " ".join(query.query.split())},
        )
        if query.exception is not None:
            span.set_status(Status(StatusCode.ERROR, type(query.exception).__name__))
        span.end(ended)
