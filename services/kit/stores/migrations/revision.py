"""New migrations, from the difference between the tables in code and those of the existing migrations."""

import subprocess
import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.operations import MigrationScript
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory

from services.kit.settings import Postgres
from services.kit.stores.migrations.database import empty_database

# The template imports what most migrations need, and Alembic puts a table on one line.
_FORMATTERS = (["check", "--fix", "--quiet"], ["format", "--quiet"])


def write_revision(config: Config, *, message: str, database: str, administrator: Postgres) -> Path | None:
    """Write the next migration and return its file, or None where nothing has changed.

    The tables are compared with an empty database to which all migrations were applied, `database` and a suffix its
    name. The developer's own database can be at another branch's migrations, and stays as it is.
    """
    with empty_database(database, administrator=administrator) as migrated:
        config.attributes["database"] = migrated
        command.upgrade(config, "head")
        written = command.revision(
            config,
            message=message,
            autogenerate=True,
            rev_id=_next_number(config),
            process_revision_directives=_leave_out_empty,
        )
    if not isinstance(written, Script):
        return None
    path = Path(written.path)
    for arguments in _FORMATTERS:
        subprocess.run([sys.executable, "-m", "ruff", *arguments, str(path)], check=True)  # noqa: S603 - our own file
    return path


def _next_number(config: Config) -> str:
    head = ScriptDirectory.from_config(config).get_current_head()
    return f"{int(head or 0) + 1:04}"


def _leave_out_empty(_: MigrationContext, __: object, scripts: list[MigrationScript]) -> None:
    scripts[:] = [script for script in scripts if script.upgrade_ops and not script.upgrade_ops.is_empty()]
