"""Servers for tests: embedded ones, or those that POSTGRES_HOST and REDIS_HOST name."""

import asyncio
import gc
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import hypothesis
import pytest
import structlog
from xdist.remote import Producer

from deploy.local.ports import Ports
from deploy.local.postgres import Database, EmbeddedPostgres, PostgresAddress
from deploy.local.valkey import EmbeddedValkey, RedisAddress
from tests.support.distribution import SharedStacks, needs_stack, turn

# Collection makes a million objects that stay, over which the collector would pass again and again.
gc.disable()

# gRPC's fork handlers abort children before exec, and some tests start processes after others have used gRPC.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "false"

# structlog's own tracebacks show all local variables, which takes seconds for each error that a test lets happen.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)

# The same examples in every run, however long they take: what a run finds follows from the code alone. Long tests look
# for others (`derandomize=False`).
hypothesis.settings.register_profile(
    "repeatable", derandomize=True, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("repeatable")

# Seconds of marked tests that name no time limit themselves, and of those of whole stacks. All others have the limit of
# pyproject.toml.
TIME_LIMITS = {"long": 1800, "compose": 1800, "peers": 600}
STACK_LIMIT = 600


# Data that dies with the run need not outlive a failure of the machine.
FLEETING = {"fsync": "off", "full_page_writes": "off"}


@pytest.fixture(scope="session")
def ports() -> Iterator[Ports]:
    """Free ports on loopback: `ports.free()`."""
    ports = Ports()
    yield ports
    ports.release()


@pytest.fixture(scope="session")
def server_home() -> Iterator[Path]:
    """A MAILROOM_HOME for this run's servers; not below pytest's directory, which other users cannot enter."""
    home = Path(tempfile.mkdtemp(prefix="mailroom-tests-"))
    yield home
    shutil.rmtree(home)


@pytest.fixture(scope="session")
def postgres_server(server_home: Path, ports: Ports) -> Iterator[PostgresAddress]:
    """A Postgres server with `host`, `port`, `user`, `password` of its administrator and `environment()`."""
    if os.environ.get("POSTGRES_HOST"):
        yield PostgresAddress(
            host=os.environ["POSTGRES_HOST"],
            port=int(os.environ.get("POSTGRES_PORT") or 5432),
            user=os.environ.get("POSTGRES_USER") or "postgres",
            password=os.environ.get("POSTGRES_PASSWORD") or "",
        )
        return
    with EmbeddedPostgres(
        server_home, port=ports.free(), password=secrets.token_urlsafe(), settings=FLEETING
    ) as server:
        yield server.address


@pytest.fixture(scope="session")
def redis_server(server_home: Path, ports: Ports) -> Iterator[RedisAddress]:
    """A Valkey server with `host`, `port`, `database`, `url` and `environment()`; shared: use unique keys."""
    if os.environ.get("REDIS_HOST"):
        yield RedisAddress(
            host=os.environ["REDIS_HOST"],
            port=int(os.environ.get("REDIS_PORT") or 6379),
            database=int(os.environ.get("REDIS_DB") or 0),
        )
        return
    with EmbeddedValkey(server_home, port=ports.free()) as server:
        yield server.address


@pytest.fixture(scope="session")
def redis_url(redis_server: RedisAddress) -> str:
    """The Valkey server as `redis://host:port/database`."""
    return redis_server.url


@pytest.fixture(scope="session")
def new_role(postgres_server: PostgresAddress) -> Iterator[Callable[[str], str]]:
    """Factory of names of roles, dropped at the end of the run after the databases: `new_role(name)`."""
    names: list[str] = []

    def name_role(name: str) -> str:
        names.append(f"{name}_{secrets.token_hex(4)}")
        return names[-1]

    yield name_role
    for name in names:
        _administer(postgres_server, f'DROP ROLE IF EXISTS "{name}"')


@pytest.fixture(scope="session")
def create_database(
    postgres_server: PostgresAddress,
    new_role: Callable[[str], str],  # noqa: ARG001 - a role cannot be dropped before the database that it may enter
) -> Iterator[Callable[[str], Database]]:
    """Factory of empty databases with Mailroom's locale, dropped at the end of the run: `create_database(name)`.

    The name gets a random suffix. Usable in fixtures of any scope, in asynchronous code, too.
    """
    created: list[str] = []

    def create(name: str) -> Database:
        unique = f"{name}_{secrets.token_hex(4)}"
        _administer(
            postgres_server,
            f"CREATE DATABASE \"{unique}\" TEMPLATE template0 ENCODING 'UTF8' "
            "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LC_COLLATE 'C' LC_CTYPE 'C'",
        )
        created.append(unique)
        return Database(server=postgres_server, name=unique)

    yield create
    for name in created:
        _administer(postgres_server, f'DROP DATABASE "{name}" WITH (FORCE)')


def _administer(server: PostgresAddress, statement: str) -> None:
    """Execute one statement outside of a transaction, on a thread: the test's event loop may be running here."""

    async def execute() -> None:
        connection = await asyncpg.connect(
            host=server.host, port=server.port, user=server.user, password=server.password, database="postgres"
        )
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    with ThreadPoolExecutor(max_workers=1) as thread:
        thread.submit(asyncio.run, execute()).result()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests, in parallel and sequential runs, and give marked ones their time limits."""
    items.sort(key=turn)
    for item in items:
        limits = [seconds for marker, seconds in TIME_LIMITS.items() if item.get_closest_marker(marker)]
        limits += [STACK_LIMIT] * needs_stack(item)
        if limits and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(max(limits)))


def pytest_collection_finish() -> None:
    """Let the garbage collector begin after modules and tests, which stay until the end."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> SharedStacks:
    """Distribute the tests of a parallel run."""
    return SharedStacks(config, log)
