"""MAILROOM_HOME: one stack at a time, secrets for its owner only."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.errors import StackError
from deploy.local.home import Home

_HOLD = """
import sys
from pathlib import Path
from deploy.local.home import Home
with Home(Path(sys.argv[1])).lock():
    print("held", flush=True)
    sys.stdin.read()
"""


def _holder(home: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    return process


class TestLock:
    def test_a_second_process_is_refused_in_one_line_that_names_the_first(self, home: Path) -> None:
        with _holder(home) as holder:
            with pytest.raises(StackError) as refusal, Home(home).lock():
                pass
            holder.kill()
        assert f"in use by process {holder.pid}" in str(refusal.value)
        assert "\n" not in str(refusal.value)

    def test_a_killed_holder_leaves_no_lock_behind(self, home: Path) -> None:
        with _holder(home) as holder:
            holder.kill()
        with Home(home).lock():
            assert (home / "lock").read_text() == f"{os.getpid()}\n"

    def test_the_directory_is_created_so_that_others_cannot_list_it(self, home: Path) -> None:
        with Home(home / "deep" / "new").lock():
            assert (home / "deep" / "new").stat().st_mode & 0o066 == 0


class TestSecrets:
    def test_a_secret_is_long_stays_the_same_and_is_readable_by_its_owner_only(self, home: Path) -> None:
        first = Home(home).secret("secret_key")
        assert len(first) >= 32
        assert Home(home).secret("secret_key") == first
        assert Home(home).secret("postgres") != first
        assert (home / "secrets.json").stat().st_mode & 0o777 == 0o600


class TestRecord:
    def test_commands_see_the_variables_of_a_running_stack_only(self, home: Path) -> None:
        assert Home(home).recorded() is None
        with Home(home).lock():
            Home(home).record({"POSTGRES_PORT": "1"})
            assert Home(home).recorded() == {"POSTGRES_PORT": "1"}
            assert (home / "running.json").stat().st_mode & 0o777 == 0o600
        assert Home(home).recorded() is None

    def test_a_stack_that_is_not_up_yet_is_reported_as_such(self, home: Path) -> None:
        with Home(home).lock(), pytest.raises(StackError, match="starting or stopping"):
            Home(home).recorded()
