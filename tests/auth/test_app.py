"""The service as a whole: its admin port, and its database."""

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from pydantic import SecretStr
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs
from structlog.typing import EventDict

import services
from deploy.local.ports import Ports
from services.auth.app import serving
from services.auth.settings import AuthSettings
from services.auth.store.tables import metadata


class TestReadiness:
    async def test_is_given_when_the_stores_answer(self, make_settings: Callable[..., AuthSettings]) -> None:
        assert await self._readiness(make_settings()) == 200

    async def test_is_not_given_without_the_database(
        self, make_settings: Callable[..., AuthSettings], closed_port: int
    ) -> None:
        assert await self._readiness(make_settings(postgres_port=closed_port)) == 503

    async def test_is_given_without_redis(self, make_settings: Callable[..., AuthSettings], closed_port: int) -> None:
        # Sessions go on: without auth they would all end.
        assert await self._readiness(make_settings(redis_port=closed_port)) == 200

    async def test_is_not_given_with_another_secret(self, make_settings: Callable[..., AuthSettings]) -> None:
        await self._readiness(make_settings())
        assert await self._readiness(make_settings(secret_key="w" * 32)) == 503

    async def test_is_not_given_before_the_migrations(self, make_settings: Callable[..., AuthSettings]) -> None:
        assert await self._readiness(make_settings(auth_postgres_db="postgres")) == 503

    async def test_is_not_given_before_the_database_exists(self, make_settings: Callable[..., AuthSettings]) -> None:
        assert await self._readiness(make_settings(auth_postgres_db="nowhere")) == 503

    async def _readiness(self, settings: AuthSettings) -> int:
        async with serving(settings, stop=asyncio.Event()) as ports, httpx.AsyncClient() as client:
            return (await client.get(f"http://127.0.0.1:{ports.admin}/readyz")).status_code


class TestPeriodicTasks:
    async def test_tell_why_they_fail_but_not_the_statement_that_failed(
        self, make_settings: Callable[..., AuthSettings]
    ) -> None:
        tasks = {
            *("revoke grants", "rotate signing keys", "forget sessions", "forget events", "forget ended sessions"),
            *("forget connect sessions", "fill applications of events"),
        }
        with capture_logs() as logs:
            async with serving(make_settings(auth_postgres_db="postgres"), stop=asyncio.Event()), asyncio.timeout(30):
                while len(failures := _failures(logs)) < len(tasks):  # noqa: ASYNC110 - the log has no event to wait for
                    await asyncio.sleep(0.01)
        assert {entry["task"] for entry in failures} == tasks
        for entry in failures:
            assert entry["reason"].startswith("is the database migrated? ")
            assert "[SQL:" not in str(entry)
            assert "exc_info" not in entry


def _failures(logs: list[EventDict]) -> list[EventDict]:
    return [entry for entry in logs if entry["event"] == "periodic task failed"]


class TestMigrations:
    async def test_make_the_tables_that_the_code_knows(self, fresh_engine: AsyncEngine) -> None:
        def differences(connection: Connection) -> list[object]:
            context = MigrationContext.configure(
                connection, opts={"compare_type": True, "compare_server_default": True}
            )
            return list(compare_metadata(context, metadata))

        async with fresh_engine.connect() as connection:
            assert await connection.run_sync(differences) == []


class TestProcess:
    async def test_serves_until_sigterm(self, make_settings: Callable[..., AuthSettings], ports: Ports) -> None:
        settings = make_settings(auth_admin_port=ports.free())
        process = await self._start(settings)
        async with httpx.AsyncClient() as client, asyncio.timeout(60):
            while not await self._ready(client, settings.auth_admin_port):
                assert process.returncode is None
        process.terminate()
        _, errors = await process.communicate()
        assert process.returncode == 0
        assert "Traceback" not in errors.decode()

    async def test_reencrypts_on_command(
        self, make_settings: Callable[..., AuthSettings], fresh_engine: AsyncEngine
    ) -> None:
        # Other tests leave records that no key opens in the database that all share.
        process = await self._start(make_settings(auth_postgres_db=fresh_engine.url.database), "reencrypt")
        _, errors = await process.communicate()
        assert process.returncode == 0
        assert '"event": "reencrypted"' in errors.decode()

    async def test_makes_a_signing_key_on_command(self, make_settings: Callable[..., AuthSettings]) -> None:
        process = await self._start(make_settings(), "rotate-signing-keys")
        _, errors = await process.communicate()
        assert process.returncode == 0
        assert '"event": "rotated the signing keys"' in errors.decode()

    async def test_names_a_missing_setting_in_one_line(self, make_settings: Callable[..., AuthSettings]) -> None:
        process = await self._start(make_settings(), without="SECRET_KEY")
        _, errors = await process.communicate()
        assert process.returncode == 2
        assert errors == b"SECRET_KEY: Field required\n"

    async def _start(self, settings: AuthSettings, *arguments: str, without: str = "") -> asyncio.subprocess.Process:
        values = settings.model_dump(exclude_none=True, by_alias=True)
        environment = {
            name.upper(): str(value.get_secret_value() if isinstance(value, SecretStr) else value)
            for name, value in values.items()
        }
        environment.pop(without, None)
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "services.auth", *arguments),
            env={"PATH": os.environ["PATH"], **environment},
            cwd=Path(services.__path__[0]).parent,
            stderr=asyncio.subprocess.PIPE,
        )

    async def _ready(self, client: httpx.AsyncClient, port: int) -> bool:
        try:
            return (await client.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200
        except httpx.TransportError:
            await asyncio.sleep(0.05)
            return False
