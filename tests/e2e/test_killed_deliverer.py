"""A deliverer that ends by kill -9 and is started again, with a Postgres of its own."""

from pathlib import Path

import pytest

from tests.support.e2e.webhook_stack import filled_feeds, webhook_stack
from tests.support.mail.waiting import eventually
from tests.support.mail.webhook_receiver import receiving

pytestmark = pytest.mark.long
MAILBOXES = 10


async def test_leaves_the_schedule_of_failed_events(tmp_path: Path) -> None:
    with webhook_stack(tmp_path, deliverers=1, LOG_LEVEL="WARNING") as (stack, [deliverer]):
        async with filled_feeds(stack) as feeds, receiving() as dead, receiving() as other:
            await feeds.endpoint(dead)
            dead.answer, dead.answer_headers = (lambda _: 503), {"Retry-After": "3600"}
            for _ in range(MAILBOXES):
                await feeds.change(await feeds.mailbox())

            async def have_failed() -> bool:
                waiting: int = await feeds.pool.fetchval(
                    "SELECT count(*) FROM webhook_cursors WHERE due_at > now() + interval '50 minutes'"
                )
                return waiting == MAILBOXES

            await eventually(have_failed, within=60)
            tried = len(dead.received)
            stack.kill(deliverer)
            await feeds.endpoint(other)
            stack.start(deliverer)

            async def is_at_work() -> bool:
                return [each.event_type for each in other.taken] == ["webhook.test"]

            await eventually(is_at_work, within=60)
            assert len(dead.received) == tried
            assert await have_failed()
