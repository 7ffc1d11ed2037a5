"""The time limit of every test: one that hangs fails, and those after it run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_LONGEST = 3600

_HANGING = """
import asyncio
import threading

import pytest


@pytest.fixture
async def silent_server():
    await asyncio.Event().wait()


async def test_waits_for_ever():
    await asyncio.Event().wait()


async def test_waits_for_a_fixture(silent_server):
    pass


def test_blocks():
    threading.Event().wait()


async def test_follows():
    await asyncio.sleep(0)
"""


def limit_of(item: pytest.Item) -> float:
    """Return the seconds that a test may take."""
    marker = item.get_closest_marker("timeout")
    return float(marker.args[0] if marker else item.config.getini("timeout"))


class TestTimeLimit:
    def test_is_set_for_every_test(self, request: pytest.FixtureRequest) -> None:
        unlimited = [item.nodeid for item in request.session.items if not 0 < limit_of(item) <= _LONGEST]
        assert unlimited == []

    def test_ends_a_test_that_hangs(self, tmp_path: Path) -> None:
        file = tmp_path / "test_hanging.py"
        file.write_text(_HANGING, encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "-o", "timeout=2", str(file)]
        # Narrow lines would be cut.
        environment = {**os.environ, "COLUMNS": "200"}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60
        )
        outcome = done.stdout.splitlines()[-1]
        assert "2 failed, 1 passed, 1 error" in outcome, done.stdout
        assert done.stdout.count(" - Failed: Timeout (") == 3, done.stdout
