"""Connections to Postgres and Redis, and creation of a service's database."""

import asyncio
import secrets
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError
from redis.exceptions import ConnectionError as RedisConnectionError
from sqlalchemy import text

from deploy.local.postgres import PostgresAddress
from deploy.local.valkey import RedisAddress
from services.kit.settings import Postgres, RedisSettings
from services.kit.stores.engine import create_engine
from services.kit.stores.migrations.database import ensure_database
from services.kit.stores.postgres import connect, create_pool
from services.kit.stores.redis_client import POOL_SIZE, create_redis
from services.kit.tls.authority import create_authority, issue

_TLS_HANDSHAKE = 22  # RFC 8446, section 5.1


@asynccontextmanager
async def encrypted(server: RedisAddress, directory: Path) -> AsyncIterator[int]:
    """A port of `localhost` that speaks TLS in front of the server; `ca.crt` in the directory is its authority."""
    now = datetime.now(UTC)
    authority = create_authority(now=now)
    issued = issue(authority, "localhost", now=now)
    (directory / "ca.crt").write_bytes(authority.certificate_pem)
    (directory / "server.pem").write_bytes(issued.certificate_pem + issued.key_pem)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(directory / "server.pem")

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(server.host, server.port)
        await asyncio.gather(_copy(reader, there[1]), _copy(there[0], writer))

    listening = await asyncio.start_server(relay, "127.0.0.1", 0, ssl=context)
    async with listening:
        yield listening.sockets[0].getsockname()[1]


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(4096):
        writer.write(data)
    writer.close()


@pytest.fixture
def administrator(postgres_server: PostgresAddress) -> Postgres:
    return Postgres(
        host=postgres_server.host,
        port=postgres_server.port,
        user=postgres_server.user,
        password=SecretStr(postgres_server.password),
        database="postgres",
    )


@pytest.fixture
async def missing(administrator: Postgres) -> AsyncIterator[Postgres]:
    """A database and role of a service that do not exist yet, and are dropped afterwards."""
    name = f'odd "name" {secrets.token_hex(4)}'
    yield administrator.model_copy(
        update={"user": name, "password": SecretStr("o'hara\\ \"x"), "database": f"{name} db"}
    )
    connection = await asyncpg.connect(
        host=administrator.host,
        port=administrator.port,
        user=administrator.user,
        password=administrator.password.get_secret_value(),
        database="postgres",
    )
    quoted = name.replace('"', '""')
    await connection.execute(f'DROP DATABASE IF EXISTS "{quoted} db" WITH (FORCE)')
    await connection.execute(f'DROP ROLE IF EXISTS "{quoted}"')
    await connection.close()


class TestEnsureDatabase:
    async def test_makes_role_and_database_once_even_when_two_try(
        self, administrator: Postgres, missing: Postgres
    ) -> None:
        await asyncio.gather(*[ensure_database(missing, administrator=administrator) for _ in range(3)])
        engine = create_engine(missing, application_name="tests", pool_size=1)
        async with engine.connect() as connection:
            query = "SELECT datlocprovider, datlocale, current_user FROM pg_database WHERE datname = current_database()"
            provider, locale, user = (await connection.execute(text(query))).one()
            assert await connection.scalar(text("SELECT lower('ПИСЬМО')")) == "письмо"
            await connection.execute(text("CREATE TABLE owned (id int)"))
        await engine.dispose()
        assert (provider, locale, user) == (b"b", "C.UTF-8", missing.user)

    async def test_makes_again_what_an_interruption_left_open_to_others(
        self, administrator: Postgres, missing: Postgres
    ) -> None:
        left = missing.database.replace('"', '""') + ".unfinished"
        connection = await connect(administrator)
        await connection.execute(f'CREATE DATABASE "{left}"')
        await ensure_database(missing, administrator=administrator)
        query = "SELECT datname, datacl::text FROM pg_database WHERE starts_with(datname, $1)"
        [(name, privileges)] = await connection.fetch(query, missing.database)
        await connection.close()
        assert name == missing.database
        # Null: those of the server, by which everybody may enter.
        assert privileges is not None
        assert "=Tc/" not in privileges

    async def test_needs_no_administrator_where_the_database_exists(
        self, administrator: Postgres, missing: Postgres
    ) -> None:
        await ensure_database(missing, administrator=administrator)
        refused = administrator.model_copy(update={"password": SecretStr("wrong")})
        await ensure_database(missing, administrator=refused)

    async def test_gives_the_role_a_new_password(self, administrator: Postgres, missing: Postgres) -> None:
        await ensure_database(missing, administrator=administrator)
        renewed = missing.model_copy(update={"password": SecretStr("another")})
        await ensure_database(renewed, administrator=administrator)
        pool = await create_pool(renewed, application_name="tests", size=1)
        assert await pool.fetchval("SELECT current_user") == missing.user
        await pool.close()
        # The old password is refused, and there is no administrator to set another.
        refused = administrator.model_copy(update={"password": SecretStr("wrong")})
        with pytest.raises(asyncpg.InvalidPasswordError):
            await ensure_database(missing, administrator=refused)


class TestPostgres:
    async def test_sessions_run_in_utc_under_limits(self, administrator: Postgres) -> None:
        engine = create_engine(administrator, application_name="tests of the kit", pool_size=1)
        async with engine.connect() as connection:
            settings = [
                await connection.scalar(text(f"SHOW {name}"))
                for name in ("timezone", "statement_timeout", "lock_timeout", "application_name")
            ]
        await engine.dispose()
        assert settings == ["UTC", "30s", "10s", "tests of the kit"]

    async def test_sessions_of_a_pool_are_the_same(self, administrator: Postgres) -> None:
        pool = await create_pool(administrator, application_name="tests of the kit", size=1)
        settings = [await pool.fetchval(f"SHOW {name}") for name in ("timezone", "statement_timeout")]
        await pool.close()
        assert settings == ["UTC", "30s"]

    async def test_a_connection_that_the_server_closed_is_replaced(self, administrator: Postgres) -> None:
        engine = create_engine(administrator, application_name="tests", pool_size=1)
        async with engine.connect() as connection:
            first = await connection.scalar(text("SELECT pg_backend_pid()"))
        other = create_engine(administrator, application_name="tests", pool_size=1)
        async with other.connect() as connection:
            await connection.scalar(text(f"SELECT pg_terminate_backend({first}, 5000)"))
        async with engine.connect() as connection:
            assert await connection.scalar(text("SELECT pg_backend_pid()")) != first
        await engine.dispose()
        await other.dispose()


class TestRedis:
    async def test_more_commands_than_connections_wait_their_turn(self, redis_server: RedisAddress) -> None:
        redis = create_redis(
            RedisSettings(redis_host=redis_server.host, redis_port=redis_server.port, redis_db=redis_server.database)
        )
        key = f"kit-test:{secrets.token_hex(8)}"
        await asyncio.gather(*[redis.incr(key) for _ in range(POOL_SIZE * 8)])
        assert await redis.getdel(key) == str(POOL_SIZE * 8)
        await redis.aclose()

    async def test_a_server_that_wants_a_password_gets_it(self, redis_server: RedisAddress) -> None:
        user, password = f"kit-{secrets.token_hex(4)}", secrets.token_hex(16)
        address = {
            "redis_host": redis_server.host, "redis_port": redis_server.port, "redis_username": user,
        }  # fmt: skip
        administrator = Redis.from_url(redis_server.url)
        await administrator.acl_setuser(user, enabled=True, passwords=[f"+{password}"], commands=["+ping"])
        try:
            redis = create_redis(RedisSettings.model_validate({**address, "redis_password": password}))
            assert await redis.ping()
            await redis.aclose()
            refused = create_redis(RedisSettings.model_validate({**address, "redis_password": "another"}))
            with pytest.raises(AuthenticationError):
                await refused.ping()
            await refused.aclose()
        finally:
            await administrator.acl_deluser(user)
            await administrator.aclose()

    async def test_tls_is_used_where_it_is_set(self) -> None:
        greetings: list[bytes] = []

        async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            greetings.append(await reader.read(1))
            writer.close()

        server = await asyncio.start_server(listen, "127.0.0.1", 0)
        async with server:
            host, port = server.sockets[0].getsockname()
            redis = create_redis(RedisSettings(redis_host=host, redis_port=port, redis_db=0, redis_tls=True))
            with pytest.raises(RedisConnectionError):
                await redis.ping()
            await redis.aclose()
        assert set(greetings) == {bytes([_TLS_HANDSHAKE])}

    async def test_a_tls_server_is_accepted_if_its_authority_is_trusted(
        self, redis_server: RedisAddress, tmp_path: Path
    ) -> None:
        async with encrypted(redis_server, tmp_path) as port:
            address = {"redis_host": "localhost", "redis_port": port, "redis_db": 0, "redis_tls": True}
            known = create_redis(RedisSettings.model_validate({**address, "redis_ca": tmp_path / "ca.crt"}))
            assert await known.ping()
            await known.aclose()
            unknown = create_redis(RedisSettings.model_validate(address))
            with pytest.raises(RedisConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
                await unknown.ping()
            await unknown.aclose()
