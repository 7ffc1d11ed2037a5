"""Freshness of mail over IMAP: time from delivery at the (sandbox) server until the gateway lists the message.

The servers are one like Yandex's and one with modern extensions. Mail comes to the inbox, over which the server
announces it (IDLE), and to another folder, which polls find. Prints JSON lines and a table; exits 1 if a goal is
missed.
"""

import argparse
import asyncio
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

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


def connect(
    stack: RunningStack, provider: Provider, *, mailboxes: int, providers: Sequence[str] = PROVIDERS
) -> list[Person]:
    """Return people of these servers with small, synced mailboxes."""

    def one(number: int) -> Person:
        http = httpx.Client(base_url=stack.gateway_url, trust_env=False, timeout=90)
        email = provider.new_user(messages=5, email=f"idle-{number}@example.com", seed=number)
        person = Person.sign_in(http, email, provider=providers[number % len(providers)])
        person.sync()
        return person

    with ThreadPoolExecutor(4) as threads:
        return list(threads.map(one, range(mailboxes)))


def report(situation: str, latencies: list[float]) -> float:
    """Print a JSON line and a table row; return the median."""
    p50, most = statistics.median(latencies), max(latencies)
    print(json.dumps({"situation": situation, "n": len(latencies), "p50": round(p50, 3), "max": round(most, 3)}))
    print(f"  {situation:18} n {len(latencies):4}  p50 {p50:6.3f} s  max {most:6.3f} s", flush=True)
    return p50


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


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deliveries", type=int, default=100)
    parser.add_argument("--poll", type=float, default=20.0, help="seconds, of the mailboxes with new mail")
    given = parser.parse_args()
    return int(not measure_freshness(poll=given.poll, deliveries=given.deliveries))


if __name__ == "__main__":
    sys.exit(main())
