"""A process whose event loop stands still ends, and one that works does not."""

import subprocess
import sys

import pytest

# Blocks its event loop, or only waits.
_PROCESS = """
import asyncio, time
from services.kit import process

async def stand_still():
    time.sleep(30)

async def main(stop):
    if {blocked}:
        await stand_still()
    await asyncio.sleep(1)

process.run(main, hang_seconds={seconds})
"""


def _run(*, blocked: bool, seconds: float) -> subprocess.CompletedProcess[str]:
    code = _PROCESS.format(blocked=blocked, seconds=seconds)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=25)


class TestProcess:
    def test_that_hangs_writes_where_and_exits(self) -> None:
        done = _run(blocked=True, seconds=0.5)
        assert done.returncode == 1
        assert "Timeout" in done.stderr
        assert "in stand_still" in done.stderr

    @pytest.mark.parametrize("seconds", [0.5, 0])
    def test_that_waits_for_longer_goes_on(self, seconds: float) -> None:
        done = _run(blocked=False, seconds=seconds)
        assert (done.returncode, done.stderr) == (0, "")
