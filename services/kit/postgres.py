"""Building the one connection pool of a process."""

from sqlalchemy import URL, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from services.kit.settings import Postgres


def database_url(settings: Postgres) -> URL:
    """The SQLAlchemy address of a database, for asyncpg."""
    return URL.create(
        "postgresql+asyncpg",
        username=settings.user,
        password=settings.password.get_secret_value(),
        host=settings.host,
        port=settings.port,
        database=settings.database,
    )


def create_engine(settings: Postgres, *, application_name: str, pool_size: int) -> AsyncEngine:
    """A pool of a fixed size; opens nothing yet.

    Sessions run in UTC and give up on a statement after 30 s and on a lock after 10 s.
    """
    engine = create_async_engine(
        database_url(settings),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=10,
        connect_args={
            "timeout": 10,
            "command_timeout": 60,
            "server_settings": {
                "application_name": application_name,
                "timezone": "UTC",
                "statement_timeout": "30000",
                "lock_timeout": "10000",
                "idle_in_transaction_session_timeout": "60000",
            },
        },
    )

    @event.listens_for(engine.sync_engine, "checkout")
    def refuse_dead_connection(dbapi_connection: object, _record: object, _proxy: object) -> None:
        # asyncpg knows without a round trip when the server has gone; the pool then connects again.
        if dbapi_connection.driver_connection.is_closed():  # type: ignore[attr-defined]
            raise DisconnectionError

    return engine
