"""kill -9 of one process after another, each restarted, and pauses of workers."""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from deploy.local.postgres import EmbeddedPostgres
from deploy.local.valkey import EmbeddedValkey
from tests.soak.plan import LEASE_SECONDS, PAUSED, STRIKES
from tests.support.e2e.running_stack import RunningStack


class Killer:
    """Kills in a seeded order with every kind once per round.

    It runs in the thread that started the stack: the kernel ends processes with the thread that started them.
    """

    def __init__(self, stack: RunningStack, *, workers: Sequence[str], seed: int, calm: float) -> None:
        self.done: Counter[str] = Counter()
        self._stack = stack
        self._workers = workers
        self._random = random.Random(seed)
        self._calm = calm

    def run(self, seconds: float, *, failed: Callable[[], bool]) -> None:
        """Kill and restart for this many seconds, every kind at least once; ends early once `failed` returns true."""
        end = time.monotonic() + seconds
        for kind in self._kinds():
            if failed() or (time.monotonic() >= end and self.done.keys() >= STRIKES):
                return
            wait_until(time.monotonic() + self._random.uniform(0, self._calm), unless=failed)
            if kind == PAUSED:
                self._pause(self._random.choice(self._workers))
            else:
                self._strike(kind)

    def _kinds(self) -> Iterator[str]:
        while True:
            yield from self._random.sample(sorted(STRIKES), len(STRIKES))

    def _strike(self, kind: str) -> None:
        names = [self._random.choice(self._workers) if kind == "worker" else kind]
        if kind != "worker" and self._random.random() < 0.3:
            # The loss of a machine includes a worker.
            names.append(self._random.choice(self._workers))
            self.done["worker"] += 1
        self.done[kind] += 1
        for name in names:
            self._kill(name)
        wait_until(time.monotonic() + self._random.uniform(0, 1), unless=lambda: False)
        for name in names:
            self._start(name)

    def _pause(self, name: str) -> None:
        self.done[PAUSED] += 1
        pid = self._stack.pid(name)
        os.kill(pid, signal.SIGSTOP)
        wait_until(time.monotonic() + 1.5 * LEASE_SECONDS, unless=lambda: False)
        os.kill(pid, signal.SIGCONT)

    def _kill(self, name: str) -> None:
        server = self._stack.servers.get(name)
        if server is None:
            self._stack.kill(name)
            return
        kill_server(server)

    def _start(self, name: str) -> None:
        server = self._stack.servers.get(name)
        if server is None:
            self._stack.start(name)
        else:
            server.start()


def kill_server(server: EmbeddedPostgres | EmbeddedValkey) -> None:
    """kill -9 of a server with its children."""
    assert server.pid is not None, f"{server.name} runs"
    for pid in (server.pid, *children_of(server.pid)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    server.stop()


def wait_until(moment: float, *, unless: Callable[[], bool]) -> None:
    """Wait until `moment` of the monotonic clock, or until `unless` holds."""
    while (left := moment - time.monotonic()) > 0 and not unless():
        time.sleep(min(left, 0.1))


def children_of(pid: int) -> list[int]:
    """Return the direct children of a process, from /proc."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) == pid:
                    found.append(int(entry.name))
    return found
