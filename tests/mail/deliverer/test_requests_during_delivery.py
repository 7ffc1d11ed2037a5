"""Requests of an application while events are under way to its webhook: these are the last ones of what was before."""

import asyncio

import pytest

from services.mail.deliverer.upkeep import erase_webhooks
from services.mail.store.webhooks import chains, endpoints
from services.mail.webhooks.endpoints import RuleChanges
from services.mail.webhooks.model import DeliveryOrder, Endpoint
from tests.mail.deliverer.test_upkeep import rows_of
from tests.support.mail.running_deliverer import RunningDeliverer, WebhookStage
from tests.support.mail.waiting import eventually
from tests.support.mail.webhook_receiver import Receiver, receiving


async def until_held(receiver: Receiver, number: int) -> None:
    """Wait until so many events wait for their answer."""

    async def are_held() -> bool:
        return receiver.at_gate >= number

    await eventually(are_held)


async def until_lost(running: RunningDeliverer) -> None:
    """Wait until a delivery is not recorded, because its cursor was taken."""

    async def is_lost() -> bool:
        return running.count("events_total", outcome="lease_lost") == 1

    await eventually(is_lost)


async def delete(hooks: WebhookStage, endpoint: Endpoint, *, with_application: bool) -> None:
    """Delete a webhook, alone or as the deletion of its application does."""
    if with_application:
        async with hooks.pool.acquire() as connection:
            hidden = await endpoints.hide(connection, hooks.application_id)
            await chains.interrupt(connection, *hidden)
    else:
        await hooks.webhooks.delete(hooks.application_id, endpoint.endpoint_id)


class TestDeletion:
    @pytest.mark.parametrize("with_application", [False, True])
    @pytest.mark.parametrize(("order", "at_once"), [(DeliveryOrder.MAILBOX, 1), (DeliveryOrder.NONE, 4)])
    async def test_lets_nothing_follow(
        self, hooks: WebhookStage, receiver: Receiver, order: DeliveryOrder, at_once: int, *, with_application: bool
    ) -> None:
        mailbox = await hooks.mailbox()
        endpoint = await hooks.endpoint(receiver, order=order)
        async with hooks.deliverer() as running, receiving() as other:

            async def is_tested() -> bool:
                return running.count("events_total", outcome="delivered") == 1

            await eventually(is_tested)
            receiver.gate = asyncio.Event()
            await hooks.change(mailbox, 9)
            await until_held(receiver, at_once)
            await delete(hooks, endpoint, with_application=with_application)
            receiver.gate.set()
            await until_lost(running)
            # The deliverer goes on for others.
            await hooks.endpoint(other)
            await hooks.change(mailbox)
            await other.until(1)
            assert receiver.at_gate == at_once
        await erase_webhooks(hooks.pool)
        assert await rows_of(hooks, endpoint) == {}


class TestChange:
    async def test_of_the_url_lets_nothing_follow_to_the_one_before(
        self, hooks: WebhookStage, receiver: Receiver
    ) -> None:
        mailbox = await hooks.mailbox()
        endpoint = await hooks.endpoint(receiver, event_types=["message.created"])
        receiver.gate = asyncio.Event()
        async with hooks.deliverer(), receiving() as other:
            await hooks.change(mailbox, 3)
            # One of them is the test.
            await until_held(receiver, 2)
            other.secrets = receiver.secrets
            await hooks.webhooks.change(hooks.application_id, endpoint.endpoint_id, RuleChanges(url=other.url))
            receiver.gate.set()
            await other.until(3)
        assert receiver.at_gate == 2
        assert other.broken_chains() == []


class TestRotation:
    async def test_without_overlap_ends_the_secret_before_for_all_that_follows(
        self, hooks: WebhookStage, receiver: Receiver
    ) -> None:
        mailbox = await hooks.mailbox()
        endpoint = await hooks.endpoint(receiver, event_types=["message.created"])
        receiver.gate = asyncio.Event()
        async with hooks.deliverer():
            await hooks.change(mailbox, 3)
            # One of them is the test.
            await until_held(receiver, 2)
            new = await hooks.webhooks.rotate(hooks.application_id, endpoint.endpoint_id, overlap_seconds=0)
            receiver.secrets = [new]
            receiver.gate.set()
            await receiver.until(3)
        assert receiver.refused_signatures == 0
        assert receiver.broken_chains() == []
