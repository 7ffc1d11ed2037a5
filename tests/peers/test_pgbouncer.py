"""Every kind of connection works through PgBouncer in session mode, with the limits that it has without."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from deploy.local.ports import Ports
from deploy.local.postgres import Database, PostgresAddress
from services.kit.settings import Postgres
from services.kit.stores.engine import create_engine
from services.kit.stores.postgres import connect, create_pool
from tests.support.peers.pgbouncer import running_pgbouncer

pytestmark = pytest.mark.peers
# Milliseconds.
LIMITS = {
    "statement_timeout": "30000", "lock_timeout": "10000", "idle_in_transaction_session_timeout": "15000",
    "transaction_timeout": "60000",
}  # fmt: skip
_SHOWN = "SELECT name, setting FROM pg_settings WHERE name = ANY($1)"


@pytest.fixture
def pooler(postgres_server: PostgresAddress, ports: Ports) -> Iterator[PostgresAddress]:
    """PgBouncer in front of the server."""
    with running_pgbouncer(postgres_server, port=ports.free()) as address:
        yield address


@pytest.fixture
def database(pooler: PostgresAddress, create_database: Callable[[str], Database]) -> Postgres:
    """A database through PgBouncer."""
    return Postgres(
        host=pooler.host,
        port=pooler.port,
        user=pooler.user,
        password=SecretStr(pooler.password),
        database=create_database("pooled").name,
    )


class TestConnections:
    async def test_of_workers_have_their_limits(self, database: Postgres) -> None:
        pool = await create_pool(
            database, application_name="mail-worker", size=3, idle_in_transaction=15, transaction=60
        )
        shown = await asyncio.gather(*(pool.fetch(_SHOWN, list(LIMITS)) for _ in range(3)))
        await pool.close()
        assert [{row["name"]: row["setting"] for row in rows} for rows in shown] == [LIMITS] * 3

    async def test_of_auth_have_their_limits_also_after_a_rollback(self, database: Postgres) -> None:
        engine = create_engine(database, application_name="mailroom-auth", pool_size=1, acquire=60)
        for _ in range(2):
            async with engine.connect() as connection:
                assert await connection.scalar(text("SHOW statement_timeout")) == "30s"
                await connection.rollback()
        await engine.dispose()

    async def test_leave_no_limits_to_the_next_client(self, database: Postgres) -> None:
        pool = await create_pool(database, application_name="mail-worker", size=1, transaction=60)
        await pool.fetchval("SELECT 1")
        await pool.close()
        connection = await connect(database)
        assert await connection.fetchval("SHOW transaction_timeout") == "0"
        await connection.close()

    async def test_that_listen_hear_of_triggers(self, database: Postgres) -> None:
        listening, pool = await connect(database), await create_pool(database, application_name="mail", size=1)
        heard = asyncio.Event()
        await listening.add_listener("mailbox_due", lambda *_: heard.set())
        await pool.execute("NOTIFY mailbox_due")
        async with asyncio.timeout(30):
            await heard.wait()
        await pool.close()
        await listening.close()


def test_migrations_run_through_it(database: Postgres) -> None:
    variables = {
        "POSTGRES_HOST": database.host,
        "POSTGRES_PORT": str(database.port),
        "POSTGRES_USER": database.user,
        "POSTGRES_PASSWORD": database.password.get_secret_value(),
        "AUTH_POSTGRES_DB": database.database,
    }
    command = [sys.executable, "-m", "services.auth.migrations", "upgrade"]
    environment = {"PATH": os.environ["PATH"], **variables}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
