"""`make run` with real processes: it comes up, serves its commands, and leaves no process behind."""

import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.local.children import command_line
from tests.support.docs.documents import ROOT
from tests.support.docs.page_steps import steps_of
from tests.support.e2e.running_stack import plain_environment


def _environment(home: Path) -> dict[str, str]:
    return plain_environment(MAILROOM_HOME=str(home / "mailroom"), SANDBOX_MESSAGES="10")


@contextmanager
def _running(home: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the stack until it is up. Yields the process and its output so far."""
    command = [sys.executable, "-m", "deploy.local", "run"]
    with subprocess.Popen(
        command, env=_environment(home), cwd=home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        watchdog = threading.Timer(300.0, process.kill)
        watchdog.start()
        try:
            yield process, _read_until_up(process)
        finally:
            watchdog.cancel()
            process.kill()


def _read_until_up(process: subprocess.Popen[str]) -> str:
    printed: list[str] = []
    assert process.stdout
    for line in process.stdout:
        printed.append(line)
        if "Ctrl-C stops everything" in line:
            return "".join(printed)
    raise AssertionError(f"the stack did not come up:\n{''.join(printed)}")


def _finish(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str]:
    """Send a signal. Returns the exit code and the output after it."""
    process.send_signal(number)
    assert process.stdout
    return process.wait(), process.stdout.read()


def _command(home: Path, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy.local", *arguments],
        env=_environment(home),
        cwd=home,
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def _typed(commands: str) -> str:
    command = ["bash", "-eu", "-c", commands]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def _quick_starts(home: Path, api: str, sandbox: str) -> Iterator[str]:
    """What the pages have their readers type beside one stack, one after the other."""
    for page, sections in (
        ("README.md", ["Read mail"]),
        ("docs/sessions.md", ["Sign in with curl", "Link another address"]),
        ("docs/applications.md", ["Quick start"]),
    ):
        text = (ROOT / page).read_text(encoding="utf-8")
        script = "".join(step.text for section in sections for step in steps_of(text, section=section))
        script = script.replace("http://localhost:8000", api).replace("http://localhost:8100", sandbox)
        yield script.replace(".mailroom", str(home))


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _holders(pid: int, variable: str) -> list[str]:
    """Return the modules of our processes whose environment has the variable."""
    modules = []
    for child in _children(pid):
        module = re.search(r"-m services\.(\S+)", command_line(child))
        environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        if module and any(entry.startswith(f"{variable}=".encode()) for entry in environment):
            modules.append(module[1])
    return sorted(modules)


def _watch(pids: list[int]) -> list[int]:
    return [os.pidfd_open(pid) for pid in pids]


def _all_gone(descriptors: list[int]) -> bool:
    gone = [bool(select.select([descriptor], [], [], 30.0)[0]) for descriptor in descriptors]
    for descriptor in descriptors:
        os.close(descriptor)
    return all(gone)


class TestRun:
    @pytest.mark.timeout(600)  # a whole stack, and what three pages have their readers type beside it
    def test_comes_up_serves_its_commands_and_an_interrupt_ends_every_process(self, home: Path) -> None:
        with _running(home) as (process, printed):
            children = _watch(_children(process.pid))
            assert len(children) == 9  # two servers, seven processes
            assert _holders(process.pid, "SECRET_KEY") == _holders(process.pid, "GOOGLE_CLIENT_SECRET") == ["auth"]
            assert _holders(process.pid, "CONSOLE_SECRET_KEY") == ["console"]
            assert _holders(process.pid, "MAIL_POSTGRES_PASSWORD") == ["mail"]
            assert _holders(process.pid, "WORKER_POSTGRES_PASSWORD") == ["mail.worker"]
            assert _holders(process.pid, "MAIL_POSTGRES_OWNER_PASSWORD") == []
            assert _holders(process.pid, "POSTGRES_PASSWORD") == []

            refused = _command(home, "run")
            assert refused.returncode == 1
            assert f"in use by process {process.pid}" in refused.stderr
            assert _command(home, "migrate").returncode == 0
            assert _command(home, "redis-cli", "PING").stdout == "PONG\n"
            answer = _command(home, "psql", "-tA", text="SELECT count(*) FROM mailboxes;\n")
            assert (answer.stdout, answer.returncode) == ("0\n", 0)

            told = printed.partition("in a terminal")[2].partition("README.md")[0]
            assert json.loads(_typed(told)) == {"mailboxes": [], "next_cursor": None}
            addresses = dict(re.findall(r"^  (API|Sandbox) +(http\S+)", printed, re.MULTILINE))
            for script in _quick_starts(home / "mailroom", addresses["API"], addresses["Sandbox"]):
                _typed(script)
            listed = json.loads(_typed(told))["mailboxes"]
            assert [(mailbox["email"], mailbox["message_count"]) for mailbox in listed] == [
                *(("ada@example.com", 10), ("grace@example.org", 10), ("alan@example.com", 0))
            ]

            code, rest = _finish(process, signal.SIGINT)
        assert code == 0, rest
        assert "Traceback" not in rest
        assert _all_gone(children)
        for name in ("auth", "mail", "worker", "deliverer", "gateway", "console", "sandbox", "postgres", "valkey"):
            assert (home / "mailroom" / "logs" / f"{name}.log").stat().st_size > 0, name

    @pytest.mark.long  # the same promise is tested on small services and on the servers alone
    def test_a_killed_supervisor_leaves_no_process_and_the_next_run_comes_up(self, home: Path) -> None:
        with _running(home) as (process, _):
            children = _watch(_children(process.pid))
            process.kill()
        assert _all_gone(children)
        with _running(home) as (process, _):
            assert _finish(process, signal.SIGTERM)[0] == 0

    @pytest.mark.long  # as above
    @pytest.mark.parametrize(("name", "program"), [("worker", "services.mail.worker"), ("postgres", "bin/postgres")])
    def test_a_process_that_dies_is_named_and_stops_the_rest(self, name: str, program: str, home: Path) -> None:
        with _running(home) as (process, _):
            children = _children(process.pid)
            watched = _watch(children)
            [victim] = [pid for pid in children if program in command_line(pid)]
            os.kill(victim, signal.SIGKILL)
            assert process.stdout
            rest = process.stdout.read()
            assert process.wait() == 1
        assert f"mailroom | {name} was killed by SIGKILL" in rest
        assert _all_gone(watched)

    @pytest.mark.long  # two whole stacks
    def test_two_homes_run_side_by_side(self, home: Path) -> None:
        (home / "a").mkdir()
        (home / "b").mkdir()
        with _running(home / "a") as (first, _), _running(home / "b") as (second, _):
            assert _finish(first, signal.SIGINT)[0] == 0
            assert _command(home / "b", "redis-cli", "PING").stdout == "PONG\n"
            assert _finish(second, signal.SIGINT)[0] == 0


class TestDemo:
    def test_shows_everything_and_leaves_nothing(self, home: Path) -> None:
        answer = subprocess.run(
            [sys.executable, "-m", "deploy.local", "demo"],
            env=_environment(home) | {"TMPDIR": str(home), "COLUMNS": "80"},
            cwd=home,
            capture_output=True,
            text=True,
            check=False,
            timeout=150,
        )
        assert answer.returncode == 0, answer.stdout + answer.stderr
        assert "2000 messages in" in answer.stdout
        # A notification can be faster than the sync that asks for the 25 new ones.
        rows = [line.split() for line in answer.stdout.splitlines() if "active" in line]
        counts = {(row[1], row[3]): row[7] for row in rows}
        assert counts == {("ada@example.com", "google"): "2025", ("grace@example.org", "yandex"): "100"}
        assert list(home.iterdir()) == []


class TestCommandsWithoutARunningStack:
    def test_psql_works_on_an_empty_home_which_it_migrates_and_migrate_may_follow(self, home: Path) -> None:
        answer = _command(home, "psql", "-tA", "-c", "SELECT count(*) FROM mailboxes")
        assert answer.stdout.splitlines()[-1:] == ["0"], answer.stderr
        assert _command(home, "migrate").returncode == 0
        auth = _command(home, "psql", "--service", "auth", "-tA", "-c", "SELECT count(*) FROM accounts")
        assert auth.stdout.splitlines()[-1:] == ["0"], auth.stderr
