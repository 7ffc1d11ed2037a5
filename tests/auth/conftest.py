"""A running auth service on real Postgres and Valkey, beside a provider of our own."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from grpc import aio
from pydantic import SecretStr
from redis.asyncio import Redis
from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncEngine

import services.auth.migrations
from deploy.local.postgres import Database
from deploy.local.valkey import RedisAddress
from services.auth.app import serving
from services.auth.settings import AuthSettings
from services.auth.store.privileges import AUTH
from services.auth.store.tables import grant_revocations, metadata, security_events, signing_keys, users
from services.kit.http.server import serve_http
from services.kit.settings import Postgres, RedisSettings
from services.kit.stores.engine import create_engine
from services.kit.stores.migrations.command import main as migrate
from services.kit.stores.migrations.roles import ProcessRole
from services.kit.stores.redis_client import create_redis
from tests.support.auth.client import SECRET_KEY, Client, OpenService, StartService
from tests.support.auth.stand_in import CLIENT_ID, CLIENT_SECRET, REDIRECT_URI, Deviations, StandIn


@pytest.fixture(scope="session")
def database(create_database: Callable[[str], Database]) -> Database:
    return create_database("auth")


@pytest.fixture(scope="session")
async def provider() -> AsyncIterator[StandIn]:
    """The server of the provider; tests use `stand_in`, which resets it."""
    stand_in = StandIn()
    async with serve_http(stand_in.app, host="127.0.0.1", port=0) as port:
        stand_in.origin = f"http://127.0.0.1:{port}"
        yield stand_in


@pytest.fixture
def stand_in(provider: StandIn) -> StandIn:
    """The provider without deviations, with its counts at zero."""
    provider.deviations = Deviations()
    provider.calls.clear()
    return provider


@pytest.fixture(scope="session")
async def make_settings(
    database: Database, new_role: Callable[[str], str], redis_server: RedisAddress, provider: StandIn
) -> Callable[..., AuthSettings]:
    role = new_role("auth_service")

    def make(**overrides: Any) -> AuthSettings:
        values = {
            "auth_port": 0,
            "auth_admin_port": 0,
            "mailroom_insecure_grpc": True,
            "postgres_host": database.server.host,
            "postgres_port": database.server.port,
            "auth_postgres_user": role,
            "auth_postgres_password": "of the service",
            "auth_postgres_db": database.name,
            "redis_host": redis_server.host,
            "redis_port": redis_server.port,
            "redis_db": redis_server.database,
            "secret_key": SECRET_KEY,
            "public_url": "https://mailroom.example",
            "google_client_id": CLIENT_ID,
            "google_client_secret": CLIENT_SECRET,
            "google_redirect_uri": REDIRECT_URI,
            "google_issuer": provider.origin,
            "google_auth_url": f"{provider.origin}/authorize",
            "google_token_url": f"{provider.origin}/token",
            "google_userinfo_url": f"{provider.origin}/userinfo",
            "google_jwks_url": f"{provider.origin}/jwks",
            "google_revoke_url": f"{provider.origin}/revoke",
        }
        return AuthSettings(_env_file=None, **(values | overrides))  # type: ignore[call-arg, arg-type]  # pydantic-settings' own argument, and values of many types

    await asyncio.to_thread(_migrate, make(), database)
    return make


def _migrate(settings: AuthSettings, database: Database) -> None:
    """Migrate in a thread, since the command runs an event loop of its own."""
    owner = _owner(database)
    migrate(
        ["upgrade"],
        versions=Path(services.auth.migrations.__path__[0]) / "versions",
        metadata=metadata,
        owner=owner,
        administrator=owner,
        roles=[ProcessRole(settings.database, AUTH)],
    )


def _owner(database: Database) -> Postgres:
    """Return the database, entered by the administrator, who owns its tables; the service has a role of its own."""
    return Postgres(
        host=database.server.host,
        port=database.server.port,
        user=database.server.user,
        password=SecretStr(database.server.password),
        database=database.name,
    )


@pytest.fixture(scope="session")
def open_service(make_settings: Callable[..., AuthSettings], provider: StandIn) -> OpenService:
    @asynccontextmanager
    async def opened(**overrides: Any) -> AsyncIterator[Client]:
        async with (
            serving(make_settings(**overrides), stop=asyncio.Event()) as ports,
            aio.insecure_channel(f"127.0.0.1:{ports.rpc}") as channel,
        ):
            yield Client(channel, provider)

    return opened


@pytest.fixture
async def start_service(open_service: OpenService) -> AsyncIterator[StartService]:
    """Services of one test, which end with it: each has a pool, and tasks that work on the rows of all tests."""
    async with AsyncExitStack() as stack:

        async def start(**overrides: Any) -> Client:
            return await stack.enter_async_context(open_service(**overrides))

        yield start


@pytest.fixture(scope="session")
async def client(open_service: OpenService) -> AsyncIterator[Client]:
    """A client of a service with the usual settings."""
    async with open_service() as client:
        yield client


@pytest.fixture(scope="session")
async def engine(database: Database, make_settings: Callable[..., AuthSettings]) -> AsyncIterator[AsyncEngine]:  # noqa: ARG001 - the settings' fixture migrates
    """The service's database, for tests that read or age its rows."""
    engine = create_engine(_owner(database), application_name="tests", pool_size=2)
    yield engine
    await engine.dispose()


@pytest.fixture(scope="session")
async def redis(redis_server: RedisAddress) -> AsyncIterator[Redis]:
    """The store of authorization requests and login codes, for tests that read or age them."""
    redis = create_redis(
        RedisSettings(redis_host=redis_server.host, redis_port=redis_server.port, redis_db=redis_server.database)
    )
    yield redis
    await redis.aclose()


@pytest.fixture(scope="session")
def closed_port() -> Iterator[int]:
    """A reserved port of this machine without a listener."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


@pytest.fixture(scope="session")
async def second_database(
    create_database: Callable[[str], Database], make_settings: Callable[..., AuthSettings]
) -> AsyncIterator[tuple[AsyncEngine, AsyncEngine]]:
    """A database that no running service uses, entered as the service and as the owner; tests use `fresh_engine`."""
    database = create_database("auth_fresh")
    settings = make_settings(auth_postgres_db=database.name)
    await asyncio.to_thread(_migrate, settings, database)
    engine = create_engine(settings.database, application_name="tests", pool_size=5)
    owners = create_engine(_owner(database), application_name="tests", pool_size=1)
    yield engine, owners
    await engine.dispose()
    await owners.dispose()


@pytest.fixture
async def owners_engine(second_database: tuple[AsyncEngine, AsyncEngine]) -> AsyncEngine:
    """The database of `fresh_engine`, entered as the owner of its tables."""
    return second_database[1]


@pytest.fixture
async def fresh_engine(second_database: tuple[AsyncEngine, AsyncEngine], owners_engine: AsyncEngine) -> AsyncEngine:
    """An empty database of the service, entered as the service, for tests that read all rows."""
    async with owners_engine.begin() as connection:
        # TRUNCATE makes new files for every table and index, which takes longer than most tests.
        for table in (users, signing_keys, grant_revocations, security_events):
            await connection.execute(delete(table))
    return second_database[0]
