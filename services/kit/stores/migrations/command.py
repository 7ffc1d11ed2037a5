"""The command of a service's migrations: `python -m services.{service}.migrations`."""

import argparse
import asyncio
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import MetaData

from services.kit.settings import Postgres
from services.kit.stores.migrations.database import ensure_database
from services.kit.stores.migrations.lock_retries import retried
from services.kit.stores.migrations.revision import write_revision
from services.kit.stores.migrations.roles import ProcessRole, ensure_roles, grant_privileges
from services.kit.stores.postgres import connect

# It becomes a docstring and a part of the file's name.
_MESSAGE = re.compile(r'[^\\"\n]*\w[^\\"\n]*')


def main(
    arguments: list[str],
    *,
    versions: Path,
    metadata: MetaData,
    owner: Postgres,
    administrator: Postgres,
    roles: Sequence[ProcessRole] = (),
) -> None:
    """Run one command on the migrations in the folder `versions`, which make the tables of `metadata` as `owner`.

    `upgrade` creates the database and the roles where they are missing, applies what is new, and gives the roles their
    privileges. It leaves a database alone that a later release has migrated: this release works with it after a
    rollback. `downgrade REVISION` is for development.
    `revision MESSAGE` writes the next migration if the tables have changed. `sql REVISION` prints what upgrades a
    database from that revision, and needs none.

    Exits with a line on stderr and status 1 when the migrations are not one sequence.
    """
    options = _parser().parse_args(arguments)
    config = _config(versions, metadata)
    try:
        _check_numbers(versions)
        match options.command:
            case "upgrade":
                asyncio.run(ensure_database(owner, administrator=administrator))
                asyncio.run(ensure_roles(roles, owner=owner, administrator=administrator))
                _upgrade(config, owner, roles)
            case "downgrade":
                config.attributes["database"] = owner
                command.downgrade(config, options.revision)
            case "revision":
                path = write_revision(
                    config, message=options.message, database=owner.database, administrator=administrator
                )
                _report(path, versions=versions)
            case "sql":
                command.upgrade(config, f"{options.revision}:head", sql=True)
    except CommandError as error:
        sys.exit(str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("upgrade")
    commands.add_parser("downgrade").add_argument("revision")
    commands.add_parser("revision").add_argument("message", type=_message)
    commands.add_parser("sql").add_argument("revision")
    return parser


def _message(text: str) -> str:
    if not _MESSAGE.fullmatch(text):
        raise argparse.ArgumentTypeError("one line of words, without double quotes and backslashes")
    return text.strip().rstrip(".")


def _config(versions: Path, metadata: MetaData) -> Config:
    config = Config(cmd_opts=argparse.Namespace(quiet=True), attributes={"metadata": metadata})
    options = {
        "script_location": str(Path(__file__).parent),
        "version_locations": str(versions),
        "path_separator": "newline",
        "file_template": "%(rev)s_%(slug)s",
        "truncate_slug_length": "60",
    }
    for name, value in options.items():
        config.set_main_option(name, value.replace("%", "%%"))
    return config


def _check_numbers(versions: Path) -> None:
    """Raise CommandError unless each number is there once: of two with one number Alembic would apply either."""
    numbers = sorted(path.name.partition("_")[0] for path in versions.glob("*.py"))
    if numbers != [f"{number:04}" for number in range(1, len(numbers) + 1)]:
        raise CommandError(
            f"{versions}: the migrations are not numbered 0001, 0002 and so on, each once. After a merge of branches "
            "give the later one the next number, in the name of its file, `revision` and `down_revision`."
        )


def _upgrade(config: Config, owner: Postgres, roles: Sequence[ProcessRole]) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if asyncio.run(_is_of_later_release(owner, known=known)):
        sys.stdout.write("the database is a later release's, which suits this one: left as it is\n")
        return
    config.attributes["database"] = owner
    retried(lambda: command.upgrade(config, "head"))
    asyncio.run(grant_privileges(roles, owner=owner))


async def _is_of_later_release(database: Postgres, *, known: set[str]) -> bool:
    """Return whether the database has a migration that is not among the `known` ones."""
    connection = await connect(database)
    try:
        if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
            return False
        applied = await connection.fetch("SELECT version_num FROM alembic_version")
        return any(row["version_num"] not in known for row in applied)
    finally:
        await connection.close()


def _report(path: Path | None, *, versions: Path) -> None:
    shown = (path or versions).relative_to(Path.cwd(), walk_up=True)
    sys.stdout.write(f"{shown}\n" if path else f"{shown}: no changes\n")
