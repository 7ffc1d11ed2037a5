"""Clients that repeat requests without pause and tolerate no failure, behind a simple load balancer."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import httpx

from services.kit.tls.authorities import public_authorities

SECONDS = 30
# Between a response and the client's next request: leaves services the CPU time to start and stop.
PAUSE = 0.1


class Balancer:
    """Selects a ready gateway by its readiness, as Kubernetes does. `readiness` is by base URL."""

    def __init__(self, readiness: Mapping[str, str]) -> None:
        self._readiness = readiness
        self._ready: list[str] = []

    def pick(self) -> str:
        """Return the base URL for the next request."""
        deadline = time.monotonic() + SECONDS
        while not self._ready and time.monotonic() < deadline:
            time.sleep(0.01)
        return self._ready[0]

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Poll readiness until the block ends."""
        ended = threading.Event()
        thread = threading.Thread(target=self._ask, args=(ended,))
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _ask(self, ended: threading.Event) -> None:
        with httpx.Client(trust_env=False, timeout=1, verify=public_authorities(trust_env=False)) as http:
            while not ended.wait(0.05):
                self._ready = [base for base, url in self._readiness.items() if _is_ready(http, url)]


def _is_ready(http: httpx.Client, url: str) -> bool:
    with suppress(httpx.TransportError):
        return http.get(url).status_code == httpx.codes.OK
    return False


# Sends a request to a base URL and raises for any wrong response.
type Ask = Callable[[httpx.Client], object]


@dataclass
class Traffic:
    """Results of the requests so far, by the name of their loop."""

    answered: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    _loops: list[str] = field(default_factory=list)

    def until_all_were_answered(self, times: int = 1) -> None:
        """Wait until each loop has had this many more responses; the first may be to an earlier request."""
        before = Counter(self.answered)
        deadline = time.monotonic() + SECONDS
        while any(self.answered[name] - before[name] < times for name in self._loops):
            assert time.monotonic() < deadline, (before, self.answered, self.failures)
            time.sleep(0.02)

    def loop(self, name: str, ask: Ask, balancer: Balancer, ended: threading.Event) -> None:
        """Repeat a request."""
        with httpx.Client(trust_env=False, timeout=SECONDS, verify=public_authorities(trust_env=False)) as http:
            while not ended.wait(PAUSE):
                http.base_url = balancer.pick()
                try:
                    ask(http)
                except (httpx.HTTPError, AssertionError) as error:
                    self.failures.append(f"{name}: {error!r}")
                self.answered[name] += 1


@contextmanager
def traffic(balancer: Balancer, loops: Mapping[str, Ask]) -> Iterator[Traffic]:
    """Run one client for each of `loops` until the block ends."""
    ended = threading.Event()
    running = Traffic(_loops=list(loops))
    threads = [threading.Thread(target=running.loop, args=(name, ask, balancer, ended)) for name, ask in loops.items()]
    with balancer.asking():
        for thread in threads:
            thread.start()
        try:
            yield running
        finally:
            ended.set()
            for thread in threads:
                thread.join()
