"""The roles of processes: made by migrations, with the privileges that are declared for them and no others."""

from collections.abc import Callable
from dataclasses import dataclass

import asyncpg
import pytest
from pydantic import SecretStr

from deploy.local.postgres import Database
from services.kit.settings import Postgres
from services.kit.stores.migrations.database import ensure_database
from services.kit.stores.migrations.roles import ProcessRole, ensure_roles, grant_privileges
from services.kit.stores.postgres import connect

TABLES = """
    CREATE TABLE IF NOT EXISTS mails (mail_id int PRIMARY KEY, subject text, is_read bool);
    CREATE TABLE IF NOT EXISTS secrets (secret text);
"""
READER = {"mails": "SELECT (mail_id, is_read), UPDATE (is_read)"}


@dataclass(frozen=True)
class Site:
    """A database with an owner, as `owner`, the administrator and a process enter it."""

    administrator: Postgres
    owner: Postgres
    process: Postgres

    async def migrate(self, *privileges: dict[str, str], password: str = "") -> None:
        """Do what the migrations of a service with two tables do; `password` is a new one of the process."""
        secret = SecretStr(password) if password else self.process.password
        roles = [ProcessRole(self.process.model_copy(update={"password": secret}), each) for each in privileges]
        await ensure_database(self.owner, administrator=self.administrator)
        await ensure_roles(roles, owner=self.owner, administrator=self.administrator)
        await self.execute(self.owner, TABLES)
        await grant_privileges(roles, owner=self.owner)

    async def execute(self, database: Postgres, *statements: str) -> None:
        """Execute statements over a connection of their own."""
        connection = await connect(database)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def is_refused(self, statement: str) -> bool:
        """Return whether the process lacks the privilege for a statement."""
        try:
            await self.execute(self.process, statement)
        except asyncpg.InsufficientPrivilegeError:
            return True
        return False


@pytest.fixture
async def site(create_database: Callable[[str], Database], new_role: Callable[[str], str]) -> Site:
    """A database that an owner without further rights owns, as after the installation of an earlier release."""
    database = create_database("roles")
    administrator = Postgres(
        host=database.server.host,
        port=database.server.port,
        user=database.server.user,
        password=SecretStr(database.server.password),
        database="postgres",
    )

    def entered_as(role: str) -> Postgres:
        changed = {"user": role, "password": SecretStr(f"of {role}"), "database": database.name}
        return administrator.model_copy(update=changed)

    site = Site(administrator, entered_as(new_role("owner")), entered_as(new_role("process")))
    owner = site.owner
    await site.execute(
        administrator,
        f"CREATE ROLE {owner.user} LOGIN PASSWORD '{owner.password.get_secret_value()}'",
        f"ALTER DATABASE {database.name} OWNER TO {owner.user}",
        f"REVOKE ALL ON DATABASE {database.name} FROM PUBLIC",
    )
    return site


class TestRole:
    async def test_may_do_what_is_declared_and_nothing_else(self, site: Site) -> None:
        await site.migrate(READER)
        await site.execute(site.process, "SELECT mail_id FROM mails", "UPDATE mails SET is_read = true")
        for statement in (
            "SELECT subject FROM mails",
            "SELECT FROM secrets WHERE secret = ''",
            "UPDATE mails SET subject = ''",
            "INSERT INTO mails VALUES (1)",
            "DELETE FROM mails",
            "TRUNCATE mails",
            "DROP TABLE mails",
            "ALTER TABLE mails ADD note text",
            "ALTER TABLE mails OWNER TO CURRENT_USER",
            "CREATE INDEX ON mails (subject)",
            "CREATE TABLE own (number int)",
            "CREATE TEMP TABLE own (number int)",
            "CREATE FUNCTION own() RETURNS int LANGUAGE sql RETURN 1",
            "CREATE SCHEMA own",
            "GRANT SELECT ON secrets TO PUBLIC",
            f"SET ROLE {site.owner.user}",
        ):
            assert await site.is_refused(statement), statement

    async def test_is_made_beside_the_owner_of_an_installation_that_goes_on(self, site: Site) -> None:
        await site.execute(site.owner, TABLES, "INSERT INTO mails VALUES (1, 'kept', false)")
        # A process of the release before, which enters as the owner.
        earlier = await connect(site.owner)
        await site.migrate(READER)
        assert await earlier.fetchval("UPDATE mails SET subject = subject || '!' RETURNING subject") == "kept!"
        await earlier.close()
        await site.execute(site.process, "UPDATE mails SET is_read = true")

    async def test_is_made_where_others_keep_tables_in_the_database(self, site: Site) -> None:
        in_database = site.administrator.model_copy(update={"database": site.owner.database})
        await site.execute(in_database, "CREATE TABLE notes (note text)")
        await site.migrate(READER)
        await site.execute(site.process, "SELECT mail_id FROM mails")
        assert await site.is_refused("SELECT FROM notes")

    async def test_loses_what_a_later_release_does_not_declare(self, site: Site) -> None:
        await site.migrate({"mails": "SELECT, INSERT", "secrets": "SELECT (secret)"})
        await site.migrate(READER)
        for statement in ("SELECT subject FROM mails", "INSERT INTO mails VALUES (1)", "SELECT secret FROM secrets"):
            assert await site.is_refused(statement), statement

    async def test_keeps_its_privileges_throughout_a_repeated_migration(self, site: Site) -> None:
        await site.migrate(READER)
        await site.migrate(READER)
        await site.execute(site.process, "SELECT mail_id FROM mails")

    async def test_gets_the_password_that_the_process_has_now(self, site: Site) -> None:
        await site.migrate(READER)
        await site.migrate(READER, password="another one")
        with pytest.raises(asyncpg.InvalidPasswordError):
            await connect(site.process)
        await site.execute(site.process.model_copy(update={"password": SecretStr("another one")}), "SELECT 1")

    async def test_has_the_privileges_of_all_processes_that_share_it(self, site: Site) -> None:
        await site.migrate(READER, {"secrets": "SELECT"})
        await site.execute(site.process, "SELECT mail_id FROM mails", "SELECT secret FROM secrets")

    async def test_that_an_administrator_has_made_needs_none_here(self, site: Site) -> None:
        process = site.process
        await site.execute(
            site.administrator, f"CREATE ROLE {process.user} LOGIN PASSWORD '{process.password.get_secret_value()}'"
        )
        nobody = site.administrator.model_copy(update={"password": SecretStr("unknown")})
        await Site(nobody, site.owner, process).migrate(READER)
        await site.execute(process, "SELECT mail_id FROM mails")

    async def test_that_owns_the_tables_is_left_alone(self, site: Site) -> None:
        await Site(site.administrator, site.owner, site.owner).migrate({})
        await site.execute(site.owner, "SELECT * FROM secrets")
