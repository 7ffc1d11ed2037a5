"""An operator who types the commands of docs/operate.md as printed there."""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.support.compose.composed_system import ROOT, UP_SECONDS, ComposedSystem

# Beside the production file: the sandbox in Google's place.
PRODUCTION = ("deploy/compose.production.yml", "tests/compose/production.sandbox.yml")
# $EDITOR of the operator.
_EDITOR = """#!/bin/sh
sed -i -e 's|^PUBLIC_URL=$|&http://localhost:{gateway_port}|' \\
  -e 's|^FRONTEND_REDIRECT_URL=$|&http://localhost:3000/your-frontend|' \\
  -e 's|^GOOGLE_CLIENT_ID=$|&100000000000-sandbox.apps.googleusercontent.com|' "$1"
echo GATEWAY_PUBLISH=127.0.0.1:{gateway_port} >>"$1"
"""


@dataclass(frozen=True, slots=True)
class Operator:
    """A checkout with a shell for which `docker compose` refers to this system."""

    system: ComposedSystem

    @staticmethod
    def answers(directory: Path, *, gateway_port: str) -> dict[str, str]:
        """Return the operator's own inputs as variables: an editor for settings, and Google's secret."""
        editor = directory.parent / "edit-settings"
        editor.write_text(_EDITOR.format(gateway_port=gateway_port))
        editor.chmod(0o755)
        return {"EDITOR": str(editor), "SECRET": "GOCSPX-sandbox-secret"}

    @property
    def production(self) -> Path:
        """The directory of secrets, certificates and settings."""
        return Path(self.system.variables["MAILROOM_PRODUCTION"])

    def secret(self, name: str) -> str:
        """Return the current value of a secret."""
        return (self.production / "secrets" / name).read_text().strip()

    def follow(self, heading: str, *, block: int = 0, backups: Path = Path("/backups")) -> str:
        """Type a block of commands below a heading of docs/operate.md. Returns their output."""
        commands = documented(heading)[block]
        for there, here in {
            "deploy/production": str(self.production),
            "deploy/compose.production.yml": ":".join(PRODUCTION),
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
