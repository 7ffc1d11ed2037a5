"""Events that are sent by themselves tell how their receiver is, like all others."""

import asyncio
import json
from dataclasses import replace
from functools import partial

from services.mail.store.webhooks import deliveries, waiting
from services.mail.webhooks.endpoints import RuleChanges
from services.mail.webhooks.model import Endpoint
from tests.mail.deliverer.test_deliverer import until_state
from tests.mail.deliverer.test_order import until_disabled
from tests.mail.deliverer.test_requests_during_delivery import until_held
from tests.support.mail.running_deliverer import QUICK, QUICK_TIMING, DelivererOptions, WebhookStage
from tests.support.mail.waiting import eventually
from tests.support.mail.webhook_receiver import HANG, Receiver, receiving


class TestAnswer:
    async def test_410_disables_the_endpoint(self, hooks: WebhookStage, receiver: Receiver) -> None:
        receiver.answer = lambda _: 410
        endpoint = await hooks.endpoint(receiver)
        async with hooks.deliverer() as running:
            await until_disabled(hooks, endpoint)
            assert running.count("endpoints_disabled_total", reason="gone") == 1

    async def test_200_ends_the_wait_of_all_others(self, hooks: WebhookStage, receiver: Receiver) -> None:
        mailbox = await hooks.mailbox()
        receiver.answer = lambda _: 503
        endpoint = await hooks.endpoint(receiver)
        async with hooks.deliverer(DelivererOptions(rules=replace(QUICK, down=(3600.0,)))):
            await hooks.change(mailbox)
            await until_state(hooks, endpoint, "failing")
            receiver.answer = lambda _: 200
            await hooks.webhooks.test(hooks.application_id, endpoint.endpoint_id)
            await receiver.until(1)


async def add_due(hooks: WebhookStage, endpoint: Endpoint, number: int) -> None:
    """Add so many events that are due apart from their feeds."""
    await hooks.pool.execute(
        """
        INSERT INTO webhook_deliveries (endpoint_id, event_id, event_type, state, due_at, data)
        SELECT $1, 'msg_' || number, 'webhook.disabled', 'failing', now() - interval '1 hour', $3
        FROM generate_series(1, $2) number
        """,
        endpoint.endpoint_id,
        number,
        json.dumps({"webhook_id": str(endpoint.endpoint_id), "url": endpoint.rules.url, "reason": "gone"}),
    )


class TestDueEvents:
    async def test_of_a_disabled_endpoint_wait_and_its_tests_do_not(
        self, hooks: WebhookStage, receiver: Receiver
    ) -> None:
        endpoint = await hooks.endpoint(receiver)
        await hooks.pool.execute("DELETE FROM webhook_deliveries")
        await add_due(hooks, endpoint, 9)
        receiver.gate = asyncio.Event()
        async with hooks.deliverer():
            # The deliverer knows of all others.
            await until_held(receiver, 4)
            named = hooks.application_id, endpoint.endpoint_id
            await hooks.webhooks.change(*named, RuleChanges(is_enabled=False))
            receiver.gate.set()
            await hooks.webhooks.test(*named)

            async def is_tested() -> bool:
                return receiver.received[-1].event_type == "webhook.test"

            await eventually(is_tested)
            assert len(receiver.received) == 5
            await hooks.webhooks.enable(*named)
            await receiver.until(9)

    async def test_of_one_endpoint_keep_back_no_other(self, hooks: WebhookStage, receiver: Receiver) -> None:
        endpoint = await hooks.endpoint(receiver)
        # More than a look finds.
        await add_due(hooks, endpoint, 2_100)
        receiver.gate = asyncio.Event()
        async with hooks.deliverer(DelivererOptions(seconds=600.0, lease_seconds=600.0)) as running:
            await until_held(receiver, 4)
            async with receiving() as other:
                await hooks.endpoint(other)

                async def is_tested() -> bool:
                    return [each.event_type for each in other.received] == ["webhook.test"]

                await eventually(is_tested)
            await running.kill()

    async def test_are_brought_forward_in_batches(self, hooks: WebhookStage, receiver: Receiver) -> None:
        endpoint = await hooks.endpoint(receiver)
        await add_due(hooks, endpoint, 7)
        await hooks.pool.execute("UPDATE webhook_deliveries SET due_at = now() + interval '1 hour'")
        async with hooks.pool.acquire() as connection:
            wake = partial(deliveries.wake, connection, endpoint.endpoint_id, down_since=endpoint.created_at, limit=3)
            assert [await wake() for _ in range(4)] == [True, True, True, False]
            assert len(await waiting.due_deliveries(connection, limit=9)) == 8

    async def test_to_a_receiver_that_hangs_get_one_slot(self, hooks: WebhookStage, receiver: Receiver) -> None:
        receiver.answer = lambda _: HANG
        await add_due(hooks, await hooks.endpoint(receiver), 30)
        async with hooks.deliverer(DelivererOptions(seconds=0.2)) as running:

            async def have_failed() -> bool:
                return running.count("events_total", outcome="failed") >= 4

            await eventually(have_failed)

            async def is_one() -> bool:
                return receiver.waiting == 1

            await eventually(is_one)
            tried, receiver.most_waiting = len(receiver.received), 0

            async def are_tried() -> bool:
                return len(receiver.received) >= tried + 4

            await eventually(are_tried)
            assert receiver.most_waiting == 1

    async def test_wait_for_a_key_that_opens_the_secret(self, hooks: WebhookStage, receiver: Receiver) -> None:
        endpoint = await hooks.endpoint(receiver)
        await add_due(hooks, endpoint, 1)
        kept = await hooks.pool.fetchval("SELECT encrypted FROM webhook_secrets")
        await hooks.pool.execute("UPDATE webhook_secrets SET encrypted = 'under another key'")
        async with hooks.deliverer(DelivererOptions(lease_seconds=0.1)):

            async def are_claimed() -> bool:
                return bool(await hooks.pool.fetchval("SELECT count(lease_until) = 2 FROM webhook_deliveries"))

            await eventually(are_claimed)
            await hooks.pool.execute("UPDATE webhook_secrets SET encrypted = $1", kept)
            await receiver.until(1)
        assert receiver.refused_signatures == 0

    async def test_are_found_by_news(self, hooks: WebhookStage, receiver: Receiver) -> None:
        endpoint = await hooks.endpoint(receiver)
        timing = replace(QUICK_TIMING, look=3600.0, due=3600.0)
        async with hooks.deliverer(DelivererOptions(timing=timing)) as running:

            async def has_begun() -> bool:
                return running.count("listening") == 1 and len(receiver.received) == 1

            await eventually(has_begun)
            await hooks.webhooks.test(hooks.application_id, endpoint.endpoint_id)

            async def is_tested() -> bool:
                return len(receiver.received) == 2

            await eventually(is_tested)
