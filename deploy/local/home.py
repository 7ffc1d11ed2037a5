"""MAILROOM_HOME: the directory that the embedded stack keeps between runs."""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from deploy.local.errors import StackError


class Home:
    """The directory, its lock, its generated secrets and the record of the running stack."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    @property
    def logs(self) -> Path:
        """The directory of the logs of all servers and processes."""
        return self.path / "logs"

    @property
    def api_key(self) -> Path:
        """The file with the first API key."""
        return self.path / "api-key"

    def write_api_key(self, text: str) -> None:
        """Store the first API key, for the owner of the home alone."""
        with os.fdopen(os.open(self.api_key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the home while the block runs; creates it if missing. Only its owner can list it.

        Raises StackError when another process holds it. The kernel releases the lock when its process ends, so
        a killed stack leaves none behind.
        """
        if not self.path.exists():
            self.path.mkdir(parents=True)
            self.path.chmod(0o711 if os.geteuid() == 0 else 0o700)  # root's Postgres user needs to traverse it
        descriptor = os.open(self._lock_file, os.O_RDWR | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = file.read().strip()
                raise StackError(
                    f"{self.path} is in use by process {holder}: stop it, or choose another MAILROOM_HOME"
                ) from error
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            self._record_file.unlink(missing_ok=True)
            try:
                yield
            finally:
                self._record_file.unlink(missing_ok=True)

    def secret(self, name: str) -> str:
        """Return the generated secret of this name, the same one in every run; the caller holds the lock."""
        known: dict[str, str] = json.loads(self._secrets_file.read_text()) if self._secrets_file.exists() else {}
        if name not in known:
            known[name] = secrets.token_urlsafe(36)
            _write_private(self._secrets_file, known)
        return known[name]

    def record(self, environment: Mapping[str, str]) -> None:
        """Store the addresses and passwords of the running stack for other commands."""
        _write_private(self._record_file, dict(environment))

    def recorded(self) -> dict[str, str] | None:
        """Return the environment of the running stack, None without one."""
        if not self._is_locked():
            return None
        with suppress(FileNotFoundError):
            recorded: dict[str, str] = json.loads(self._record_file.read_text())
            return recorded
        raise StackError(f"the stack of {self.path} is starting or stopping: try again in a moment")

    def _is_locked(self) -> bool:
        try:
            with self._lock_file.open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    @property
    def _lock_file(self) -> Path:
        return self.path / "lock"

    @property
    def _secrets_file(self) -> Path:
        return self.path / "secrets.json"

    @property
    def _record_file(self) -> Path:
        return self.path / "running.json"


def _write_private(file: Path, content: dict[str, str]) -> None:
    """Atomically replace `file` by JSON that only its owner can read."""
    unfinished = file.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as output:
        json.dump(content, output, indent=2)
        output.flush()
        os.fsync(output.fileno())
    unfinished.replace(file)
