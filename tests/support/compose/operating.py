"""An operator who types the commands of docs/operate.md as printed there."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.compose.composed_system import ROOT, UP_SECONDS, ComposedSystem

# Beside the production file: the sandbox in Google's place.
SANDBOX = ROOT / "tests/compose/production.sandbox.yml"
# $EDITOR of the operator.
_EDITOR = """#!/bin/sh
sed -i -e 's|^PUBLIC_URL=$|&http://localhost:{gateway_port}|' \\
  -e 's|^FRONTEND_REDIRECT_URL=$|&http://localhost:3000/your-frontend|' \\
  -e 's|^GOOGLE_CLIENT_ID=$|&100000000000-sandbox.apps.googleusercontent.com|' "$1"
cat >>"$1" <<'LINES'
GATEWAY_PUBLISH=127.0.0.1:{gateway_port}
MAILROOM_PROJECT={project}
MAILROOM_IMAGES={project}
SANDBOX_PORT={sandbox_port}
LINES
"""


@dataclass(frozen=True, slots=True)
class Operator:
    """A checkout with a shell; `deploy/mailroom` refers to this system by its directory."""

    system: ComposedSystem

    @staticmethod
    def prepare(directory: Path, *, project: str, ports: dict[str, str]) -> ComposedSystem:
        """Return the system that an operator can install in `directory`.

        Its variables hold the operator's own inputs: an editor for settings, and Google's secret.
        """
        editor = directory.parent / "edit-settings"
        names = {"gateway_port": ports["GATEWAY_PORT"], "sandbox_port": ports["SANDBOX_PORT"], "project": project}
        editor.write_text(_EDITOR.format(**names))
        editor.chmod(0o755)
        override = directory / "compose.override.yml"
        shutil.copy(SANDBOX, override)
        variables = ports | {
            "MAILROOM_PRODUCTION": str(directory),
            "COMPOSE_ENV_FILES": str(directory / "settings.env"),
            "EDITOR": str(editor),
            "SECRET": "GOCSPX-sandbox-secret",
        }
        return ComposedSystem(
            project=project, variables=variables, files=("deploy/compose.production.yml", str(override))
        )

    @contextmanager
    def settings(self, **values: str) -> Iterator[None]:
        """Change settings.env while the block lasts."""
        file = self.production / "settings.env"
        before = file.read_text()
        file.write_text(before + "".join(f"{name}={value}\n" for name, value in values.items()))
        try:
            yield
        finally:
            file.write_text(before)

    def mailroom(self, *arguments: str, timeout: float = 300) -> str:
        """Run `deploy/mailroom`. Returns its output; fails with its errors."""
        return self.system.run(["deploy/mailroom", *arguments], timeout=timeout)

    @property
    def production(self) -> Path:
        """The directory of secrets, certificates and settings."""
        return Path(self.system.variables["MAILROOM_PRODUCTION"])

    def secret(self, name: str) -> str:
        """Return the current value of a secret."""
        return (self.production / "secrets" / name).read_text().strip()

    def api_key(self, *scopes: str) -> str:
        """Make an API key by the server's command line; return its text."""
        command = ("run", "--rm", "--no-deps", "auth", "services.auth", "api-key", f"--scopes={','.join(scopes)}")
        return self.mailroom(*command).strip().splitlines()[-1]

    def follow(self, heading: str, *, block: int = 0, backups: Path = Path("/backups")) -> str:
        """Type a block of commands below a heading of docs/operate.md. Returns their output."""
        commands = documented(heading)[block]
        for there, here in {
            "deploy/production": str(self.production),
            "/backups": str(backups),
            "git pull && ": "",
        }.items():
            commands = commands.replace(there, here)
        return self.system.run(["sh", "-eu", "-c", commands], timeout=UP_SECONDS)


def documented(heading: str) -> list[str]:
    """Return the blocks of commands directly below a heading of docs/operate.md."""
    text = (ROOT / "docs/operate.md").read_text()
    [section] = re.findall(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", text, re.MULTILINE | re.DOTALL)
    return re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
