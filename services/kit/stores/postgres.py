"""The connection pool of a process."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, override

import asyncpg
import structlog
from asyncpg.connection import LoggedQuery
from asyncpg.pool import PoolAcquireContext, PoolConnectionProxy
from opentelemetry.trace import Tracer

from services.kit.observe.query_spans import QuerySpans
from services.kit.settings import Postgres
from services.kit.stores.pool_metrics import PoolMetrics

# Seconds.
CONNECT_TIMEOUT = 10.0
STATEMENT_TIMEOUT = 30.0
LOCK_TIMEOUT = 10.0
IDLE_IN_TRANSACTION_TIMEOUT = 60.0
# The client waits for an answer so much longer than the server works on it, so that the server's error arrives.
ANSWER_MARGIN = 1.2
# Until a connection of the pool is free, a new one included; until the statement of a cancelled caller has ended, else
# its connection is cut off; until all connections have ended.
ACQUIRE_TIMEOUT = 10.0
RELEASE_TIMEOUT = 2.0
# asyncpg's defaults.
_QUERIES_PER_CONNECTION = 50_000
_IDLE_SECONDS = 300.0
CLOSE_TIMEOUT = 5.0

log = structlog.get_logger()

# asyncpg's classes are generic in their stubs only.
if TYPE_CHECKING:
    _AsyncpgPool = asyncpg.Pool[asyncpg.Record]
    _Acquisition = PoolAcquireContext[asyncpg.Record]
else:
    _AsyncpgPool, _Acquisition = asyncpg.Pool, PoolAcquireContext

# Aliases, because asyncpg's classes are generic in their stubs only.
type Pool = asyncpg.Pool[asyncpg.Record]
type Connection = PoolConnectionProxy[asyncpg.Record]


# Writes to the server's log and to no table, so that it needs no rights; a standby refuses it. Hosted servers whose
# disk is nearly full make their sessions read-only, which it returns.
CHECK_WRITES = """
    SELECT current_setting('transaction_read_only') = 'on' FROM pg_logical_emit_message(true, 'mailroom', '')
"""

ALLOWED_CONNECTIONS = """
    SELECT (SELECT system_identifier::text FROM pg_control_system()), least(
        current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
            - current_setting('reserved_connections')::int,
        nullif(rolconnlimit, -1), nullif(datconnlimit, -1))
    FROM pg_roles, pg_database WHERE rolname = current_user AND datname = current_database()
"""
"""Selects an id of the server, and how many connections it allows all processes of this role together."""


def session_parameters(application_name: str) -> dict[str, str]:
    """Return the parameters of a connection's start: those that PgBouncer accepts."""
    return {"application_name": application_name, "timezone": "UTC"}


def limits(
    *,
    statement: float = STATEMENT_TIMEOUT,
    lock: float = LOCK_TIMEOUT,
    idle_in_transaction: float = IDLE_IN_TRANSACTION_TIMEOUT,
    transaction: float = 0,
) -> str:
    """Return the statements that limit a session, in seconds; 0: unlimited.

    Each new connection executes them: a pooler refuses them as parameters of its start, or ignores them.
    """
    seconds = {
        "statement_timeout": statement,
        "lock_timeout": lock,
        "idle_in_transaction_session_timeout": idle_in_transaction,
        "transaction_timeout": transaction,
    }
    return "; ".join(f"SET {name} = {round(1000 * value)}" for name, value in seconds.items())


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


def _nothing() -> None:
    pass


class BoundedPool(_AsyncpgPool):
    """A pool in which no wait is endless; asyncpg's own waits for a free connection for ever.

    `on_timeout` is called when a wait for a connection is given up, `on_statement_timeout` when one for an answer is.
    """

    acquire_timeout = ACQUIRE_TIMEOUT
    release_timeout = RELEASE_TIMEOUT
    close_timeout = CLOSE_TIMEOUT
    on_timeout: Callable[[], None] = staticmethod(_nothing)
    on_statement_timeout: Callable[[], None] = staticmethod(_nothing)

    @override
    def acquire(self, *, timeout: float | None = None) -> _Acquisition:
        """Acquire a connection within `timeout` seconds. Raises TimeoutError."""
        return _BoundedAcquisition(self, self.acquire_timeout if timeout is None else timeout)

    @override
    async def release(self, connection: Connection, *, timeout: float | None = None) -> None:
        """Give a connection back; one whose statement does not end within `timeout` seconds is cut off."""
        await super().release(connection, timeout=self.release_timeout if timeout is None else timeout)

    @override
    async def close(self) -> None:
        """Close all connections; those that do not end in time are cut off."""
        try:
            async with asyncio.timeout(self.close_timeout):
                await super().close()
        except TimeoutError:
            log.warning("connections to Postgres cut off: they did not end in time")


class _BoundedAcquisition(_Acquisition):
    @override
    async def __aenter__(self) -> Connection:
        try:
            return await super().__aenter__()
        except TimeoutError:
            pool = self.pool
            assert isinstance(pool, BoundedPool)  # noqa: S101 - only its `acquire` makes this object
            log.warning("no connection to Postgres within the time limit", seconds=self.timeout)
            pool.on_timeout()
            raise


class ReadOnlyError(Exception):
    """The server lets nothing be written."""


def show_pool(pool: BoundedPool, metrics: PoolMetrics) -> None:
    """Show a pool of `create_pool` as `postgres`."""
    metrics.count_timeouts("postgres", pool)
    metrics.show("postgres", limit=pool.get_max_size(), used=lambda: pool.get_size() - pool.get_idle_size())


async def check_writes(pool: Pool) -> None:
    """Write to the database. Raises ReadOnlyError, asyncpg's errors, TimeoutError, OSError."""
    async with pool.acquire(timeout=4) as connection:
        if await connection.fetchval(CHECK_WRITES, timeout=4):
            raise ReadOnlyError


async def allowed_connections(pool: Pool) -> tuple[str, int]:
    """Return what ALLOWED_CONNECTIONS selects. Raises asyncpg's errors, TimeoutError, OSError."""
    async with pool.acquire() as connection:
        row = await connection.fetchrow(ALLOWED_CONNECTIONS)
    assert row is not None  # noqa: S101 - a connected role and its database exist
    return row[0], row[1]


async def _leave_as_it_is(_: object) -> None:
    pass


def tell_of_silence(seconds: float) -> None:
    """Log a statement that got no answer: its connection is silent, or the server is stuck."""
    log.warning("no answer from Postgres within the time limit", seconds=round(seconds, 1))


async def commit_without_waiting(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Let a session's commits return before they are on disk: a server that crashes can lose those of its last second.

    For work that is repeated in this case, and may be.
    """
    await connection.execute("SET synchronous_commit = off")


async def create_pool(
    settings: Postgres,
    *,
    application_name: str,
    size: int,
    statement: float = STATEMENT_TIMEOUT,
    idle_in_transaction: float = IDLE_IN_TRANSACTION_TIMEOUT,
    transaction: float = 0,
    tracer: Tracer | None = None,
    on_connect: Callable[["asyncpg.Connection[asyncpg.Record]"], Awaitable[None]] | None = None,
) -> BoundedPool:
    """Return an asyncpg pool, which connects on first use, for services that send SQL without a layer between.

    Sessions run in UTC; a statement may take 30 s, and a wait for a lock 10 s. The server also closes a connection that
    is idle within a transaction for `idle_in_transaction` seconds, or whose transaction takes `transaction` seconds (0:
    unlimited); only the latter ends a client that went silent in the middle of a statement. asyncpg replaces closed
    connections. With a `tracer` statements become spans of the current trace. `on_connect` is called with each new
    connection before its first use.
    """
    query_spans = None if tracer is None else QuerySpans(tracer)

    session = limits(statement=statement, idle_in_transaction=idle_in_transaction, transaction=transaction)

    def note_silence(query: LoggedQuery) -> None:
        if isinstance(query.exception, TimeoutError):
            tell_of_silence(query.elapsed)
            pool.on_statement_timeout()

    async def prepare(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        await connection.execute(session)
        connection.add_query_logger(note_silence)
        if query_spans is not None:
            connection.add_query_logger(query_spans.of_asyncpg)
        if on_connect is not None:
            await on_connect(connection)

    # asyncpg would reset the session (advisory locks, LISTEN) at each release: a round trip with four statements. Code
    # on pooled connections leaves no session state.
    pool = BoundedPool(
        host=settings.host,
        port=settings.port,
        user=settings.user,
        password=settings.password.get_secret_value(),
        database=settings.database,
        min_size=0,
        max_size=size,
        max_queries=_QUERIES_PER_CONNECTION,
        max_inactive_connection_lifetime=_IDLE_SECONDS,
        connection_class=asyncpg.Connection,
        record_class=asyncpg.Record,
        loop=asyncio.get_running_loop(),
        init=prepare,
        reset=_leave_as_it_is,
        timeout=CONNECT_TIMEOUT,
        command_timeout=ANSWER_MARGIN * statement,
        server_settings=session_parameters(application_name),
    )
    await pool
    return pool
