"""What deliverers count of events."""

from services.mail.model import Measure
from tests.support.mail.running_deliverer import QUICK, WebhookStage
from tests.support.mail.usage import counted
from tests.support.mail.waiting import eventually
from tests.support.mail.webhook_receiver import Receiver


async def counts(hooks: WebhookStage, *measures: Measure) -> list[int]:
    """Return counts of the application."""
    return [await counted(hooks.servers.pool, measure) for measure in measures]


async def test_events_of_mailboxes_are_counted_by_what_came_of_them(hooks: WebhookStage, receiver: Receiver) -> None:
    mailbox = await hooks.mailbox()
    await hooks.endpoint(receiver)
    async with hooks.deliverer() as running:
        await hooks.change(mailbox, 3)
        await receiver.until(3)
        receiver.answer = lambda _: 400
        await hooks.change(mailbox)

        async def is_parked() -> bool:
            return running.count("events_total", outcome="parked") == 1

        await eventually(is_parked)
    # The test with which the endpoint began is of no mailbox.
    assert await counts(hooks, Measure.DELIVERED, Measure.FAILED, Measure.PARKED) == [3, len(QUICK.refused), 1]


async def test_an_event_that_is_tried_again_by_itself_is_counted(hooks: WebhookStage, receiver: Receiver) -> None:
    mailbox = await hooks.mailbox()
    endpoint = await hooks.endpoint(receiver)
    async with hooks.deliverer() as running:
        await hooks.change(mailbox)
        await receiver.until(1)

        async def delivery_id() -> int | None:
            found: int | None = await hooks.pool.fetchval(
                "SELECT delivery_id FROM webhook_deliveries WHERE mailbox_id IS NOT NULL AND state = 'delivered'"
            )
            return found

        async def is_recorded() -> bool:
            return await delivery_id() is not None

        await eventually(is_recorded)
        await hooks.webhooks.retry(hooks.application_id, endpoint.endpoint_id, await delivery_id() or 0)

        async def is_sent_again() -> bool:
            return running.count("events_total", outcome="delivered") == 3

        await eventually(is_sent_again)
    assert await counts(hooks, Measure.DELIVERED) == [2]
