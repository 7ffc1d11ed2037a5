"""Installation of peers: programs of others that tests/peers runs against Mailroom and its sandbox.

Each source of packages has a lock below tests/peers. A failed installation is tried three times. Only a source that
cannot be reached then is passed over, with a notice, and recorded for the tests; any other failure is an error.
"""

import hashlib
import shutil
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "tests/peers"
VENV = ROOT / ".venv-peers"
UNREACHABLE = VENV / "unreachable.txt"
"""Names of the sources that could not be reached, one a line."""
PAUSES = (5.0, 20.0)
"""Seconds between the three tries."""
_SYSTEM_PYTHON = "/usr/bin/python3"
"""Debian's own interpreter, for which Debian builds the bindings of notmuch."""
_COMMANDS = {
    "chromium": "chromium",
    "dovecot-imapd": "/usr/lib/dovecot/imap",
    "nodejs": "node",
    "notmuch": "notmuch",
    "npm": "npm",
    "pgbouncer": "pgbouncer",
}
"""Commands of Debian packages that may have come from elsewhere."""

type Run = Callable[[Sequence[str]], subprocess.CompletedProcess[str]]


class InstallationError(Exception):
    """A source was reached, and its packages could not be installed; the message has the output."""


@dataclass(frozen=True, slots=True)
class Source:
    """A source of packages.

    `commands` install the packages of `lock`; `probe` fails if the source cannot be reached; `stamp` is a file that
    records the installed lock. `needs` is the source without which the commands cannot run.
    """

    name: str
    lock: Path
    stamp: Path
    commands: Sequence[Sequence[str]]
    probe: Sequence[str]
    needs: str | None = None

    def is_installed(self) -> bool:
        """Return whether the present lock is installed."""
        return self.stamp.exists() and self.stamp.read_text() == _digest(self.lock)


def sources(*, is_root: bool) -> list[Source]:
    """Return the sources in the order of their installation. Debian's packages need root and apt."""
    debian = [_debian()] if is_root and shutil.which("apt-get") else []
    return [*debian, _pypi(), _npm()]


def install(source: Source, *, run: Run, sleep: Callable[[float], None]) -> bool:
    """Install a source; return False if it cannot be reached. Raises InstallationError."""
    if source.is_installed():
        return True
    failed = _first_failure(source, run)
    for pause in PAUSES:
        if failed is None:
            break
        sleep(pause)
        failed = _first_failure(source, run)
    if failed is None:
        source.stamp.parent.mkdir(exist_ok=True)
        source.stamp.write_text(_digest(source.lock))
        return True
    if run(source.probe).returncode:
        return False
    raise InstallationError(f"{' '.join(failed.args)}\n{failed.stdout}{failed.stderr}")


def _first_failure(source: Source, run: Run) -> subprocess.CompletedProcess[str] | None:
    return next((done for command in source.commands if (done := run(command)).returncode), None)


def install_all(
    sources: Iterable[Source], *, run: Run, sleep: Callable[[float], None], report: Callable[[str], object]
) -> list[str]:
    """Install sources in their order; report and return the names of those that cannot be had.

    Those are the sources that cannot be reached, and the ones that need them. Raises InstallationError.
    """
    missing: list[str] = []
    for source in sources:
        needs_missing = source.needs in missing and not source.is_installed()
        if needs_missing or not install(source, run=run, sleep=sleep):
            missing.append(source.name)
            report(source.name)
    return missing


def unreachable() -> set[str]:
    """Return the names of the sources that the last installation could not reach."""
    return set(UNREACHABLE.read_text().split()) if UNREACHABLE.exists() else set()


def record_unreachable(names: Sequence[str]) -> None:
    """Record the sources that could not be reached, none included."""
    UNREACHABLE.parent.mkdir(exist_ok=True)
    UNREACHABLE.write_text("".join(f"{name}\n" for name in names))


def run_command(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command in the repository; a missing program is a failure like others."""
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    except FileNotFoundError as error:
        return subprocess.CompletedProcess(command, 127, "", f"{error}\n")


def _debian() -> Source:
    lock = FOLDER / "apt.txt"
    names = [line for line in lock.read_text().splitlines() if line and not line.startswith("#")]
    wanted = [name for name in names if not _has_debian(name)]
    update = ["apt-get", "update", "--quiet", "-o", "APT::Update::Error-Mode=any"]
    installed = ["apt-get", "install", "--quiet", "--yes", "--no-install-recommends", *wanted]
    commands = [update, installed] if wanted else []
    return Source("debian", lock, VENV / "debian.installed", commands, probe=update)


def _has_debian(name: str) -> bool:
    """Return whether a package of Debian is installed, or its command came from elsewhere."""
    shown = run_command(["dpkg-query", "--show", "--showformat=${db:Status-Status}", name])
    return shown.stdout == "installed" or shutil.which(_COMMANDS.get(name, "")) is not None


def _pypi() -> Source:
    lock = FOLDER / "requirements.lock"
    pip = [str(VENV / "bin/python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    made = [_SYSTEM_PYTHON, "-m", "venv", "--system-site-packages", str(VENV)]
    locked = [*pip, "install", "--no-deps", "--no-build-isolation", "--require-hashes", "--requirement", str(lock)]
    probe = [*pip, "index", "versions", "lieer"]
    return Source("pypi", lock, VENV / "pypi.installed", [made, locked], probe, needs="debian")


def _npm() -> Source:
    folder = str(FOLDER)
    locked = ["npm", "ci", "--prefix", folder, "--ignore-scripts", "--no-audit", "--no-fund"]
    probe = ["npm", "view", "--prefix", folder, "google-auth-library", "version"]
    stamp = FOLDER / "node_modules/.installed"
    return Source("npm", FOLDER / "package-lock.json", stamp, [locked], probe, needs="debian")


def _digest(lock: Path) -> str:
    return hashlib.sha256(lock.read_bytes()).hexdigest()
