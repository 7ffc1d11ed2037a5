"""Spans of SQL statements: with the text, which holds placeholders, and never with values."""

import time

from asyncpg.connection import LoggedQuery
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer

from services.kit.observe.tracing import is_traced


class QuerySpans:
    """Spans of statements that have ended; outside of a trace there are none."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def of_asyncpg(self, query: LoggedQuery) -> None:
        """Trace a statement, as a query logger of `asyncpg.Connection.add_query_logger`."""
        self.add(query.query, query.elapsed, error=query.exception)

    def add(self, text: str, seconds: float, *, error: BaseException | None = None) -> None:
        """Trace a statement that has just ended, after so many seconds."""
        if not is_traced():
            return
        ended = time.time_ns()
        span = self._tracer.start_span(
            "postgres",
            kind=SpanKind.CLIENT,
            start_time=ended - int(seconds * 1e9),
            attributes={"db.system.name": "postgresql", "db.query.text": " ".join(text.split())},
        )
        if error is not None:
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
        span.end(ended)
