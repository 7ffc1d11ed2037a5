"""Transactions on the database of auth.

Locks are taken in this order: a provider's subject, the user, the account, its tokens. A transaction that changes the
tokens of an account locks the account.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from sqlalchemy import literal, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.auth.store.accounts import AccountQueries
from services.auth.store.api_keys import ApiKeyQueries
from services.auth.store.applications import ApplicationQueries
from services.auth.store.audit_events import AuditQueries
from services.auth.store.connect_sessions import ConnectSessionQueries
from services.auth.store.events import EventQueries
from services.auth.store.provider_tokens import ProviderTokenQueries
from services.auth.store.revocations import RevocationQueries
from services.auth.store.sessions import SessionQueries
from services.auth.store.signing_keys import SigningKeyQueries
from services.auth.store.users import UserQueries
from services.kit.errors import service_unavailable
from services.kit.stores.postgres import ALLOWED_CONNECTIONS, CHECK_WRITES, ReadOnlyError

# SQLSTATE classes and codes after which the same request may succeed: connection lost, out of resources, server
# going down or starting, lock and statement time-outs, deadlock, a server that is no primary (yet). Source: PostgreSQL,
# appendix A.
_PASSING = ("08", "53", "57P", "57014", "55P03", "40", "25006")
# Rows that a statement changes in work on whole tables: a few tenths of a second, far from the limit of a statement.
_BATCH = 5000


class Transaction:
    """One transaction, with the queries of each table."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self.applications = ApplicationQueries(connection)
        self.api_keys = ApiKeyQueries(connection)
        self.connect_sessions = ConnectSessionQueries(connection)
        self.users = UserQueries(connection)
        self.accounts = AccountQueries(connection)
        self.provider_tokens = ProviderTokenQueries(connection)
        self.sessions = SessionQueries(connection)
        self.signing_keys = SigningKeyQueries(connection)
        self.revocations = RevocationQueries(connection)
        self.events = EventQueries(connection)
        self.audit_events = AuditQueries(connection)

    async def commit(self) -> None:
        """Commit the changes."""
        await self._connection.commit()

    async def write(self) -> None:
        """Check that the database can be written to. Raises ReadOnlyError."""
        if await self._connection.scalar(text(CHECK_WRITES)):
            raise ReadOnlyError
        await self.commit()

    async def allowed_connections(self) -> tuple[str, int]:
        """Return an id of the server, and how many connections it allows all processes of this role together."""
        server, allowed = (await self._connection.execute(text(ALLOWED_CONNECTIONS))).one()
        return server, allowed

    async def ping(self) -> None:
        """Check that the database answers."""
        await self._connection.execute(select(literal(1)))


class Store:
    """The service's database."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Open a transaction, rolled back unless committed. Raises AppError if the database is unavailable."""
        try:
            async with self._engine.connect() as connection:
                yield Transaction(connection)
        except (OSError, PoolTimeoutError) as error:
            raise service_unavailable("The database") from error
        except DBAPIError as error:
            if error.connection_invalidated or str(getattr(error.orig, "sqlstate", None) or "08").startswith(_PASSING):
                raise service_unavailable("The database") from error
            raise

    async def in_batches(self, change: Callable[[Transaction, int], Awaitable[int]], *, batch: int = _BATCH) -> None:
        """Repeat a change of up to so many rows, each time in a transaction of its own, until fewer are left to change.

        `change` returns how many rows it changed. Raises AppError if the database is unavailable.
        """
        changed = batch
        while changed >= batch:
            async with self.transaction() as transaction:
                changed = await change(transaction, batch)
                await transaction.commit()
