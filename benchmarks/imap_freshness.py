"""Freshness of mail over IMAP: time from delivery at the (sandbox) server until the gateway lists the message.

The servers are one like Yandex's and one with modern extensions. Mail comes to the inbox, over which the server
announces it (IDLE), and to another folder, which polls find. Then, in a stack whose polls are rare, all mailboxes idle;
what they cost is the memory and CPU of the worker beyond those that it had without mailboxes. One round of polls, which
ask for the numbers of all other folders, tells what these cost beside. Prints JSON lines and a table; exits 1 if a goal
is missed.
"""

import argparse
import asyncio
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

from benchmarks import idle_mailboxes
from benchmarks.process_cpu import cpu_seconds
from tests.support.e2e.modern_server import NAME as MODERN
from tests.support.e2e.modern_server import modern_server
from tests.support.e2e.people import Person, Provider
from tests.support.e2e.running_stack import RunningStack, running_stack

PROVIDERS: Final = ("yandex", MODERN)
FRESH: Final = 6
"""Mailboxes to which mail is delivered."""
PAUSE: Final = 1.2
GOAL_P50: Final = 1.0
GOAL_POLLS: Final = 2
GOAL_MEGABYTES: Final = 0.5
GOAL_CORE_PERCENT: Final = 0.5
"""Of 1,000 idling mailboxes."""
RARELY: Final = 960.0
"""Seconds between two polls of a mailbox that has been quiet for long, by default."""
_ROUND_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.02
_PATIENCE: Final = 90.0


class Reader:
    """Delivers mail to one person and waits until it is listed."""

    def __init__(self, person: Person, *, sandbox: httpx.AsyncClient, gateway: httpx.AsyncClient, folder: str) -> None:
        self._email = person.email
        self._headers = {"Authorization": f"Bearer {person.token}"}
        self._sandbox = sandbox
        self._gateway = gateway
        self._folder = folder
        self._numbers = itertools.count(1)

    async def latency(self) -> float:
        """Return the seconds from delivery until the message is listed."""
        subject = f"{self._folder} {next(self._numbers)}"
        made = {"from": "bob@example.net", "subject": subject, "text": "Hi", "labels": [self._folder, "UNREAD"]}
        answer = await self._sandbox.post(f"/_sandbox/users/{self._email}/messages", json=made)
        answer.raise_for_status()
        began = time.monotonic()
        params: dict[str, str | int] = {"user_email": self._email, "limit": 20}
        while time.monotonic() < began + _PATIENCE:
            listed = await self._gateway.get("/emails", params=params, headers=self._headers)
            if any(email["subject"] == subject for email in listed.raise_for_status().json()["emails"]):
                return time.monotonic() - began
            await asyncio.sleep(_LOOK_SECONDS)
        raise AssertionError(f"{subject} of {self._email} did not become readable")


async def freshness(stack: RunningStack, people: list[Person], *, folder: str, deliveries: int) -> list[float]:
    """Deliver to each mailbox one message after the other; mailboxes run concurrently but not in step."""
    async with (
        httpx.AsyncClient(base_url=stack.sandbox_url, trust_env=False, timeout=30) as sandbox,
        httpx.AsyncClient(base_url=stack.gateway_url, trust_env=False, timeout=30) as gateway,
    ):

        async def series(place: int, person: Person) -> list[float]:
            reader = Reader(person, sandbox=sandbox, gateway=gateway, folder=folder)
            await asyncio.sleep(PAUSE * place / len(people))
            found = []
            for _ in range(deliveries // len(people)):
                found.append(await reader.latency())
                await asyncio.sleep(PAUSE)
            return found

        found = await asyncio.gather(*(series(place, person) for place, person in enumerate(people)))
    return list(itertools.chain.from_iterable(found))


def connect(stack: RunningStack, provider: Provider, *, mailboxes: int) -> list[Person]:
    """Return people of both servers with small, synced mailboxes."""

    def one(number: int) -> Person:
        http = httpx.Client(base_url=stack.gateway_url, trust_env=False, timeout=90)
        email = provider.new_user(messages=5, email=f"idle-{number}@example.com", seed=number)
        person = Person.sign_in(http, email, provider=PROVIDERS[number % len(PROVIDERS)])
        person.sync()
        return person

    with ThreadPoolExecutor(4) as threads:
        return list(threads.map(one, range(mailboxes)))


def idling(stack: RunningStack, provider: Provider, *, mailboxes: int, seconds: float) -> dict[str, float]:
    """Measure a worker that idles with all mailboxes."""
    deadline = time.monotonic() + _PATIENCE
    while (held := _connections(provider)) < mailboxes:
        if time.monotonic() > deadline:
            raise AssertionError(f"{held} of {mailboxes} mailboxes idle")
        time.sleep(0.5)
    return cost(stack.pid("worker"), seconds=seconds)


def cost(pid: int, *, seconds: float) -> dict[str, float]:
    """Return a process's memory, and its share of a core within so many seconds."""
    cpu, began = cpu_seconds(pid), time.monotonic()
    time.sleep(seconds)
    percent = 100 * (cpu_seconds(pid) - cpu) / (time.monotonic() - began)
    return {"megabytes": _megabytes(pid), "core_percent": percent}


def _connections(provider: Provider) -> int:
    return sum(account["connections"] for account in provider.get("/imap")["accounts"].values())


def _megabytes(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def report(situation: str, latencies: list[float]) -> float:
    """Print a JSON line and a table row; return the median."""
    p50, most = statistics.median(latencies), max(latencies)
    print(json.dumps({"situation": situation, "n": len(latencies), "p50": round(p50, 3), "max": round(most, 3)}))
    print(f"  {situation:18} n {len(latencies):4}  p50 {p50:6.3f} s  max {most:6.3f} s", flush=True)
    return p50


async def poll_all(stack: RunningStack) -> None:
    """Have all mailboxes polled, and wait until the worker has begun with each."""
    connection = await idle_mailboxes.connect(stack)
    try:
        await connection.execute("UPDATE mailbox_schedule SET look_at = now()")
        deadline = time.monotonic() + _PATIENCE
        while await connection.fetchval("SELECT count(*) FROM mailbox_schedule WHERE look_at IS NOT NULL"):
            if time.monotonic() > deadline:
                raise AssertionError("the polls do not end")
            await asyncio.sleep(0.5)
    finally:
        await connection.close()


def poll_ms(stack: RunningStack, *, mailboxes: int, idle_percent: float) -> float:
    """Return the milliseconds of CPU of the worker for a poll, without what it takes to idle meanwhile."""
    pid = stack.pid("worker")
    cpu, began = cpu_seconds(pid), time.monotonic()
    asyncio.run(poll_all(stack))
    time.sleep(_ROUND_SECONDS)
    idle = idle_percent / 100 * (time.monotonic() - began)
    return (cpu_seconds(pid) - cpu - idle) * 1000 / mailboxes


@contextmanager
def open_stack(*, poll: float, mailboxes: int) -> Iterator[RunningStack]:
    """Run a stack with both servers, whose polls are so many seconds apart at least."""
    with tempfile.TemporaryDirectory(prefix="mailroom-freshness-") as directory:
        home = Path(directory)
        with (
            modern_server(home) as modern,
            running_stack(
                home,
                own_servers=True,
                SANDBOX_USERS="",
                LOG_LEVEL="WARNING",
                MAIL_POLL_SECONDS=str(poll),
                IMAP_IDLE_CONNECTIONS=str(mailboxes),
                more_workers=0,
                **modern,
            ) as stack,
        ):
            yield stack


def measure_freshness(*, poll: float, deliveries: int) -> bool:
    """Return whether mail of the inbox and of another folder is fresh enough."""
    with open_stack(poll=poll, mailboxes=FRESH) as stack:
        provider = Provider(stack.sandbox_url)
        fresh = connect(stack, provider, mailboxes=FRESH)
        provider.close()
        inbox = report("inbox", asyncio.run(freshness(stack, fresh, folder="INBOX", deliveries=deliveries)))
        # Polls are few: the mailboxes take them at the same time.
        other = asyncio.run(freshness(stack, fresh, folder="TRASH", deliveries=2 * len(fresh)))
        report("another folder", other)
    return inbox <= GOAL_P50 and max(other) <= GOAL_POLLS * poll


def measure_idling(*, mailboxes: int, seconds: float) -> bool:
    """Return whether a worker's idling mailboxes take as little as they should."""
    with open_stack(poll=RARELY, mailboxes=mailboxes) as stack:
        provider = Provider(stack.sandbox_url)
        without = cost(stack.pid("worker"), seconds=seconds)
        connect(stack, provider, mailboxes=mailboxes)
        figures = idling(stack, provider, mailboxes=mailboxes, seconds=seconds)
        provider.close()
        poll = poll_ms(stack, mailboxes=mailboxes, idle_percent=figures["core_percent"])
    each, percent = ((figures[name] - without[name]) / mailboxes for name in ("megabytes", "core_percent"))
    percent *= 1_000
    print(json.dumps({"mailboxes": mailboxes, "megabytes_each": round(each, 3), "poll_ms": round(poll, 2), **figures}))
    print(f"  idling: {each:.3f} MB each, {percent:.2f} % of a core for 1,000")
    print(f"  polls: {poll:.2f} ms each, {100 * poll / RARELY:.2f} % of a core for 1,000 that are quiet")
    return each <= GOAL_MEGABYTES and percent <= GOAL_CORE_PERCENT


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deliveries", type=int, default=100)
    parser.add_argument("--mailboxes", type=int, default=1_000, help="that idle")
    parser.add_argument("--poll", type=float, default=20.0, help="seconds, of the mailboxes with new mail")
    parser.add_argument("--seconds", type=float, default=60.0, help="for which idling is measured")
    given = parser.parse_args()
    is_fresh = given.deliveries == 0 or measure_freshness(poll=given.poll, deliveries=given.deliveries)
    return int(not measure_idling(mailboxes=given.mailboxes, seconds=given.seconds) or not is_fresh)


if __name__ == "__main__":
    sys.exit(main())
