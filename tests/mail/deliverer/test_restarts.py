"""Deliverers that are killed and started again: the schedule of failed events, and receivers that are down, survive."""

from dataclasses import replace
from datetime import timedelta

from tests.mail.deliverer.test_deliverer import states
from tests.support.mail.running_deliverer import QUICK, DelivererOptions, WebhookStage
from tests.support.mail.waiting import eventually
from tests.support.mail.webhook_receiver import HANG, RESET, Receiver, receiving

MAILBOXES = 12
SLOW = DelivererOptions(rules=replace(QUICK, down=(3600.0,)))


async def fail_all(hooks: WebhookStage, dead: Receiver) -> None:
    """Let an event of each of some mailboxes fail, and kill the deliverer."""
    endpoint = await hooks.endpoint(dead)
    dead.answer = lambda _: RESET
    for _ in range(MAILBOXES):
        await hooks.change(await hooks.mailbox())

    async def have_failed() -> bool:
        return (await states(hooks, endpoint))["failing"] == MAILBOXES

    async with hooks.deliverer(SLOW) as killed:
        await eventually(have_failed)
        await killed.kill()


class TestDeliverersThatStartAgain:
    async def test_keep_to_the_schedule(self, hooks: WebhookStage, receiver: Receiver) -> None:
        async with receiving() as dead:
            await fail_all(hooks, dead)
            tried = len(dead.received)
            await hooks.endpoint(receiver)
            async with hooks.deliverer(SLOW):
                # The deliverer has looked at all endpoints when this one has its event.
                await hooks.change(await hooks.mailbox())
                await receiver.until(1)
            # The new mailbox is none of those that wait.
            assert len(dead.received) - tried <= 1

    async def test_give_one_slot_to_a_receiver_that_is_down(self, hooks: WebhookStage, receiver: Receiver) -> None:
        async with receiving() as dead:
            await fail_all(hooks, dead)
            await hooks.shift("due_at", "webhook_cursors", timedelta(hours=2))
            dead.answer = lambda _: HANG
            await hooks.endpoint(receiver)
            options = DelivererOptions(slots=8, slots_per_endpoint=4, seconds=600.0, lease_seconds=600.0)
            async with hooks.deliverer(options) as running:

                async def hangs() -> bool:
                    return dead.waiting > 0

                await eventually(hangs)
                for _ in range(MAILBOXES):
                    await hooks.change(await hooks.mailbox())
                await receiver.until(MAILBOXES)
                assert dead.most_waiting == 1
                await running.kill()

    async def test_let_receivers_that_are_down_take_turns(self, hooks: WebhookStage, receiver: Receiver) -> None:
        receiver.answer = lambda _: HANG
        await hooks.endpoint(receiver)
        async with receiving() as back:
            await hooks.endpoint(back)
            await hooks.pool.execute("DELETE FROM webhook_deliveries")
            await hooks.pool.execute("UPDATE webhook_endpoints SET failing_since = now()")
            for _ in range(9):
                await hooks.change(await hooks.mailbox())
            # One slot for both, and the first always has events that are due.
            async with hooks.deliverer(DelivererOptions(slots=2, slots_per_endpoint=2, seconds=0.2)):
                await back.until(9)
