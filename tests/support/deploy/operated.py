"""An installation with a fake `docker`, and the operator's scripts."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEPLOY = Path(__file__).parents[3] / "deploy"
FAKE = Path(__file__).with_name("fake_docker.py")


@dataclass(frozen=True, slots=True)
class Operated:
    """`production` is the directory of the installation, `world` the file of the fake `docker`."""

    production: Path
    world: Path
    programs: Path

    @classmethod
    def create(cls, directory: Path, **containers: dict[str, str]) -> "Operated":
        """Create an installation with its secrets, settings and containers."""
        production, programs = directory / "production", directory / "bin"
        made = cls(production, directory / "docker.json", programs)
        programs.mkdir()
        docker = programs / "docker"
        docker.write_text(f'#!/bin/sh\nexec {sys.executable} -IS {FAKE} "$@"\n')
        docker.chmod(0o755)
        made.write(containers=containers, projects={}, broken=False, kill_caller=False, made=0, answers={}, calls=[])
        made.run("first-install")
        for service in ("auth", "gateway", "mail"):
            (production / "certificates" / service).mkdir()
        secret = production / "secrets/google_client_secret"
        secret.chmod(0o644)
        secret.write_text("given")
        secret.chmod(0o444)
        return made

    def write(self, **state: Any) -> None:
        """Change the state of the fake `docker`."""
        known = json.loads(self.world.read_text()) if self.world.exists() else {}
        self.world.write_text(json.dumps(known | state))

    def read(self, name: str) -> Any:
        """Return a part of the state of the fake `docker`."""
        return json.loads(self.world.read_text())[name]

    def settings(self, *lines: str) -> None:
        """Add lines to settings.env."""
        with (self.production / "settings.env").open("a") as file:
            file.writelines(f"{line}\n" for line in lines)

    def run(self, *arguments: str, script: str = "mailroom", **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a script of deploy/ with additional variables of its caller."""
        environment = {
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "DOCKER_CONFIG": str(self.world),
            "MAILROOM_PRODUCTION": str(self.production),
        }
        return subprocess.run(
            [DEPLOY / script, *arguments], env=environment | variables, capture_output=True, text=True, check=False
        )
