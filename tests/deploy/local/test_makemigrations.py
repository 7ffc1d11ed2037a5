"""`make makemigrations` and `make migrate`, as a developer who changes tables types them."""

import asyncio
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field

import asyncpg
import pytest

from deploy.local.ports import Ports
from deploy.local.postgres import Database, EmbeddedPostgres, PostgresAddress
from tests.deploy.local.conftest import mailroom_home
from tests.support.checkout import Checkout

TABLE = """
a_new_table = Table(
    "a_new_table",
    metadata,
    Column("mailbox_id", BigInteger, nullable=False),
    Column("row_id", BigInteger, Identity(always=True), nullable=False),
    Column("tags", ARRAY(Text), nullable=False),
    _time("written_at", default="now()"),
    PrimaryKeyConstraint("mailbox_id", "row_id"),
    ForeignKeyConstraint(["mailbox_id"], ["mailboxes.mailbox_id"], ondelete="CASCADE"),
    Index(None, "mailbox_id", "written_at"),
)
"""
COLUMN = '    Column("name", Text, nullable=False, unique=True),\n'
SERVICES = ("auth", "mail")
VERSIONS = "services/{}/migrations/versions"


# Every command reads all of a service, and migrates a database of its own.
pytestmark = pytest.mark.long


@dataclass
class Developer:
    """A developer with a source tree and a Postgres server, and what the commands printed."""

    checkout: Checkout
    server: PostgresAddress
    printed: dict[str, str] = field(default_factory=dict)

    def make(self, step: str, target: str, **variables: str) -> None:
        """Runs a target that has to succeed."""
        done = self.checkout.make(target, **variables)
        assert done.returncode == 0, done.stdout + done.stderr
        self.printed[step] = done.stdout

    def __post_init__(self) -> None:
        self._existing = {service: self._migrations(service) for service in SERVICES}

    def head(self, service: str, *, new: int = 0) -> str:
        """The number of the last migration that the tree had, or of a new one after it."""
        return f"{len(self._existing[service]) + new:04}"

    def written(self, service: str) -> list[str]:
        """The new migrations."""
        return sorted(self._migrations(service) - self._existing[service])

    def _migrations(self, service: str) -> set[str]:
        return {path.name for path in (self.checkout.path / VERSIONS.format(service)).glob("*.py")}

    def revision(self, service: str) -> str:
        """The migration that the service's database is at."""
        return asyncio.run(self._revision(Database(server=self.server, name=f"mailroom_{service}")))

    async def _revision(self, database: Database) -> str:
        connection = await asyncpg.connect(database.dsn)
        try:
            return str(await connection.fetchval("SELECT version_num FROM alembic_version"))
        finally:
            await connection.close()


@pytest.fixture(scope="module")
def developer(tmp_path_factory: pytest.TempPathFactory, ports: Ports) -> Iterator[Developer]:
    """A developer of an empty server, and a tree to change."""
    with (
        mailroom_home() as home,
        EmbeddedPostgres(home, port=ports.free(), password=secrets.token_urlsafe()) as server,
    ):
        environment = {"MAILROOM_HOME": str(home / "mailroom"), **server.address.environment()}
        checkout = Checkout(tmp_path_factory.mktemp("makemigrations") / "mailroom", environment=environment)
        yield Developer(checkout, server.address)


@pytest.fixture(scope="module")
def revisions(developer: Developer) -> list[dict[str, str]]:
    """What the databases are at, before and after new migrations."""
    developer.make("first migrate", "migrate")
    developer.make("nothing changed", "makemigrations", service="auth", message="do nothing")
    assert developer.written("auth") == developer.written("mail") == []
    tables = developer.checkout.path / "services/mail/store/tables.py"
    tables.write_text(tables.read_text() + TABLE)
    developer.checkout.replace("services/auth/store/tables.py", COLUMN, COLUMN + '    Column("nickname", Text),\n')
    developer.make("one service", "makemigrations", service="mail", message="add a table, with tags.")
    assert developer.written("auth") == []
    developer.make("all services", "makemigrations", message="add a nickname")
    before = {service: developer.revision(service) for service in SERVICES}
    developer.make("second migrate", "migrate")
    return [before, {service: developer.revision(service) for service in SERVICES}]


@pytest.mark.usefixtures("revisions")
class TestMakeMigrations:
    def test_writes_nothing_where_nothing_changed(self, developer: Developer) -> None:
        assert developer.printed["nothing changed"].splitlines() == ["services/auth/migrations/versions: no changes"]

    def test_of_one_service_leaves_the_other_alone(self, developer: Developer) -> None:
        number = developer.head("mail", new=1)
        assert developer.printed["one service"].splitlines() == [
            f"services/mail/migrations/versions/{number}_add_a_table_with_tags.py"
        ]

    def test_of_all_services_compares_with_the_migrations_and_not_with_the_databases(
        self, developer: Developer
    ) -> None:
        number = developer.head("auth", new=1)
        assert developer.printed["all services"].splitlines() == [
            f"services/auth/migrations/versions/{number}_add_a_nickname.py",
            "services/mail/migrations/versions: no changes",
        ]
        assert len(developer.written("mail")) == 1

    def test_writes_code_that_the_checks_accept(self, developer: Developer) -> None:
        written = [f"{VERSIONS.format(service)}/{name}" for service in SERVICES for name in developer.written(service)]
        assert len(written) == 2
        for command in (("ruff", "check"), ("ruff", "format", "--check"), ("mypy",)):
            done = developer.checkout.run(*command, *written)
            assert done.returncode == 0, done.stdout
        done = developer.checkout.run("deploy.migration_lint")
        assert done.returncode == 0, done.stderr
        source = (developer.checkout.path / written[1]).read_text()
        number, before = developer.head("mail", new=1), developer.head("mail")
        assert source.startswith('"""Add a table, with tags."""\n')
        assert f'revision: str = "{number}"\ndown_revision: str | None = "{before}"\n' in source
        assert "###" not in source

    def test_leaves_no_database_behind(self, developer: Developer) -> None:
        assert asyncio.run(_databases(developer.server)) == {"mailroom_auth", "mailroom_mail", "postgres"}

    def test_wants_to_know_what_the_migration_does(self, developer: Developer) -> None:
        done = developer.checkout.make("makemigrations")
        assert done.returncode != 0
        assert 'make makemigrations message="add a column"' in done.stdout


class TestMigrate:
    def test_upgrades_an_existing_database(self, developer: Developer, revisions: list[dict[str, str]]) -> None:
        before, after = revisions
        assert before == {service: developer.head(service) for service in SERVICES}
        assert after == {service: developer.head(service, new=1) for service in SERVICES}


async def _databases(server: PostgresAddress) -> set[str]:
    connection = await asyncpg.connect(Database(server=server, name="postgres").dsn)
    try:
        rows = await connection.fetch("SELECT datname FROM pg_database WHERE NOT datistemplate")
    finally:
        await connection.close()
    return {row["datname"] for row in rows}
