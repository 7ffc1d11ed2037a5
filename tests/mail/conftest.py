"""The servers that mail's tests share, and the stage with a mailbox for each test."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from pydantic import SecretStr

from deploy.local.ports import Ports
from deploy.local.postgres import Database, PostgresAddress
from deploy.local.valkey import RedisAddress
from services.kit.settings import Postgres, RedisSettings
from services.kit.stores.postgres import create_pool
from services.kit.stores.redis_client import create_redis
from tests.support.mail.quota import close_tracked
from tests.support.mail.sandbox_control import served_sandbox
from tests.support.mail.servers import Servers
from tests.support.mail.stage import Stage, open_stage

OpenStage = Callable[..., AbstractAsyncContextManager[Stage]]


@dataclass(frozen=True)
class MailRoles:
    """The database as mail, its workers and its deliverers enter it."""

    mail: Postgres
    worker: Postgres
    deliverer: Postgres


def migrate(
    database: Postgres, *arguments: str, directory: Path, roles: MailRoles | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the service's migrations as an operator does, in a directory without a .env.

    `database` is the owner's; without `roles` the processes are to enter as the owner.
    """
    environment = {
        "PATH": os.environ["PATH"],
        "POSTGRES_USER": database.user,
        "POSTGRES_PASSWORD": database.password.get_secret_value(),
        "MAIL_POSTGRES_HOST": database.host,
        "MAIL_POSTGRES_PORT": str(database.port),
        "MAIL_POSTGRES_DB": database.database,
    }
    if roles is not None:
        environment |= {
            "MAIL_POSTGRES_OWNER": database.user,
            "MAIL_POSTGRES_OWNER_PASSWORD": database.password.get_secret_value(),
            "MAIL_POSTGRES_USER": roles.mail.user,
            "MAIL_POSTGRES_PASSWORD": roles.mail.password.get_secret_value(),
            "WORKER_POSTGRES_USER": roles.worker.user,
            "WORKER_POSTGRES_PASSWORD": roles.worker.password.get_secret_value(),
            "DELIVERER_POSTGRES_USER": roles.deliverer.user,
            "DELIVERER_POSTGRES_PASSWORD": roles.deliverer.password.get_secret_value(),
        }
    command = [sys.executable, "-m", "services.mail.migrations", *arguments]
    return subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=240, check=False
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


def entered_as(database: Postgres, role: str) -> Postgres:
    """Return a database as another role enters it."""
    return database.model_copy(update={"user": role, "password": SecretStr(f"of {role}")})


@pytest.fixture(scope="session")
def mail_databases(create_database: Callable[[str], Database], new_role: Callable[[str], str]) -> MailRoles:
    """Return a database as the roles of the processes enter it; `mail_database` migrates it."""
    database = settings_of(create_database("mail"))
    names = ("mail_service", "mail_worker", "mail_deliverer")
    return MailRoles(*(entered_as(database, new_role(name)) for name in names))


@pytest.fixture(scope="session")
async def mail_database(
    postgres_server: PostgresAddress, mail_databases: MailRoles, tmp_path_factory: pytest.TempPathFactory
) -> Postgres:
    """Return a migrated database of the mail service, entered by its owner, for what tests arrange and look at."""
    database = settings_of(Database(server=postgres_server, name=mail_databases.mail.database))
    directory = tmp_path_factory.mktemp("migrations")
    done = await asyncio.to_thread(migrate, database, "upgrade", directory=directory, roles=mail_databases)
    assert done.returncode == 0, done.stderr
    return database


@pytest.fixture(scope="session")
async def servers(
    mail_database: Postgres, mail_databases: MailRoles, redis_server: RedisAddress
) -> AsyncIterator[Servers]:
    """Yield a real database, Redis and sandbox."""
    pool = await create_pool(mail_database, application_name="mail-tests", size=12)
    mail_pool = await create_pool(mail_databases.mail, application_name="mail-tests", size=12)
    redis = create_redis(
        RedisSettings(redis_host=redis_server.host, redis_port=redis_server.port, redis_db=redis_server.database)
    )
    async with served_sandbox() as sandbox:
        yield Servers(
            sandbox=sandbox,
            database=mail_database,
            mail_database=mail_databases.mail,
            worker_database=mail_databases.worker,
            deliverer_database=mail_databases.deliverer,
            pool=pool,
            mail_pool=mail_pool,
            redis=redis,
        )
    await close_tracked()
    await redis.aclose()
    await mail_pool.close()
    await pool.close()


@pytest.fixture
def stage(servers: Servers) -> OpenStage:
    """Return a function that opens a stage: `async with stage(messages=30) as s`."""
    return partial(open_stage, servers)


@pytest.fixture
def free_port(ports: Ports) -> int:
    """Return a port of this machine without a listener."""
    return ports.free()
