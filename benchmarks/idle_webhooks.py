"""Cost of webhooks at rest: the CPU of a deliverer and of Postgres while no mailbox changes.

Real Postgres and deliverer. Each endpoint has a cursor at the head of each feed, as after a day of deliveries. Prints a
JSON line; exits 1 above the goal, which is one for a single endpoint.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path

from benchmarks.webhook_latency import cpu
from tests.support.e2e.running_stack import RunningStack
from tests.support.e2e.webhook_stack import filled_feeds, webhook_stack
from tests.support.mail.filled_feeds import FilledFeeds
from tests.support.mail.waiting import eventually
from tests.support.mail.webhook_receiver import receiving

# Percent of a core.
GOAL = 1.0
_PATIENCE = 120.0


async def measure(stack: RunningStack, *, mailboxes: int, endpoints: int, seconds: float) -> dict[str, float]:
    """Return percents of a core, by process."""
    async with filled_feeds(stack) as feeds, receiving() as receiver:
        await fill(feeds, mailboxes)
        for _ in range(endpoints):
            await feeds.endpoint(receiver)
        await feeds.pool.execute(
            """
            INSERT INTO webhook_cursors (endpoint_id, mailbox_id, seq, previous_seq)
            SELECT endpoint_id, mailbox_id, 1, 1 FROM webhook_endpoints CROSS JOIN feed_heads
            """
        )
        await feeds.pool.execute("VACUUM ANALYZE")

        async def are_tested() -> bool:
            return bool(
                await feeds.pool.fetchval("SELECT NOT EXISTS (SELECT FROM webhook_deliveries WHERE due_at IS NOT NULL)")
            )

        await eventually(are_tested, within=_PATIENCE)
        begun = cpu(stack)
        await asyncio.sleep(seconds)
        ended = cpu(stack)
    return {name: 100 * (ended[name] - begun[name]) / seconds for name in begun}


async def fill(feeds: FilledFeeds, mailboxes: int) -> None:
    """Add the heads of feeds, which is all that deliverers look at."""
    await feeds.pool.execute(
        """
        INSERT INTO feed_heads (mailbox_id, account_id, application_id, seq, incarnation, moved_at)
        SELECT number, gen_random_uuid(), $1, 1, 1, now() - interval '1 day' FROM generate_series(1, $2) number
        """,
        feeds.application_id,
        mailboxes,
    )


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mailboxes", type=int, default=10_000)
    parser.add_argument("--endpoints", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="mailroom-webhooks-") as folder,
        webhook_stack(Path(folder), deliverers=1, LOG_LEVEL="WARNING") as (stack, _),
    ):
        figures = asyncio.run(
            measure(stack, mailboxes=given.mailboxes, endpoints=given.endpoints, seconds=given.seconds)
        )
    print(json.dumps({name: round(value, 2) for name, value in figures.items()}))
    return int(given.endpoints == 1 and sum(figures.values()) > GOAL)


if __name__ == "__main__":
    sys.exit(main())
