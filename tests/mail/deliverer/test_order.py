"""Events that are delivered in any order: several at a time, none behind one that fails, and none lost."""

import random
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from services.mail.webhooks.endpoints import RuleChanges
from services.mail.webhooks.model import DeliveryOrder, Endpoint
from tests.mail.deliverer.test_deliverer import refusing, states, until_caught_up, until_state
from tests.support.mail.running_deliverer import QUICK, DelivererOptions, WebhookStage
from tests.support.mail.waiting import eventually
from tests.support.mail.webhook_receiver import HANG, RESET, Received, Receiver

_HOUR = 3600.0
SLOW = replace(QUICK, down=(_HOUR,) * 3, refused=(_HOUR,) * 2)


def place_of(event: Received) -> dict[str, Any]:
    """Return what an event says of its place in the chain."""
    return {name: event.data[name] for name in ("position", "previous_position", "chain_start", "replayed")}


def missing_links(events: list[Received]) -> list[str]:
    """Return the previous positions of events that no event is at, and that begin no chain."""
    positions = {each.data["position"] for each in events}
    return [
        each.data["previous_position"]
        for each in events
        if not each.data["chain_start"] and each.data["previous_position"] not in positions
    ]


class TestSeveralEvents:
    @pytest.mark.parametrize(("order", "at_once"), [(DeliveryOrder.NONE, 4), (DeliveryOrder.MAILBOX, 1)])
    async def test_are_under_way_within_the_slots_of_the_endpoint(
        self, hooks: WebhookStage, receiver: Receiver, order: DeliveryOrder, at_once: int
    ) -> None:
        mailbox = await hooks.mailbox()
        await hooks.endpoint(receiver, order=order)
        receiver.answer = lambda event: HANG if event.mailbox else 200
        async with hooks.deliverer(DelivererOptions(seconds=600.0, lease_seconds=600.0)) as running:

            async def is_free() -> bool:
                return running.count("events_total", outcome="delivered") == 1

            # The test of the new endpoint has had a slot.
            await eventually(is_free)
            await hooks.change(mailbox, 9)

            async def hang() -> bool:
                return receiver.waiting == at_once

            await eventually(hang)
            # Where more were allowed, they would have been sent with the others.
            assert len([each for each in receiver.received if each.mailbox]) == at_once
            await running.kill()

    async def test_all_arrive_once_and_name_each_other(self, hooks: WebhookStage, receiver: Receiver) -> None:
        mailbox = await hooks.mailbox()
        endpoint = await hooks.endpoint(receiver, order=DeliveryOrder.NONE)
        await hooks.change(mailbox, 230)
        async with hooks.deliverer():
            await receiver.until(230)
            await until_caught_up(hooks, mailbox)
        assert await states(hooks, endpoint) == {"delivered": 230}
        assert receiver.repeated() == {}
        assert missing_links(receiver.of(str(mailbox.account_id))) == []


class TestFailedEvent:
    @pytest.mark.parametrize("status", [400, 500, RESET])
    async def test_keeps_no_other_back_and_is_tried_by_itself(
        self, hooks: WebhookStage, receiver: Receiver, status: int
    ) -> None:
        mailbox = await hooks.mailbox()
        endpoint = await hooks.endpoint(receiver, order=DeliveryOrder.NONE)
        [failing] = await hooks.change(mailbox)
        receiver.answer = refusing(failing, status=status)
        async with hooks.deliverer(DelivererOptions(rules=SLOW)):
            await until_state(hooks, endpoint, "failing")
            await hooks.change(mailbox, 3)
            await receiver.until(3)
            await until_caught_up(hooks, mailbox)
            assert await states(hooks, endpoint) == {"failing": 1, "delivered": 3}
            receiver.answer = lambda _: 200

            async def is_taken() -> bool:
                # A try that was under way before has set another time.
                await hooks.shift("due_at", "webhook_deliveries", timedelta(hours=2))
                return len(receiver.types()) == 4

            await eventually(is_taken)
        tries = [each for each in receiver.received if each.event_id == receiver.taken[-1].event_id]
        assert {each.status for each in tries} == {status, 200}
        # Only so the receiver sees that nothing is missing.
        assert all(place_of(each) == place_of(tries[0]) for each in tries)
        assert missing_links(receiver.of(str(mailbox.account_id))) == []

    async def test_is_parked_after_three_refusals(self, hooks: WebhookStage, receiver: Receiver) -> None:
        mailbox = await hooks.mailbox()
        endpoint = await hooks.endpoint(receiver, order=DeliveryOrder.NONE)
        [refused, *_] = await hooks.change(mailbox, 3)
        receiver.answer = refusing(refused, status=400)
        async with hooks.deliverer():
            await until_state(hooks, endpoint, "parked")
            await until_caught_up(hooks, mailbox)
        assert await states(hooks, endpoint) == {"parked": 1, "delivered": 2}
        assert len([each for each in receiver.received if each.status == 400]) == 3
        assert len(missing_links(receiver.of(str(mailbox.account_id)))) == 1


class TestDownReceiver:
    async def test_keeps_events_in_the_feed_and_gets_all_when_it_is_back(
        self, hooks: WebhookStage, receiver: Receiver
    ) -> None:
        one, other = await hooks.mailbox(), await hooks.mailbox()
        endpoint = await hooks.endpoint(receiver, order=DeliveryOrder.NONE)
        receiver.answer = lambda _: 503
        await hooks.change(one, 40)
        async with hooks.deliverer(DelivererOptions(rules=SLOW)):

            async def waits() -> bool:
                return bool(await hooks.pool.fetchval("SELECT bool_or(due_at > now()) FROM webhook_cursors"))

            await eventually(waits)
            # Three by themselves, and the one at the cursor.
            assert await states(hooks, endpoint) == {"failing": 4}
            receiver.answer = lambda _: 200
            await hooks.change(other)
            # Nothing waits for its hour.
            await receiver.until(41)
        assert missing_links(receiver.taken[-41:]) == []
        assert receiver.repeated() == {}

    async def test_that_is_gone_is_disabled(self, hooks: WebhookStage, receiver: Receiver) -> None:
        mailbox = await hooks.mailbox()
        endpoint = await hooks.endpoint(receiver, order=DeliveryOrder.NONE)
        receiver.answer = lambda event: 410 if event.mailbox else 200
        await hooks.change(mailbox, 2)
        async with hooks.deliverer():
            await until_disabled(hooks, endpoint)
        assert await states(hooks, endpoint) == {"failing": 1}


class TestChangedOrder:
    async def test_begins_a_new_chain(self, hooks: WebhookStage, receiver: Receiver) -> None:
        mailbox = await hooks.mailbox()
        endpoint = await hooks.endpoint(receiver)
        async with hooks.deliverer():
            await hooks.change(mailbox)
            await receiver.until(1)
            await until_caught_up(hooks, mailbox)
            changed = await hooks.webhooks.change(
                hooks.application_id, endpoint.endpoint_id, RuleChanges(order=DeliveryOrder.NONE)
            )
            assert changed.rules.order is DeliveryOrder.NONE
            await hooks.change(mailbox)
            await receiver.until(2)
        assert [each.data["chain_start"] for each in receiver.of(str(mailbox.account_id))] == [True, True]


class TestKilledDeliverers:
    async def test_lose_nothing_under_a_receiver_with_faults(self, hooks: WebhookStage, receiver: Receiver) -> None:
        chosen = random.Random(5)
        receiver.answer = lambda _: chosen.choice([200, 200, 200, 200, 500, 400, RESET])
        mailboxes = [await hooks.mailbox() for _ in range(3)]
        await hooks.endpoint(receiver, order=DeliveryOrder.NONE)
        for place in range(5):
            async with hooks.deliverer() as killed, hooks.deliverer():
                for mailbox in mailboxes:
                    await hooks.change(mailbox, 12)
                await receiver.until(15 * (place + 1))
                await killed.kill()
        receiver.answer = lambda _: 200
        async with hooks.deliverer():
            await until_none_is_tried_again(hooks)
            await retry_parked(hooks)
            await receiver.until(3 * 60)
        for mailbox in mailboxes:
            assert missing_links(receiver.of(str(mailbox.account_id))) == []
        assert Counter(each.mailbox for each in receiver.taken if each.mailbox) == {
            str(mailbox.account_id): 60 for mailbox in mailboxes
        }


async def until_disabled(hooks: WebhookStage, endpoint: Endpoint) -> None:
    """Wait until an endpoint is disabled since it is gone."""

    async def is_gone() -> bool:
        found = await hooks.webhooks.get(hooks.application_id, endpoint.endpoint_id)
        return found.disabled_reason == "gone"

    await eventually(is_gone)


async def until_none_is_tried_again(hooks: WebhookStage) -> None:
    """Wait until cursors are at their heads, and no delivery is due by itself."""

    async def is_done() -> bool:
        return bool(
            await hooks.pool.fetchval(
                """
                SELECT NOT EXISTS (SELECT FROM webhook_deliveries WHERE due_at IS NOT NULL) AND NOT EXISTS (
                    SELECT FROM webhook_cursors c JOIN feed_heads h USING (mailbox_id) WHERE c.seq < h.seq)
                """
            )
        )

    await eventually(is_done)


async def retry_parked(hooks: WebhookStage) -> None:
    """Have the events delivered that were refused three times."""
    await hooks.pool.execute("UPDATE webhook_deliveries SET due_at = now() WHERE state = 'parked'")
