"""The connection pool of a process."""

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from opentelemetry.trace import Tracer
from sqlalchemy import URL, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from services.kit.observe.query_spans import QuerySpans
from services.kit.settings import Postgres

# Seconds. The server's own statement time-out is shorter, so that its error arrives instead of ours.
CONNECT_TIMEOUT = 10
COMMAND_TIMEOUT = 60
IDLE_IN_TRANSACTION_TIMEOUT = 60.0

# Aliases, because asyncpg's classes are generic in their stubs only.
type Pool = asyncpg.Pool[asyncpg.Record]
type Connection = PoolConnectionProxy[asyncpg.Record]


def _session(
    application_name: str, *, idle_in_transaction: float = IDLE_IN_TRANSACTION_TIMEOUT, transaction: float = 0
) -> dict[str, str]:
    return {
        "application_name": application_name,
        "timezone": "UTC",
        "statement_timeout": "30000",
        "lock_timeout": "10000",
        "idle_in_transaction_session_timeout": str(round(1000 * idle_in_transaction)),
        "transaction_timeout": str(round(1000 * transaction)),
    }


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

    Sessions run in UTC; a statement may take 30 s, and a wait for a lock 10 s. With a `tracer` statements become spans
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
            "server_settings": _session(application_name),
        },
    )

    @event.listens_for(engine.sync_engine, "checkout")
    def refuse_dead_connection(dbapi_connection: object, _record: object, _proxy: object) -> None:
        # asyncpg knows without a round trip that the server has closed the connection; the pool then connects again.
        if dbapi_connection.driver_connection.is_closed():  # type: ignore[attr-defined]
            raise DisconnectionError

    if tracer is not None:
        QuerySpans(tracer).of_sqlalchemy(engine)
    return engine


async def connect(settings: Postgres) -> "asyncpg.Connection[asyncpg.Record]":
    """Open a connection outside of any pool and without time limits, for migrations and LISTEN."""
    return await asyncpg.connect(
        host=settings.host,
        port=settings.port,
        user=settings.user,
        password=settings.password.get_secret_value(),
        database=settings.database,
        timeout=CONNECT_TIMEOUT,
    )


async def _leave_as_it_is(_: object) -> None:
    pass


async def create_pool(
    settings: Postgres,
    *,
    application_name: str,
    size: int,
    idle_in_transaction: float = IDLE_IN_TRANSACTION_TIMEOUT,
    transaction: float = 0,
    tracer: Tracer | None = None,
) -> Pool:
    """Return an asyncpg pool, which connects on first use, for services that send SQL without a layer between.

    Sessions have the settings and limits of `create_engine`. The server also closes a connection that is idle within a
    transaction for `idle_in_transaction` seconds, or whose transaction takes `transaction` seconds (0: unlimited); only
    the latter ends a client that went silent in the middle of a statement. asyncpg replaces closed connections. With a
    `tracer` statements become spans of the current trace.
    """
    query_spans = None if tracer is None else QuerySpans(tracer)

    async def prepare(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        if query_spans is not None:
            connection.add_query_logger(query_spans.of_asyncpg)

    # asyncpg would reset the session (advisory locks, LISTEN) at each release: a round trip with four statements. Code
    # on pooled connections leaves no session state.
    pool = asyncpg.create_pool(
        host=settings.host,
        port=settings.port,
        user=settings.user,
        password=settings.password.get_secret_value(),
        database=settings.database,
        min_size=0,
        max_size=size,
        init=prepare,
        reset=_leave_as_it_is,
        timeout=CONNECT_TIMEOUT,
        command_timeout=COMMAND_TIMEOUT,
        server_settings=_session(application_name, idle_in_transaction=idle_in_transaction, transaction=transaction),
    )
    return await pool
