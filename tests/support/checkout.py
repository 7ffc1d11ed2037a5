"""A copy of this source tree, in which tests change files and run what a developer runs."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Collection, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Bytecode is copied with its sources, whose times stay the same: to compile them all takes seconds in each copy.
_NOT_COPIED = (".git", ".venv", ".mailroom", ".benchmarks", ".env", ".pytest_cache", ".hypothesis")
# Seconds; for a machine on which other tests run beside.
_TIMEOUT = 600


class Checkout:
    """The copy, installed: its `.venv` has the packages of the running interpreter and the copy's own code."""

    def __init__(self, path: Path, *, only: Collection[str] | None = None, environment: Mapping[str, str] = {}) -> None:
        """Copies the tree, or `only` these files of it, to the new folder `path`.

        `environment` is added to that of every command.
        """
        if only is None:
            shutil.copytree(ROOT, path, ignore=shutil.ignore_patterns(*_NOT_COPIED))
        else:
            path.mkdir()
            for name in only:
                shutil.copy2(ROOT / name, path / name)
        self.path = path
        # What `make test` and pytest tell their own children is not for the commands of the copy.
        ours = ("PYTEST_", "PYTHON", "MAKE", "MFLAGS")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        self._environment = {**inherited, **environment}
        self._install()

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A module with its arguments, as after `python -m`, at the top of the tree."""
        return self._run(str(self.path / ".venv/bin/python"), "-m", *command)

    def make(self, target: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """A target of the Makefile."""
        return self._run("make", target, *(f"{name}={value}" for name, value in variables.items()))

    def replace(self, file: str, old: str, new: str) -> None:
        """Replaces a text that stands in a file once."""
        path = self.path / file
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{file} has {text.count(old)} times: {old}"
        path.write_text(text.replace(old, new), encoding="utf-8")

    def _install(self) -> None:
        """What `make install` does, without installing the packages a second time."""
        prefix = self.path / ".venv"
        venv.create(prefix, symlinks=True)
        # A path in there is not searched for .pth files: this interpreter's own, which leads to ROOT, has no effect.
        own = (self.path, self.path / "protos/gen", self.path / "clients/python/src")
        paths = (*own, sysconfig.get_path("purelib"))
        site = sysconfig.get_path("purelib", vars={"base": str(prefix)})
        Path(site, "checkout.pth").write_text("".join(f"{path}\n" for path in paths))
        for program in Path(sys.executable).parent.iterdir():
            if not (prefix / "bin" / program.name).exists():
                _install_program(program, prefix / "bin" / program.name, python=prefix / "bin/python")
        (prefix / ".installed").touch()

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.path,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT,
        )


def _install_program(program: Path, target: Path, *, python: Path) -> None:
    """Installs a program of this environment; a script gets `python` as its interpreter."""
    with program.open("rb") as file:
        shebang = file.readline()
        script = file.read() if shebang.startswith(f"#!{program.parent}/python".encode()) else None
    if script is None:
        target.symlink_to(program)
    else:
        target.write_bytes(f"#!{python}\n".encode() + script)
        target.chmod(0o755)
