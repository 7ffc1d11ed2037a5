"""The supervisor: starts in order, stops in reverse, reports dead processes, and leaves none behind."""

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from deploy.local.ports import Ports

_PROGRAMS = Path(__file__).parents[2] / "support" / "local"


class _Supervised:
    """A running `supervise.py`: its output, and the processes that it announced."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []

    def read_until(self, text: str) -> None:
        """Read output until a line contains `text`; fails at the end of the output."""
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if text in line:
                return
        raise AssertionError(f"{text!r} was not printed: {self.lines}")

    def finish(self) -> int:
        """Read the rest and return the exit code."""
        assert self.process.stdout
        self.lines += [line.rstrip("\n") for line in self.process.stdout]
        return self.process.wait()

    def pids(self) -> list[int]:
        """Return every process id that a fake service has printed."""
        found = [re.search(r"(?:is|child) (\d+)$", line) for line in self.lines]
        return [int(match[1]) for match in found if match]

    def order(self, text: str) -> list[str]:
        """Return the names before the lines that contain `text`, in the order of these lines."""
        return [line.split("|")[0].strip() for line in self.lines if text in line]


@contextmanager
def _supervised(
    services: Mapping[str, list[object]], *, grace: float = 20.0, patience: float = 20.0, reload: Path | None = None
) -> Iterator[_Supervised]:
    logs = tempfile.mkdtemp(prefix="supervised-")
    plan = {
        "services": services,
        "grace": grace,
        "patience": patience,
        "logs": logs,
        "reload": str(reload) if reload else None,
    }
    command = [sys.executable, str(_PROGRAMS / "supervise.py"), json.dumps(plan)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        watchdog = threading.Timer(60.0, process.kill)
        watchdog.start()
        try:
            yield _Supervised(process)
        finally:
            watchdog.cancel()
            process.kill()
            shutil.rmtree(logs)


def _all_gone(pids: list[int]) -> bool:
    """Wait until none of these processes exists, 20 s each at most."""
    return bool(pids) and all(_gone(pid) for pid in pids)


def _gone(pid: int) -> bool:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], 20.0)[0])
    finally:
        os.close(descriptor)


class TestSignal:
    def test_an_interrupt_stops_all_in_reverse_order_of_the_start(self, ports: Ports) -> None:
        with _supervised({name: [ports.free()] for name in ("first", "second", "third")}) as run:
            run.read_until("all ready")
            run.process.send_signal(signal.SIGINT)
            assert run.finish() == 0
        assert run.order(" is ") == ["first", "second", "third"]
        assert run.order("got SIGTERM") == ["third", "second", "first"]
        assert _all_gone(run.pids())

    def test_a_signal_during_the_start_stops_started_services(self, ports: Ports) -> None:
        with _supervised({name: [ports.free()] for name in ("first", "second")}) as run:
            run.read_until("second is ")
            run.process.send_signal(signal.SIGTERM)
            assert run.finish() == 0
        assert _all_gone(run.pids())

    def test_a_second_interrupt_kills_at_once(self, ports: Ports) -> None:
        with _supervised({"deaf": [ports.free(), "deaf"]}, grace=600.0) as run:
            run.read_until("all ready")
            run.process.send_signal(signal.SIGINT)
            run.read_until("interrupt again to kill")
            run.process.send_signal(signal.SIGINT)
            assert run.finish() == 0
        assert _all_gone(run.pids())

    def test_a_deaf_service_is_killed_after_the_grace_period(self, ports: Ports) -> None:
        with _supervised({"deaf": [ports.free(), "deaf"]}, grace=0.2) as run:
            run.read_until("all ready")
            run.process.send_signal(signal.SIGTERM)
            assert run.finish() == 0
        assert "mailroom | deaf did not stop within 0 s: killed" in run.lines

    def test_children_of_a_service_end_with_it(self, ports: Ports) -> None:
        with _supervised({"family": [ports.free(), "parent"]}) as run:
            run.read_until("all ready")
            run.process.send_signal(signal.SIGTERM)
            assert run.finish() == 0
        assert len(run.pids()) == 2
        assert _all_gone(run.pids())


class TestDeath:
    def test_of_one_service_stops_the_others_and_says_which(self, ports: Ports) -> None:
        with _supervised({name: [ports.free()] for name in ("first", "second", "third")}) as run:
            run.read_until("all ready")
            os.kill(run.pids()[1], signal.SIGKILL)
            assert run.finish() == 1
        assert run.lines[-1] == "mailroom | second was killed by SIGKILL: stopped all"
        assert run.order("got SIGTERM") == ["third", "first"]

    def test_before_it_was_ready_is_reported_with_its_exit_code_and_its_output(self, ports: Ports) -> None:
        with _supervised({"good": [ports.free()], "bad": [ports.free(), "broken"], "never": [ports.free()]}) as run:
            assert run.finish() == 1
        assert "bad      | cannot start" in run.lines
        assert run.lines[-1] == "mailroom | bad ended with exit code 3: stopped all"
        assert run.order(" is ") == ["good"]

    def test_of_the_supervisor_takes_the_services_along(self, ports: Ports) -> None:
        with _supervised({"first": [ports.free()], "second": [ports.free(), "deaf"]}) as run:
            run.read_until("all ready")
            run.process.kill()
        assert len(run.pids()) == 2
        assert _all_gone(run.pids())


class TestReadiness:
    def test_a_service_that_never_gets_ready_is_given_up(self, ports: Ports) -> None:
        port = ports.free()
        with _supervised({"first": [port], "second": [ports.free()]}, patience=0.01) as run:
            assert run.finish() == 1
        assert run.lines[-1] == "mailroom | first was not ready within 0 s: stopped all"


class TestOutput:
    def test_a_closed_output_stops_all(self, ports: Ports) -> None:
        with _supervised({"first": [ports.free()]}) as run:
            run.read_until("all ready")
            assert run.process.stdout
            run.process.stdout.close()
            os.kill(run.pids()[0], signal.SIGTERM)  # it prints a line before it ends
            assert run.process.wait() == 1
        assert _all_gone(run.pids())


class TestReload:
    def test_a_change_restarts_the_service_and_a_dead_one_waits_for_the_next_change(
        self, tmp_path: Path, ports: Ports
    ) -> None:
        program = tmp_path / "fake_service.py"
        working = (_PROGRAMS / "fake_service.py").read_text()
        program.write_text(working)
        with _supervised({"only": [ports.free()]}, reload=tmp_path) as run:
            run.read_until("all ready")
            program.write_text("raise SystemExit(7)")
            run.read_until("only ended with exit code 7: waiting for a change of its files")
            program.write_text(working)
            run.read_until("only is ")
            run.process.send_signal(signal.SIGINT)
            assert run.finish() == 0
        assert len(set(run.pids())) == 2
        assert _all_gone(run.pids())
