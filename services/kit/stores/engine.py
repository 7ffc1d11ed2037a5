"""The SQLAlchemy engine of a process. Only processes that use one import this, which takes a third of their start."""

import time
from collections.abc import Callable
from typing import Any, override

import structlog
from opentelemetry.trace import Tracer
from sqlalchemy import URL, AsyncAdaptedQueuePool, ExceptionContext, PoolProxiedConnection, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from services.kit.observe.query_spans import QuerySpans
from services.kit.settings import Postgres
from services.kit.stores.pool_metrics import PoolMetrics
from services.kit.stores.postgres import (
    ACQUIRE_TIMEOUT,
    ANSWER_MARGIN,
    STATEMENT_TIMEOUT,
    limits,
    session_parameters,
    tell_of_silence,
)

log = structlog.get_logger()


def _nothing() -> None:
    pass


class BoundedQueuePool(AsyncAdaptedQueuePool):
    """SQLAlchemy's pool, which tells of waits that were given up.

    `on_timeout` is called when a wait for a connection is given up, `on_statement_timeout` when one for an answer is.
    """

    on_timeout: Callable[[], None] = staticmethod(_nothing)
    on_statement_timeout: Callable[[], None] = staticmethod(_nothing)

    @override
    def connect(self) -> PoolProxiedConnection:
        """Return a connection. Raises sqlalchemy.exc.TimeoutError if none is free, TimeoutError if none can be made."""
        try:
            return super().connect()
        except (PoolTimeoutError, TimeoutError):
            log.warning("no connection to Postgres within the time limit", seconds=self.timeout())
            self.on_timeout()
            raise


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
    settings: Postgres,
    *,
    application_name: str,
    pool_size: int,
    statement: float = STATEMENT_TIMEOUT,
    acquire: float = ACQUIRE_TIMEOUT,
    tracer: Tracer | None = None,
) -> AsyncEngine:
    """Return an engine with a pool of a fixed size, which connects on first use.

    Sessions have the settings and limits of `create_pool`; a wait for a connection takes `acquire` seconds at most.
    With a `tracer` statements become spans of the current trace.
    """
    engine = create_async_engine(
        database_url(settings),
        poolclass=BoundedQueuePool,
        pool_size=pool_size,
        max_overflow=0,
        # A wait for a free place, and then for a new connection.
        pool_timeout=acquire / 2,
        # Errors would quote the values, and errors are logged.
        hide_parameters=True,
        connect_args={
            "timeout": acquire / 2,
            "command_timeout": ANSWER_MARGIN * statement,
            "server_settings": session_parameters(application_name),
        },
    )

    @event.listens_for(engine.sync_engine, "handle_error")
    def give_up_silent_connection(context: ExceptionContext) -> None:
        if isinstance(context.original_exception, TimeoutError):
            # Only this one: the others may be answered.
            context.is_disconnect, context.invalidate_pool_on_disconnect = True, False
            tell_of_silence(ANSWER_MARGIN * statement)
            _pool_of(engine).on_statement_timeout()

    @event.listens_for(engine.sync_engine, "connect")
    def limit(dbapi_connection: object, _record: object) -> None:
        # Not through its cursor, which would begin a transaction, with which the limits would go.
        session = limits(statement=statement)
        dbapi_connection.run_async(lambda connection: connection.execute(session))  # type: ignore[attr-defined]

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
    pool = _pool_of(engine)
    metrics.count_timeouts("postgres", pool)
    metrics.show("postgres", limit=pool.size(), used=pool.checkedout)


def _pool_of(engine: AsyncEngine) -> BoundedQueuePool:
    pool = engine.pool
    assert isinstance(pool, BoundedQueuePool)  # noqa: S101 - `create_engine` builds no other pool
    return pool


def _trace(engine: AsyncEngine, spans: QuerySpans) -> None:
    """Trace an engine's statements, except those that fail."""

    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def begin(_connection: Any, _cursor: Any, _text: str, _values: Any, context: Any, _many: bool) -> None:
        context.began = time.perf_counter()

    @event.listens_for(engine.sync_engine, "after_cursor_execute")
    def end(_connection: Any, _cursor: Any, text: str, _values: Any, context: Any, _many: bool) -> None:
        spans.add(text, time.perf_counter() - context.began)
