"""The servers that mail's tests share, and the stage with a mailbox for each test."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pytest
from pydantic import SecretStr

from deploy.local.ports import Ports
from deploy.local.postgres import Database
from deploy.local.valkey import RedisAddress
from services.kit.settings import Postgres, RedisSettings
from services.kit.stores.postgres import create_pool
from services.kit.stores.redis_client import create_redis
from tests.support.mail.sandbox_control import served_sandbox
from tests.support.mail.servers import Servers
from tests.support.mail.stage import Stage, open_stage

OpenStage = Callable[..., AbstractAsyncContextManager[Stage]]


def migrate(database: Postgres, *arguments: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run the service's migrations as an operator does, in a directory without a .env."""
    environment = {
        "PATH": os.environ["PATH"],
        "MAIL_POSTGRES_HOST": database.host,
        "MAIL_POSTGRES_PORT": str(database.port),
        "MAIL_POSTGRES_USER": database.user,
        "MAIL_POSTGRES_PASSWORD": database.password.get_secret_value(),
        "MAIL_POSTGRES_DB": database.database,
    }
    command = [sys.executable, "-m", "services.mail.migrations", *arguments]
    return subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def settings_of(database: Database) -> Postgres:
    """Return a test database as service settings."""
    return Postgres(
        host=database.server.host,
        port=database.server.port,
        user=database.server.user,
        password=SecretStr(database.server.password),
        database=database.name,
    )


@pytest.fixture(scope="session")
async def mail_database(
    create_database: Callable[[str], Database], tmp_path_factory: pytest.TempPathFactory
) -> Postgres:
    """Return a migrated database of the mail service."""
    database = settings_of(create_database("mail"))
    done = await asyncio.to_thread(migrate, database, "upgrade", directory=tmp_path_factory.mktemp("migrations"))
    assert done.returncode == 0, done.stderr
    return database


@pytest.fixture(scope="session")
async def servers(mail_database: Postgres, redis_server: RedisAddress) -> AsyncIterator[Servers]:
    """Yield a real database, Redis and sandbox."""
    pool = await create_pool(mail_database, application_name="mail-tests", size=12)
    redis = create_redis(
        RedisSettings(redis_host=redis_server.host, redis_port=redis_server.port, redis_db=redis_server.database)
    )
    async with served_sandbox() as sandbox:
        yield Servers(sandbox, mail_database, pool, redis)
    await redis.aclose()
    await pool.close()


@pytest.fixture
def stage(servers: Servers) -> OpenStage:
    """Return a function that opens a stage: `async with stage(messages=30) as s`."""
    return partial(open_stage, servers)


@pytest.fixture
def free_port(ports: Ports) -> int:
    """Return a port of this machine without a listener."""
    return ports.free()
