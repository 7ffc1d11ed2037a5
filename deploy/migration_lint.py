"""Check migrations for statements that would stop a running service: `python -m deploy.migration_lint`.

The first migration of a service fills an empty database and is left out. Later ones run on tables full of mail, beside
the code of the release before (docs/migrations.md).
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

SERVICES = ("auth", "mail")
_FIRST = "0001"
_POSTGRES = "18"
# Source of the rules: https://squawkhq.com/docs/rules.
_LEFT_OUT = (
    "require-lock-timeout",  # services/kit/stores/migrations/env.py sets both for the session
    "require-statement-timeout",
)


def sql_of(service: str, *, since: str = _FIRST) -> str:
    """Return the statements of a service's migrations after `since`."""
    return _output([sys.executable, "-m", f"services.{service}.migrations", "sql", since]).stdout


def problems_of(sql: str) -> str:
    """Return squawk's findings on these statements, empty if it has none."""
    squawk = str(Path(sys.executable).with_name("squawk"))
    done = _output([squawk, f"--pg-version={_POSTGRES}", f"--exclude={','.join(_LEFT_OUT)}"], given=sql)
    return done.stdout if done.returncode else ""


def _output(command: Sequence[str], *, given: str = "") -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, input=given, check=False, capture_output=True, text=True)  # noqa: S603 - our own
    if done.stderr and done.returncode:
        raise RuntimeError(done.stderr)
    return done


def main() -> int:
    """Print the findings of all services and return the exit code."""
    found = {service: problems for service in SERVICES if (problems := problems_of(sql_of(service)))}
    for service, problems in found.items():
        sys.stderr.write(f"migrations of {service}:\n{problems}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
