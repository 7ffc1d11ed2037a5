"""The commands as a user types them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.home import Home
from deploy.local.ports import Ports
from deploy.local.valkey import EmbeddedValkey

_EMBEDDED = {"POSTGRES_HOST": "", "REDIS_HOST": ""}


def _command(home: Path, *arguments: str, text: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m deploy.local` in an empty directory, without a `.env`."""
    empty = home / "empty"
    empty.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-m", "deploy.local", *arguments],
        cwd=empty,
        env=os.environ
        | {"MAILROOM_HOME": str(home / "mailroom"), "PYTHONPATH": str(Path.cwd()), **_EMBEDDED}
        | variables,
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


class TestRedisCli:
    def test_a_command_is_answered_by_a_server_started_for_it(self, home: Path) -> None:
        answer = _command(home, "redis-cli", "PING")
        assert (answer.stdout, answer.stderr, answer.returncode) == ("PONG\n", "", 0)

    def test_a_pipe_of_commands_is_answered_line_by_line(self, home: Path) -> None:
        answer = _command(home, "redis-cli", text="SET key 'two words'\nGET key\n\nRPUSH list 1 2\nLRANGE list 0 -1\n")
        assert answer.stdout.splitlines() == ["OK", "two words", "2", "1", "2"]

    def test_an_error_is_its_answer_and_exit_code(self, home: Path) -> None:
        answer = _command(home, "redis-cli", "INCR")
        assert answer.stdout.startswith("(error) wrong number of arguments")
        assert answer.returncode == 1

    def test_a_server_with_a_password_gets_it_from_the_settings(self, home: Path, ports: Ports) -> None:
        (home / "mailroom").mkdir()
        with EmbeddedValkey(home / "mailroom", port=ports.free()) as valkey:
            where = {"REDIS_HOST": valkey.address.host, "REDIS_PORT": str(valkey.address.port)}
            _command(home, "redis-cli", "CONFIG", "SET", "requirepass", "opensesame", **where)
            refused = _command(home, "redis-cli", "PING", **where)
            assert (refused.returncode, "opensesame" in refused.stdout + refused.stderr) == (1, False)
            assert _command(home, "redis-cli", "PING", **where, REDIS_PASSWORD="opensesame").stdout == "PONG\n"


class TestRefusals:
    @pytest.mark.parametrize("command", ["run", "dev", "migrate", "psql", "redis-cli", "clean"])
    def test_a_home_in_use_is_refused_in_one_line(self, command: str, home: Path) -> None:
        with Home(home / "mailroom").lock():
            answer = _command(home, command)
        assert answer.returncode == 1
        [line] = answer.stderr.splitlines()
        assert line.startswith("mailroom: ")

    def test_a_short_secret_key_is_refused_in_one_line(self, home: Path) -> None:
        answer = _command(home, "run", SECRET_KEY="short")
        assert answer.returncode == 1
        [line] = answer.stderr.splitlines()
        assert line.startswith("mailroom: SECRET_KEY has 5 characters and needs 32")
        assert not (home / "mailroom").exists()

    def test_the_variables_of_a_stack_that_does_not_run_are_refused(self, home: Path) -> None:
        answer = _command(home, "env")
        assert answer.returncode == 1
        assert "make run" in answer.stderr


class TestEnv:
    def test_prints_assignments_that_a_shell_can_evaluate(self, home: Path) -> None:
        with Home(home / "mailroom").lock():
            Home(home / "mailroom").record({"SECRET": "it's"})
            answer = _command(home, "env")
        assert answer.stdout == "export SECRET='it'\"'\"'s'\n"


@pytest.mark.long  # starts both commands of a whole stack
class TestRotateKeys:
    def test_works_on_a_stack_that_does_not_run(self, home: Path) -> None:
        for command in ("rotate-keys", "rotate-signing-keys"):
            answer = _command(home, command)
            assert answer.returncode == 0, answer.stderr


class TestClean:
    def test_nothing_is_left_of_the_home(self, home: Path) -> None:
        assert _command(home, "redis-cli", "PING").returncode == 0
        assert _command(home, "clean").returncode == 0
        assert not (home / "mailroom").exists()
