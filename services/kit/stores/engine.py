"""The SQLAlchemy engine of a process. Only processes that use one import this, which takes a third of their start."""

import time
from typing import Any

from opentelemetry.trace import Tracer
from sqlalchemy import URL, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import QueuePool

from services.kit.observe.query_spans import QuerySpans
from services.kit.settings import Postgres
from services.kit.stores.pool_metrics import PoolMetrics
from services.kit.stores.postgres import COMMAND_TIMEOUT, CONNECT_TIMEOUT, limits, session_parameters


def database_url(settings: Postgres) -> URL:
    """Return the SQLAlchemy address of a database, for asyncpg."""
    return URL.create(
        "postgresql+asyncpg",
        username=settings.user,
        password=settings.password.get_secret_value(),
        host=settings.host,
        port=settings.port,
        database=settings.database,
    )


def create_engine(
    settings: Postgres, *, application_name: str, pool_size: int, tracer: Tracer | None = None
) -> AsyncEngine:
    """Return an engine with a pool of a fixed size, which connects on first use.

    Sessions have the settings and limits of `create_pool`. With a `tracer` statements become spans
    of the current trace.
    """
    engine = create_async_engine(
        database_url(settings),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=10,
        # Errors would quote the values, and errors are logged.
        hide_parameters=True,
        connect_args={
            "timeout": CONNECT_TIMEOUT,
            "command_timeout": COMMAND_TIMEOUT,
            "server_settings": session_parameters(application_name),
        },
    )

    @event.listens_for(engine.sync_engine, "connect")
    def limit(dbapi_connection: object, _record: object) -> None:
        # Not through its cursor, which would begin a transaction, with which the limits would go.
        dbapi_connection.run_async(lambda connection: connection.execute(limits()))  # type: ignore[attr-defined]

    @event.listens_for(engine.sync_engine, "checkout")
    def refuse_dead_connection(dbapi_connection: object, _record: object, _proxy: object) -> None:
        # asyncpg knows without a round trip that the server has closed the connection; the pool then connects again.
        if dbapi_connection.driver_connection.is_closed():  # type: ignore[attr-defined]
            raise DisconnectionError

    if tracer is not None:
        _trace(engine, QuerySpans(tracer))
    return engine


def show_pool(engine: AsyncEngine, metrics: PoolMetrics) -> None:
    """Show the pool of an engine of `create_engine` as `postgres`."""
    pool = engine.pool
    assert isinstance(pool, QueuePool)  # noqa: S101 - `create_engine` builds no other pool
    metrics.show("postgres", limit=pool.size(), used=pool.checkedout)


def _trace(engine: AsyncEngine, spans: QuerySpans) -> None:
    """Trace an engine's statements, except those that fail."""

    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def begin(_connection: Any, _cursor: Any, _text: str, _values: Any, context: Any, _many: bool) -> None:
        context.began = time.perf_counter()

    @event.listens_for(engine.sync_engine, "after_cursor_execute")
    def end(_connection: Any, _cursor: Any, text: str, _values: Any, context: Any, _many: bool) -> None:
        spans.add(text, time.perf_counter() - context.began)
