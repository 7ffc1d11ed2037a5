"""What Postgres allows a process is shown, and a process that does not fit knows it."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from deploy.local.postgres import Database
from services.kit.observe.postgres_capacity import PostgresCapacity
from services.kit.stores.postgres import allowed_connections, create_pool
from tests.mail.conftest import settings_of


class TestPostgresCapacity:
    def capacity(self, *, wanted: int, allowed: list[int], registry: CollectorRegistry) -> PostgresCapacity:
        async def read() -> tuple[str, int]:
            return "7", allowed.pop(0)

        return PostgresCapacity(registry, wanted=wanted, read=read)

    async def test_of_a_process_that_fits_is_shown(self) -> None:
        registry = CollectorRegistry()
        capacity = self.capacity(wanted=10, allowed=[10], registry=registry)
        with capture_logs() as logs:
            await capacity.check()
        assert (capacity.fits, logs) == (True, [])
        assert registry.get_sample_value("mailroom_postgres_connections_allowed", {"server": "7"}) == 10

    async def test_of_a_process_that_wants_more_is_logged_until_the_server_allows_it(self) -> None:
        capacity = self.capacity(wanted=11, allowed=[10, 11], registry=CollectorRegistry())
        fitted = [capacity.fits]
        with capture_logs() as logs:
            for _ in range(2):
                await capacity.check()
                fitted.append(capacity.fits)
        assert fitted == [True, False, True]
        assert [(line["log_level"], line["wanted"], line["allowed"]) for line in logs] == [("error", 11, 10)]


class TestAllowedConnections:
    async def test_are_those_of_the_server_without_the_reserved_ones_or_of_the_database(
        self, create_database: Callable[[str], Database]
    ) -> None:
        database = settings_of(create_database("capacity"))
        pool = await create_pool(database, application_name="capacity", size=1)
        async with pool:
            server, allowed = await allowed_connections(pool)
            async with pool.acquire() as connection:
                highest = int(await connection.fetchval("SHOW max_connections"))
                await connection.execute(f'ALTER DATABASE "{database.database}" CONNECTION LIMIT 7')
            assert (await allowed_connections(pool), allowed) == ((server, 7), highest - 3)
