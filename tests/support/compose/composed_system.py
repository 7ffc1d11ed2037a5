"""A system of a compose file with its own project name, ports and volumes."""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
UP_SECONDS = 1200  # builds included
# Variables of the docker command itself; others of the user would change the system.
_KEPT = ("PATH", "HOME", "DOCKER_HOST", "DOCKER_CONFIG", "DOCKER_CONTEXT", "DOCKER_BUILDKIT", "XDG_RUNTIME_DIR")


class NoEngineError(Exception):
    """No usable Docker engine with compose v2; the message names the missing part."""


@dataclass(frozen=True, slots=True)
class ComposedSystem:
    """`variables` are those that the compose files interpolate; `files` are relative to the repository."""

    project: str
    variables: dict[str, str]
    files: Sequence[str] = ("docker-compose.yml",)

    @property
    def gateway_url(self) -> str:
        return f"http://localhost:{self.variables['GATEWAY_PORT']}"

    @property
    def sandbox_url(self) -> str:
        return f"http://localhost:{self.variables['SANDBOX_PORT']}"

    def compose(self, *arguments: str, timeout: float = 120) -> str:
        """Run one `docker compose` command. Returns its output; fails with its errors."""
        return self.run(["docker", "compose", *arguments], timeout=timeout)

    def run(self, command: Sequence[str], *, timeout: float = 120) -> str:
        """Run a command for which `docker compose` refers to this system. Returns its output; fails with its errors."""
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout

    @property
    def environment(self) -> dict[str, str]:
        """The environment that makes `docker compose` refer to this system."""
        chosen = {"COMPOSE_PROJECT_NAME": self.project, "COMPOSE_FILE": ":".join(self.files)}
        return _environment() | {"COMPOSE_ENV_FILES": os.devnull} | chosen | self.variables

    def containers(self) -> dict[str, dict[str, Any]]:
        """Return a container by its service's name, ended ones included; of several the last one."""
        return {container["Service"]: container for container in self.all_containers()}

    def all_containers(self) -> list[dict[str, Any]]:
        """Return every container, ended ones included."""
        return [json.loads(line) for line in self.compose("ps", "--all", "--format", "json").splitlines()]

    def python(self, service: str, code: str) -> str:
        """Run Python code in a service's container. Returns its output."""
        return self.compose("exec", "-T", service, "python", "-c", code)

    @contextmanager
    def killed(self, service: str) -> Iterator[None]:
        """Kill a service's container; at the end of the block start a new one and wait until it is healthy."""
        self.compose("kill", service)
        try:
            yield
        finally:
            self.compose("up", "--detach", "--no-deps", "--force-recreate", "--wait", service, timeout=300)


def _build_and_start(system: ComposedSystem) -> None:
    system.compose("up", "--detach", "--build", "--wait", timeout=UP_SECONDS)


@contextmanager
def composed_system(
    system: ComposedSystem, *, start: Callable[[ComposedSystem], object] = _build_and_start
) -> Iterator[ComposedSystem]:
    """Start everything; remove containers, networks, volumes and images at the end."""
    try:
        try:
            start(system)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{system.compose('logs', '--no-color', '--tail', '50')}") from error
        yield system
    finally:
        system.compose("down", "--volumes", "--remove-orphans", "--rmi", "local", timeout=300)


def require_engine() -> None:
    """Raise NoEngineError without a usable engine."""
    for command in (["docker", "compose", "version"], ["docker", "info"]):
        try:
            done = subprocess.run(command, env=_environment(), capture_output=True, text=True, timeout=60, check=False)
        except OSError as error:
            raise NoEngineError("there is no `docker` command") from error
        if done.returncode != 0:
            raise NoEngineError(f"`{' '.join(command)}` says: {(done.stderr.strip() or 'nothing').splitlines()[-1]}")


def name_standins() -> None:
    """Give stand-ins the exact tags of our files. An engine without a registry has stand-ins under general tags.

    An image that a registry has delivered, whose digest the engine knows, is no stand-in.
    """
    text = "".join((ROOT / name).read_text() for name in ("deploy/Dockerfile", "deploy/compose.production.yml"))
    for standin in ("python:3.13-slim", "postgres:18-alpine", "valkey/valkey:9-alpine"):
        repository, _, version = standin.partition(":")
        exact = re.search(rf"\b{repository}:{version.partition('-')[0]}\.[\w.-]+", text)
        assert exact, f"no file names an exact tag of {repository}"
        if _registry_digests(exact[0]) is None and _registry_digests(standin) == []:
            subprocess.run(["docker", "tag", standin, exact[0]], env=_environment(), check=True, timeout=60)


def _registry_digests(image: str) -> list[str] | None:
    """Return the digests under which registries have an image; None if the engine has no such image."""
    command = ["docker", "image", "inspect", "--format", "{{json .RepoDigests}}", image]
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True, timeout=60, check=False)
    return json.loads(done.stdout) or [] if done.returncode == 0 else None


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in _KEPT if name in os.environ}
