"""The embedded Postgres server: durable unless settings say otherwise, on loopback TCP only, always with passwords."""

import os
import secrets
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from deploy.local import children, placement
from deploy.local.children import Command
from deploy.local.errors import StackError
from deploy.local.logs import last_lines, make_room
from deploy.local.placement import Placement

ADMIN = "postgres"
_HOST = "127.0.0.1"
_STOP: Sequence[tuple[signal.Signals, float]] = ((signal.SIGINT, 15.0), (signal.SIGQUIT, 5.0))  # fast, then immediate
_STARTING = 60.0  # seconds; crash recovery is slow
_STILL_IN_USE = "shared memory block"  # sessions of a killed server need a moment to notice its end


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresAddress:
    """Address of a Postgres server for its administrator; `password` may be empty."""

    host: str
    port: int
    user: str
    password: str

    def environment(self) -> dict[str, str]:
        """Return the variables by which the services' migrations find the server."""
        return {
            "POSTGRES_HOST": self.host,
            "POSTGRES_PORT": str(self.port),
            "POSTGRES_USER": self.user,
            "POSTGRES_PASSWORD": self.password,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """One database of a server, with the administrator's address."""

    server: PostgresAddress
    name: str

    @property
    def dsn(self) -> str:
        """The address as asyncpg and psql take it."""
        user, password = quote(self.server.user, safe=""), quote(self.server.password, safe="")
        return f"postgresql://{user}:{password}@{self.server.host}:{self.server.port}/{quote(self.name, safe='')}"


class EmbeddedPostgres:
    """One server of one MAILROOM_HOME; the caller holds the home's lock.

    The server is a child of this process and shuts down when this process dies.
    """

    def __init__(
        self,
        home: Path,
        *,
        port: int,
        password: str,
        program: Path | None = None,
        outside: Sequence[Path] | None = None,
        settings: Mapping[str, str] = {},
    ) -> None:
        """`program` and `outside` as in `placement.place`; they default to the wheel and to /var/lib or /var/tmp.

        `settings` are further ones of the server.
        """
        self.name = "postgres"
        self.log = home / "logs" / "postgres.log"
        self.address = PostgresAddress(host=_HOST, port=port, user=ADMIN, password=password)
        self._home = home
        self._program = program
        self._outside = outside
        self._settings = settings
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
        """Start the server, and create the cluster first if missing. Raises StackError with the reason from its log."""
        program = self._program or placement.installed_program()
        place = placement.place(self._home, program=program, outside=self._outside)
        placement.stop_server(place.data)
        if not place.data.exists():
            self._create_cluster(place)
        make_room(self.log)
        deadline = time.monotonic() + _STARTING
        while not self._start_once(place, deadline):
            time.sleep(0.1)

    def stop(self) -> None:
        """Shut the server down, by force after a time-out."""
        if self._process is not None:
            children.stop(self._process, _STOP)
            self._process = None

    def _create_cluster(self, place: Placement) -> None:
        unfinished = place.directory / "data.unfinished"  # a killed initdb leaves half a cluster
        placement.discard(unfinished)
        password_file = place.directory / f"password-{secrets.token_hex(4)}"
        try:
            descriptor = os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(self.address.password)
            if place.user is not None:
                os.chown(password_file, place.user.uid, place.user.gid)
            initdb = children.run(
                _initdb(place.program, unfinished, password_file), environment=_environment(), user=place.user
            )
        finally:
            password_file.unlink(missing_ok=True)
        if initdb.returncode != 0:
            raise StackError(f"initdb failed: {' '.join(initdb.stderr.split())[-500:]}")
        unfinished.rename(place.data)

    def _start_once(self, place: Placement, deadline: float) -> bool:
        """Start the server and wait until it accepts connections; False when another try may succeed."""
        begin = self.log.stat().st_size if self.log.exists() else 0
        settings = {**_own_settings(self.address.port), **self._settings}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command: Command = [place.program / "postgres", "-D", place.data, *options]
        self._process = children.spawn(
            command, environment=_environment(), log=self.log, user=place.user, orphan_signal=signal.SIGINT
        )
        try:
            while time.monotonic() < deadline:
                if self._process.poll() is not None:
                    if _STILL_IN_USE in last_lines(self.log, begin=begin):
                        return False
                    raise StackError(f"postgres did not start, see {self.log}: {last_lines(self.log, begin=begin)}")
                if _is_ready(place.data, self._process.pid):
                    return True
                time.sleep(0.02)
        except BaseException:
            self.stop()
            raise
        self.stop()
        raise StackError(f"postgres was not ready within {_STARTING:.0f} s, see {self.log}")


def _environment() -> dict[str, str]:
    """Return the server's environment: without PG* variables of the user and secrets of the services."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}


def _initdb(program: Path, data: Path, password_file: Path) -> Command:
    # "builtin" instead of the C library's locales: the same order on every machine, and correct case of Cyrillic.
    locale = ["--no-locale", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--encoding=UTF8"]
    access = ["--auth=scram-sha-256", f"--username={ADMIN}", f"--pwfile={password_file}"]
    return [program / "initdb", "-D", data, *locale, *access, "--no-instructions"]


def _own_settings(port: int) -> dict[str, str]:
    return {
        "listen_addresses": _HOST,
        # All pools of all processes, and those of a test run.
        "max_connections": "300",
        "port": str(port),
        "unix_socket_directories": "",  # its path could be too long, and all clients use TCP
        "timezone": "UTC",
        "log_timezone": "UTC",
    }


def _is_ready(data: Path, pid: int) -> bool:
    """Read postmaster.pid as pg_ctl does (src/include/utils/pidfile.h): line 1 is the pid, line 8 the status."""
    with suppress(FileNotFoundError):
        lines = (data / "postmaster.pid").read_text().split("\n")
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"
    return False
