"""The frame of peers: what is locked, how an installation fails, and what a skip counts for. Needs no peer."""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.peers.installation import (
    FOLDER,
    PAUSES,
    ROOT,
    InstallationError,
    Source,
    install,
    install_all,
)

INSTALL = ("install",)
PROBE = ("probe",)


class Commands:
    """Runs no program: each command takes its exit codes from a script, 0 after its end."""

    def __init__(self, **codes: Sequence[int]) -> None:
        self.run: list[str] = []
        self.slept: list[float] = []
        self._codes = {name: iter(given) for name, given in codes.items()}

    def __call__(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        self.run.append(command[0])
        code = next(self._codes.get(command[0], iter(())), 0)
        return subprocess.CompletedProcess(list(command), code, "", f"{command[0]} failed with {code}")


@pytest.fixture
def source(tmp_path: Path) -> Source:
    lock = tmp_path / "lock"
    lock.write_text("one==1\n")
    return Source("pypi", lock, tmp_path / "made/stamp", [INSTALL], PROBE)


class TestInstall:
    def test_runs_its_commands_once_per_lock(self, source: Source) -> None:
        commands = Commands()
        assert install(source, run=commands, sleep=commands.slept.append)
        assert install(source, run=commands, sleep=commands.slept.append)
        assert commands.run == ["install"]
        source.lock.write_text("one==2\n")
        assert install(source, run=commands, sleep=commands.slept.append)
        assert commands.run == ["install", "install"]

    def test_is_tried_three_times(self, source: Source) -> None:
        commands = Commands(install=[1, 1, 0])
        assert install(source, run=commands, sleep=commands.slept.append)
        assert commands.run == ["install"] * 3
        assert commands.slept == list(PAUSES)

    def test_passes_over_a_source_that_cannot_be_reached(self, source: Source) -> None:
        commands = Commands(install=[1, 1, 1], probe=[1])
        assert not install(source, run=commands, sleep=commands.slept.append)
        assert commands.run == ["install", "install", "install", "probe"]
        assert not source.is_installed()

    def test_fails_for_a_source_that_was_reached(self, source: Source) -> None:
        commands = Commands(install=[1, 1, 1])
        with pytest.raises(InstallationError, match="install failed with 1"):
            install(source, run=commands, sleep=commands.slept.append)
        assert not source.is_installed()


class TestInstallAll:
    def test_passes_over_sources_that_need_a_missing_one(self, source: Source) -> None:
        commands = Commands(first=[1, 1, 1], probe=[1])
        first = replace(source, name="debian", commands=[("first",)])
        second = replace(source, name="pypi", needs="debian", stamp=source.stamp.with_name("second"))
        third = replace(source, name="npm", stamp=source.stamp.with_name("third"))
        reported: list[str] = []
        missing = install_all([first, second, third], run=commands, sleep=commands.slept.append, report=reported.append)
        assert missing == reported == ["debian", "pypi"]
        assert commands.run == ["first", "first", "first", "probe", "install"]


TESTS = """
import pytest

from tests.support.peers.skips import require

def test_with_a_peer_that_is_missing():
    require(None, "a peer", source="pypi", passed_over={"npm"})

def test_with_a_peer_that_cannot_be_reached():
    require(None, "a peer", source="npm", passed_over={"npm"})

def test_that_skips():
    pytest.skip("no reason")

def test_that_passes():
    pass
"""


class TestSkip:
    @pytest.mark.parametrize(
        ("required", "outcome"),
        [("", (0, "1 passed, 3 skipped")), ("required", (1, "2 failed, 1 passed, 1 skipped"))],
    )
    def test_is_a_failure_where_peers_are_required(
        self, tmp_path: Path, required: str, outcome: tuple[int, str]
    ) -> None:
        (tmp_path / "test_skips.py").write_text(TESTS)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.peers.conftest"],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT), "MAILROOM_PEERS": required, "PATH": "/usr/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout.splitlines()[-1].partition(" in ")[0]) == outcome


class TestLocks:
    def test_name_no_registry(self) -> None:
        packages = json.loads((FOLDER / "package-lock.json").read_text())["packages"]
        assert not [name for name, package in packages.items() if "resolved" in package]
        assert "://" not in (FOLDER / "requirements.lock").read_text()

    def test_hold_a_digest_of_every_package(self) -> None:
        packages = json.loads((FOLDER / "package-lock.json").read_text())["packages"]
        assert not [name for name, package in packages.items() if name and "integrity" not in package]
        pins = re.split(r"\n(?=\S)", (FOLDER / "requirements.lock").read_text().strip())
        assert len(pins) > 10
        assert not [pin for pin in pins if "--hash=sha256:" not in pin]

    def test_have_the_versions_that_are_asked_for(self) -> None:
        wanted = json.loads((FOLDER / "package.json").read_text())["dependencies"]
        packages = json.loads((FOLDER / "package-lock.json").read_text())["packages"]
        assert packages[""]["dependencies"] == wanted
        locked = (FOLDER / "requirements.lock").read_text()
        assert all(line in locked for line in (FOLDER / "requirements.in").read_text().splitlines())
