"""Freshness of mail: time from delivery at the (sandbox) provider until the gateway lists the message.

Push and polling have their default settings. Five situations: an idle system; an unbroken stream of mail to one
mailbox; beside a backfill of other mailboxes; in a mailbox during its own backfill; after kill -9 of the worker. Prints
JSON lines and a table; exits 1 if a goal is missed.
"""

import argparse
import asyncio
import itertools
import json
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import httpx

from tests.support.e2e.people import Person, Provider
from tests.support.e2e.running_stack import RunningStack, running_stack

MAILBOXES = 10
# Google announces at most one change per mailbox and second.
PAUSE = 1.2
STREAM_INTERVAL = 0.4
STREAM_MAILS = 50
BACKFILL_MESSAGES = 3000
OWN_BACKFILL_MESSAGES = 5000
OWN_BACKFILL_DELIVERIES = 20
GOAL_P50 = 1.0
GOAL_AFTER_KILL = 5.0
_LOOK_SECONDS = 0.02
_PATIENCE = 90.0


class Reader:
    """Delivers mail to one person and waits until it is listed."""

    def __init__(self, person: Person, *, sandbox: httpx.AsyncClient, gateway: httpx.AsyncClient) -> None:
        self._email = person.email
        self._headers = {"Authorization": f"Bearer {person.token}"}
        self._sandbox = sandbox
        self._gateway = gateway

    async def deliver(self) -> str:
        """Deliver a message. Returns its id."""
        made = {"from": "bob@example.net", "subject": "Hello", "text": "Hi"}
        answer = await self._sandbox.post(f"/_sandbox/users/{self._email}/messages", json=made)
        return str(answer.raise_for_status().json()["messages"][0]["id"])

    async def until_readable(self, external_id: str) -> float:
        """Return the monotonic time at which the message is listed."""
        deadline = time.monotonic() + _PATIENCE
        params: dict[str, str | int] = {"user_email": self._email, "limit": 20}
        while time.monotonic() < deadline:
            answer = await self._gateway.get("/emails", params=params, headers=self._headers)
            if any(email["external_id"] == external_id for email in answer.raise_for_status().json()["emails"]):
                return time.monotonic()
            await asyncio.sleep(_LOOK_SECONDS)
        raise AssertionError(f"{external_id} did not become readable")

    async def latency(self) -> float:
        """Return the seconds from delivery until the message is listed."""
        began = time.monotonic()
        return await self.until_readable(await self.deliver()) - began


async def spaced(readers: list[Reader], *, deliveries: int) -> list[float]:
    """Deliver messages to each mailbox one after the other; mailboxes run concurrently but not in step."""

    async def series(place: int, reader: Reader) -> list[float]:
        await asyncio.sleep(PAUSE * place / len(readers))
        found = []
        for _ in range(deliveries // len(readers)):
            found.append(await reader.latency())
            await asyncio.sleep(PAUSE)
        return found

    found = await asyncio.gather(*(series(place, reader) for place, reader in enumerate(readers)))
    return list(itertools.chain.from_iterable(found))


async def stream(reader: Reader, *, mails: int) -> list[float]:
    """Deliver mail without pauses, faster than the provider announces it."""

    async def follow(number: int) -> float:
        await asyncio.sleep(number * STREAM_INTERVAL)
        return await reader.latency()

    return list(await asyncio.gather(*map(follow, range(mails))))


async def during_own_backfill(person: Person, reader: Reader) -> list[float]:
    """Deliver to a mailbox while all its older mail is fetched."""
    sync = await asyncio.to_thread(person.start_sync)
    found = []
    for _ in range(OWN_BACKFILL_DELIVERIES):
        found.append(await reader.latency())
        await asyncio.sleep(PAUSE)
    report = await asyncio.to_thread(person.get, f"/emails/syncs/{sync['id']}")
    assert report.json()["state"] == "running", "the backfill has ended before its measurement"
    return found


async def measure(
    stack: RunningStack, people: list[Person], others: list[Person], large: Person, *, deliveries: int
) -> list[float]:
    """Measure all situations. Returns the medians that have a goal, and the seconds after the kill."""
    async with (
        httpx.AsyncClient(base_url=stack.sandbox_url, trust_env=False, timeout=30) as sandbox,
        httpx.AsyncClient(base_url=stack.gateway_url, trust_env=False, timeout=30) as gateway,
    ):
        readers = [Reader(person, sandbox=sandbox, gateway=gateway) for person in people]
        idle = await spaced(readers, deliveries=deliveries)
        report("idle", idle, idle)
        streamed = await stream(readers[0], mails=STREAM_MAILS)
        report("stream", streamed, idle)
        for person in others:
            await asyncio.to_thread(person.start_sync)
        busy = await spaced(readers, deliveries=deliveries)
        report("beside a backfill", busy, idle)
        own = await during_own_backfill(large, Reader(large, sandbox=sandbox, gateway=gateway))
        report("own backfill", own, idle)
        killed = await after_kill(stack, readers[0])
        report("after kill -9", [killed], idle)
    return [*map(statistics.median, (idle, streamed, busy, own)), killed]


async def after_kill(stack: RunningStack, reader: Reader) -> float:
    """Kill the only worker during a turn. Returns the seconds from its restart until new mail is listed."""
    stack.kill("worker")
    external_id = await reader.deliver()
    began = time.monotonic()
    starting = asyncio.create_task(asyncio.to_thread(stack.start, "worker"))
    readable = await reader.until_readable(external_id)
    await starting
    return readable - began


def report(situation: str, latencies: list[float], idle: list[float]) -> None:
    """Print a JSON line and a table row."""
    p50, p99 = percentile(latencies, 50), percentile(latencies, 99)
    more = {"p50_minus_idle": p50 - percentile(idle, 50), "p99_minus_idle": p99 - percentile(idle, 99)}
    figures = {"n": len(latencies), "p50": p50, "p99": p99, "max": max(latencies), **more}
    print(json.dumps({"situation": situation, **{name: round(value, 3) for name, value in figures.items()}}))
    print(f"  {situation:18} n {len(latencies):4}  p50 {p50:6.3f} s  p99 {p99:6.3f} s  max {max(latencies):6.3f} s")


def percentile(values: list[float], percent: int) -> float:
    """Return the value below which `percent` of the values lie."""
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


def prepare(stack: RunningStack, http: httpx.Client) -> tuple[list[Person], list[Person], Person]:
    """Return people with small, synced mailboxes, others with large, unsynced ones, and one with a very large one."""
    provider = Provider(stack.sandbox_url)
    people = [Person.sign_in(http, provider.new_user(messages=20)) for _ in range(MAILBOXES)]
    for person in people:
        person.sync()
    others = [Person.sign_in(http, provider.new_user(messages=BACKFILL_MESSAGES)) for _ in range(2)]
    large = Person.sign_in(http, provider.new_user(messages=OWN_BACKFILL_MESSAGES))
    provider.close()
    return people, others, large


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deliveries", type=int, default=200)
    given = parser.parse_args()
    with ExitStack() as started:
        home = Path(started.enter_context(tempfile.TemporaryDirectory(prefix="mailroom-freshness-")))
        stack = started.enter_context(running_stack(home, own_servers=True, SANDBOX_USERS="", LOG_LEVEL="WARNING"))
        http = started.enter_context(httpx.Client(base_url=stack.gateway_url, trust_env=False, timeout=90))
        people, others, large = prepare(stack, http)
        *medians, killed = asyncio.run(measure(stack, people, others, large, deliveries=given.deliveries))
    return int(max(medians) > GOAL_P50 or killed > GOAL_AFTER_KILL)


if __name__ == "__main__":
    sys.exit(main())
