"""Upgrades from each recorded release: its statements go on while migrations run, wait for no lock long, lose nothing.

tests/support/upgrade/record.py records a release. 894c78f was recorded with a copy of it that knew the names of its
day; auth's statements are written by hand. f1adea6 is the first one with applications, API keys and connect sessions.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from deploy.local.postgres import Database
from services.kit.settings import Postgres
from services.kit.stores.postgres import Connection, create_pool
from tests.mail.conftest import settings_of
from tests.support.upgrade.load import Load
from tests.support.upgrade.old_release import RELEASES, OldRelease, columns_of, digest, fill

# It takes as long as each other one, for migrations that installations have behind them.
OLDEST = "894c78f"
NAMES = [
    pytest.param(path.name, marks=[pytest.mark.long] if path.name == OLDEST else [])
    for path in sorted(RELEASES.iterdir())
]
MAILBOXES = 1_000
# Seconds.
LONGEST_WAIT = 1.0
# Messages that a turn leaves: it stores 20 and deletes one.
LEFT = 19


def upgrade(database: Postgres, service: str, *, directory: Path) -> None:
    """Run a service's migrations as an operator does, in a directory without a .env."""
    prefix = f"{service.upper()}_POSTGRES"
    done = subprocess.run(
        [sys.executable, "-m", f"services.{service}.migrations", "upgrade"],
        cwd=directory,
        env={
            "PATH": os.environ["PATH"],
            "POSTGRES_USER": database.user,
            "POSTGRES_PASSWORD": database.password.get_secret_value(),
            f"{prefix}_HOST": database.host,
            f"{prefix}_PORT": str(database.port),
            f"{prefix}_DB": database.database,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(params=NAMES)
def release(request: pytest.FixtureRequest) -> OldRelease:
    return OldRelease(request.param)


@pytest.fixture
def database(create_database: Callable[[str], Database]) -> Postgres:
    return settings_of(create_database("upgraded"))


@pytest.fixture
async def connection(database: Postgres) -> AsyncIterator[Connection]:
    """A connection to the database, which is empty."""
    pool = await create_pool(database, application_name="test", size=1)
    async with pool, pool.acquire() as connection:
        yield connection


async def refused(connection: Connection, statements: Mapping[str, Sequence[str]]) -> set[tuple[str, str]]:
    """Return the places with statements that the database does not know how to execute, and why."""
    found = set()
    for place, texts in statements.items():
        for text in texts:
            try:
                await connection.execute(f"EXPLAIN (GENERIC_PLAN) {text}")
            except asyncpg.PostgresError as error:
                found.add((place, str(error)))
    return found


class TestMail:
    async def test_goes_on_while_a_filled_database_is_upgraded(
        self, release: OldRelease, database: Postgres, connection: Connection, tmp_path: Path
    ) -> None:
        user_id, written = uuid4(), list[int]()
        await release.create(connection, "mail")
        first = await release.turn(connection, user_id=user_id)
        await fill(connection, first, mailboxes=MAILBOXES)
        columns = await columns_of(connection)
        before = await digest(connection, columns)

        async def turn(connection: Connection) -> None:
            written.append(await release.turn(connection, user_id=uuid4()))

        async def read(connection: Connection) -> None:
            # The mailbox, its counts, its label, three lists (two find everything), position, changes, state.
            assert await release.read(connection, user_id=user_id, mailbox_id=first) > 3 * LEFT

        load = Load(database)
        async with load.repeated(turn=turn, another_turn=turn, read=read):
            await asyncio.to_thread(upgrade, database, "mail", directory=tmp_path)

        assert load.longest_wait < LONGEST_WAIT
        assert await digest(connection, columns) == before
        counts = "SELECT count(*) FROM messages WHERE mailbox_id = ANY($1) GROUP BY mailbox_id"
        assert [row[0] for row in await connection.fetch(counts, written)] == [LEFT] * len(written)
        assert await refused(connection, release.statements) == set()


class TestAuth:
    async def test_goes_on_while_a_filled_database_is_upgraded(
        self, release: OldRelease, database: Postgres, connection: Connection, tmp_path: Path
    ) -> None:
        await release.create(connection, "auth")
        load = Load(database)
        async with load.repeated(sign_in=release.use_auth, another_sign_in=release.use_auth):
            await asyncio.to_thread(upgrade, database, "auth", directory=tmp_path)

        assert load.longest_wait < LONGEST_WAIT
        counts = "SELECT (SELECT count(*) FROM accounts), (SELECT count(*) FROM provider_tokens WHERE version = 2)"
        [users] = await connection.fetchrow("SELECT count(*) FROM users") or [0]
        assert tuple(await connection.fetchrow(counts) or ()) == (users, users)
        assert await connection.fetchval("SELECT count(*) FROM grant_revocations WHERE attempts = 1") == users
