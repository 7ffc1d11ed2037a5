"""The service as a whole: its admin port, and its database."""

from collections.abc import Callable

import httpx
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from services.auth.app import serving
from services.auth.settings import AuthSettings
from services.auth.tables import metadata


class TestReadiness:
    async def test_is_given_when_the_stores_answer(self, make_settings: Callable[..., AuthSettings]) -> None:
        assert await self._readiness(make_settings()) == 200

    @pytest.mark.parametrize("store", ["postgres_port", "redis_port"])
    async def test_is_not_given_without_a_store(
        self, make_settings: Callable[..., AuthSettings], closed_port: int, store: str
    ) -> None:
        assert await self._readiness(make_settings(**{store: closed_port})) == 503

    async def test_is_not_given_with_another_secret(self, make_settings: Callable[..., AuthSettings]) -> None:
        await self._readiness(make_settings())
        assert await self._readiness(make_settings(secret_key="w" * 32)) == 503

    async def test_is_not_given_before_the_migrations(self, make_settings: Callable[..., AuthSettings]) -> None:
        assert await self._readiness(make_settings(auth_postgres_db="postgres")) == 503

    async def test_is_not_given_before_the_database_exists(self, make_settings: Callable[..., AuthSettings]) -> None:
        assert await self._readiness(make_settings(auth_postgres_db="nowhere")) == 503

    async def _readiness(self, settings: AuthSettings) -> int:
        async with serving(settings) as ports, httpx.AsyncClient() as client:
            return (await client.get(f"http://127.0.0.1:{ports.admin}/readyz")).status_code


class TestMigrations:
    async def test_make_the_tables_that_the_code_knows(self, fresh_engine: AsyncEngine) -> None:
        def differences(connection: Connection) -> list[object]:
            context = MigrationContext.configure(
                connection, opts={"compare_type": True, "compare_server_default": True}
            )
            return list(compare_metadata(context, metadata))

        async with fresh_engine.connect() as connection:
            assert await connection.run_sync(differences) == []
