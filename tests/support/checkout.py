"""A copy of this source tree, in which tests change files and run what a developer runs."""

import os
import shutil
import subprocess
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
_NOT_COPIED = (".git", ".venv", ".mailroom", ".benchmarks", ".env", "__pycache__", ".pytest_cache", ".hypothesis")
_STAMP = ".venv/.installed"


class Checkout:
    """The copy. Its commands use the packages of the running interpreter, and import the copy's own code."""

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
        self._environment = {**os.environ, "PYTHONPATH": f"{path}:{path}/protos/gen", **environment}

    def run(self, *command: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """A module with its arguments, as after `python -m`, at the top of the tree."""
        return self._run(sys.executable, "-m", *command, timeout=timeout)

    def make(self, target: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """A target of the Makefile without the installation that it asks for."""
        given = [f"{name}={value}" for name, value in variables.items()]
        return self._run("make", f"--old-file={_STAMP}", f"BIN={Path(sys.executable).parent}", target, *given)

    def replace(self, file: str, old: str, new: str) -> None:
        """Replaces a text that stands in a file once."""
        path = self.path / file
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{file} has {text.count(old)} times: {old}"
        path.write_text(text.replace(old, new), encoding="utf-8")

    def _run(self, *command: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.path,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
