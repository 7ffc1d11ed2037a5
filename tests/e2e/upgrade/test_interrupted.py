"""An upgrade that was killed at any statement can be repeated, and nothing half-done stays."""

import asyncio
import os
import secrets
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from deploy.local.ports import Ports
from deploy.local.postgres import Database, EmbeddedPostgres
from services.kit.stores.postgres import Connection, create_pool
from tests.mail.conftest import settings_of
from tests.support.upgrade.interruption import Site
from tests.support.upgrade.old_release import OldRelease, columns_of, digest, fill

pytestmark = pytest.mark.long

# The release that lacks most migrations.
OLDEST = OldRelease("894c78f")
MAILBOXES = 20
_CREATE = """
    CREATE DATABASE "{name}" TEMPLATE template0
    ENCODING 'UTF8' LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C'
"""


@pytest.fixture(scope="module")
def server(ports: Ports) -> Iterator[EmbeddedPostgres]:
    """A durable server of its own, to kill."""
    with (
        tempfile.TemporaryDirectory(prefix="mailroom-tests-") as home,
        EmbeddedPostgres(Path(home), port=ports.free(), password=secrets.token_urlsafe()) as server,
    ):
        yield server


@asynccontextmanager
async def _connected(database: Database) -> AsyncIterator[Connection]:
    pool = await create_pool(settings_of(database), application_name="test", size=1)
    async with pool, pool.acquire() as connection:
        yield connection


async def _old_site(server: EmbeddedPostgres, service: str, *, directory: Path) -> Site:
    """Make the database of a service as the oldest release leaves it, with rows in mail's."""
    database = Database(server=server.address, name=f"{service}_{secrets.token_hex(4)}")
    async with _connected(Database(server=server.address, name="postgres")) as connection:
        await connection.execute(_CREATE.format(name=database.name))
    async with _connected(database) as connection:
        await OLDEST.create(connection, service)
        if service == "mail":
            await fill(connection, await OLDEST.turn(connection, user_id=uuid4()), mailboxes=MAILBOXES)
    return Site(database, service, directory)


async def _revision(site: Site) -> object:
    return await site.fetch("SELECT version_num FROM alembic_version")


async def _rows(site: Site, columns: dict[str, list[str]]) -> object:
    async with _connected(site.database) as connection:
        return await digest(connection, columns)


def _kill(server: EmbeddedPostgres) -> None:
    """Kill the server and start it anew, which replays its log."""
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    server.stop()
    server.start()


async def _killed_at_each_stop(site: Site, server: EmbeddedPostgres) -> list[str]:
    """Upgrade, and kill the migrations or each third time the server at each stop; return the statements there."""
    stops = list[str]()
    while (statement := await site.next_stop(process := site.upgrade())) is not None:
        stops.append(statement)
        if len(stops) % 3:
            process.kill()
        else:
            await asyncio.to_thread(_kill, server)
        process.communicate(timeout=60)
    assert process.returncode == 0, process.communicate()[0]
    process.communicate()
    return stops


class TestKilled:
    @pytest.mark.parametrize("service", ["auth", "mail"])
    async def test_at_any_statement_goes_on_from_the_last_whole_migration(
        self, server: EmbeddedPostgres, service: str, tmp_path: Path
    ) -> None:
        whole, killed = [await _old_site(server, service, directory=tmp_path) for _ in range(2)]
        async with _connected(killed.database) as connection:
            columns = await columns_of(connection) if service == "mail" else {}
        rows = await _rows(killed, columns)
        process = whole.upgrade()
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
        await killed.install_stops()
        stops = await _killed_at_each_stop(killed, server)
        assert sum("CONCURRENTLY" in statement for statement in stops) >= 5
        assert await _revision(killed) == await _revision(whole)
        assert killed.definitions() == whole.definitions()
        assert await _rows(killed, columns) == rows
