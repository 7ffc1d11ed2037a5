"""Latency and cost of webhooks: from the commit of a change to its receiver, at 100 changes per second.

Real Postgres and deliverer; this process commits the changes, one mailbox each, and is the receiver, which verifies
signatures. CPU is that of the deliverer and of Postgres, the writes of the changes included. A bare commit is measured
in the same run: CPU is dearer on a machine that others use. Prints a JSON line and a table; exits 1 above a goal.
"""

import argparse
import asyncio
import itertools
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from benchmarks.process_cpu import cpu_seconds
from services.mail import events
from services.mail.model import LabelChange, Mailbox
from services.mail.store import message_labels
from tests.support.e2e.running_stack import RunningStack
from tests.support.e2e.webhook_stack import filled_feeds, webhook_stack
from tests.support.mail.filled_feeds import FilledFeeds
from tests.support.mail.waiting import eventually
from tests.support.mail.webhook_receiver import Receiver, receiving

GOAL_P50, GOAL_P95 = 0.3, 1.0
_MAILBOXES = 200
_WARM_UP_SECONDS = 3.0
# Changes that are committed at a time.
_WRITERS = 40
_PATIENCE = 60.0
_versions = itertools.count(10)


async def measure(stack: RunningStack, *, rate: float, seconds: float) -> dict[str, float]:
    """Commit changes at this rate and wait for their events. Returns latencies in seconds and CPU in milliseconds."""
    async with filled_feeds(stack, connections=_WRITERS) as feeds, receiving() as receiver:
        mailboxes = [await feeds.mailbox() for _ in range(_MAILBOXES)]
        await feeds.endpoint(receiver)
        await commit(feeds, mailboxes, rate=rate, seconds=_WARM_UP_SECONDS)
        begun = cpu(stack)
        spent = await commit(feeds, mailboxes, rate=rate, seconds=seconds)
        # A change that was overtaken by a later one of its message is none. Each feed began with one.
        committed: int = await feeds.pool.fetchval("SELECT sum(seq)::bigint FROM feed_heads") - _MAILBOXES

        async def are_delivered() -> bool:
            # The first one is the test of the new endpoint.
            return len(receiver.received) > committed

        await eventually(are_delivered, within=_PATIENCE)
        ended = cpu(stack)
        bare = await measure_bare(stack, feeds)
    late = latencies(receiver)[int(rate * _WARM_UP_SECONDS) :]
    used = {name: 1000 * (ended[name] - begun[name]) / len(late) for name in begun}
    return {
        "n": len(late),
        "p50": percentile(late, 50),
        "p95": percentile(late, 95),
        "max": max(late),
        "rate": len(late) / spent,
        **{f"ms {name}": value for name, value in used.items()},
        "ms bare commit": bare,
    }


async def commit(feeds: FilledFeeds, mailboxes: Sequence[Mailbox], *, rate: float, seconds: float) -> float:
    """Commit one change after the other at this rate, in mailboxes at random; return how long it took."""
    began = time.monotonic()
    chosen = random.Random(1)
    writes: set[asyncio.Task[None]] = set()
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
        write = asyncio.create_task(change(feeds, chosen.choice(mailboxes)))
        writes.add(write)
        write.add_done_callback(writes.discard)
    await asyncio.gather(*writes)
    return time.monotonic() - began


async def change(feeds: FilledFeeds, mailbox: Mailbox) -> None:
    """Give the message of a mailbox a label or take it off, which costs this process little, and announce it."""
    number = next(_versions)
    label = frozenset({"L"})
    added, removed = (label, frozenset[str]()) if number % 2 else (frozenset[str](), label)
    changed = LabelChange(version=number, added=added, removed=removed)
    async with feeds.pool.acquire() as connection, connection.transaction():
        await message_labels.change(connection, mailbox.mailbox_id, {"first": [changed]})
        await events.announce(connection, mailbox.mailbox_id)


async def measure_bare(stack: RunningStack, feeds: FilledFeeds) -> float:
    """Return the milliseconds of CPU of Postgres for a commit of one row."""
    number = 500
    begun = cpu(stack)["postgres"]
    async with feeds.pool.acquire() as connection:
        for _ in range(number):
            await connection.execute("UPDATE webhook_endpoints SET description = description")
    return 1000 * (cpu(stack)["postgres"] - begun) / number


def cpu(stack: RunningStack) -> dict[str, float]:
    """Return the CPU seconds so far of the deliverer and of Postgres."""
    return {
        "deliverer": cpu_seconds(stack.pid("deliverer")),
        "postgres": cpu_seconds(stack.servers["postgres"].pid or 0),
    }


def latencies(receiver: Receiver) -> list[float]:
    """Return the seconds from each change to its event, in the order of their arrival."""
    return [each.at - datetime.fromisoformat(each.timestamp).timestamp() for each in receiver.taken if each.mailbox]


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the value below which `percent` of the values lie."""
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=100, help="changes per second")
    parser.add_argument("--seconds", type=float, default=20)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="mailroom-webhooks-") as folder,
        webhook_stack(Path(folder), deliverers=1, LOG_LEVEL="WARNING") as (stack, _),
    ):
        figures = asyncio.run(measure(stack, rate=given.rate, seconds=given.seconds))
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))
    print("".join(f"  {name:18} {value:9.3f}\n" for name, value in figures.items()))
    return int(figures["p50"] > GOAL_P50 or figures["p95"] > GOAL_P95)


if __name__ == "__main__":
    sys.exit(main())
