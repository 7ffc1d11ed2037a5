"""What applications do with their webhooks."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from uuid import UUID, uuid4

import pytest

from services.kit.errors import AppError
from services.mail.deliverer.upkeep import erase_webhooks
from services.mail.store.webhooks import cursors, deliveries, endpoints, waiting
from services.mail.webhooks.endpoints import RuleChanges, Webhooks
from services.mail.webhooks.model import EndpointRules, EventType
from tests.support.mail.running_deliverer import WebhookStage, endpoint_secrets, webhook_stage
from tests.support.mail.servers import Servers
from tests.support.mail.waiting import eventually

RULES = EndpointRules(url="https://shop.example/hook")


async def refusal(call: object) -> str:
    with pytest.raises(AppError) as raised:
        await call  # type: ignore[misc]
    return raised.value.reason


class TestWebhooks:
    async def test_belong_to_one_application(self, servers: Servers) -> None:
        async with webhook_stage(servers) as hooks:
            endpoint, _ = await hooks.webhooks.create(hooks.application_id, RULES)
            other, named = uuid4(), endpoint.endpoint_id
            webhooks = hooks.webhooks
            assert await webhooks.all_of(other) == []
            for call in (
                webhooks.get(other, named),
                webhooks.change(other, named, RuleChanges(description="mine")),
                webhooks.delete(other, named),
                webhooks.rotate(other, named, overlap_seconds=0),
                webhooks.test(other, named),
                webhooks.enable(other, named),
                webhooks.deliveries(other, named, state=None, before=None, limit=1),
                webhooks.retry(other, named, 1),
                webhooks.replay(other, named, since=endpoint.created_at),
            ):
                assert await refusal(call) == "webhook_not_found"
            assert await webhooks.all_of(hooks.application_id) == [endpoint]

    async def test_are_twenty_at_most(self, servers: Servers) -> None:
        async with webhook_stage(servers) as hooks:
            few = Webhooks(servers.mail_pool, secrets=endpoint_secrets(), allow_http=False, most=2)
            for _ in range(2):
                await few.create(hooks.application_id, RULES)
            assert await refusal(few.create(hooks.application_id, RULES)) == "too_many_webhooks"

    @pytest.mark.parametrize("url", ["http://shop.example/", "https://user@shop.example/", "https://0x7f.1/", "x"])
    async def test_have_no_odd_url(self, servers: Servers, url: str) -> None:
        strict = Webhooks(servers.mail_pool, secrets=endpoint_secrets(), allow_http=False, most=2)
        assert await refusal(strict.create(uuid4(), EndpointRules(url=url))) == "invalid_webhook"

    async def test_want_known_events(self, servers: Servers) -> None:
        async with webhook_stage(servers) as hooks:
            rules = EndpointRules(url=RULES.url, event_types=["message.read"])
            assert await refusal(hooks.webhooks.create(hooks.application_id, rules)) == "invalid_webhook"

    async def test_are_off_without_a_key(self, servers: Servers) -> None:
        off = Webhooks(servers.mail_pool, secrets=None, allow_http=False, most=2)
        assert await refusal(off.create(uuid4(), RULES)) == "webhooks_off"


class TestRotation:
    async def test_keeps_two_secrets_at_most_and_the_old_one_for_a_while(self, servers: Servers) -> None:
        async with webhook_stage(servers) as hooks:
            endpoint, _ = await hooks.webhooks.create(hooks.application_id, RULES)
            for overlap in (3600, 3600):
                await hooks.webhooks.rotate(hooks.application_id, endpoint.endpoint_id, overlap_seconds=overlap)
            assert await live_secrets(hooks) == 2
            await hooks.webhooks.rotate(hooks.application_id, endpoint.endpoint_id, overlap_seconds=0)
            assert await live_secrets(hooks) == 1


async def live_secrets(hooks: WebhookStage) -> int:
    return int(
        await hooks.servers.pool.fetchval(
            "SELECT count(*) FROM webhook_secrets WHERE ends_at IS NULL OR ends_at > now()"
        )
    )


class TestDeletion:
    async def test_hides_a_webhook_at_once(self, servers: Servers) -> None:
        async with webhook_stage(servers) as hooks:
            endpoint, _ = await hooks.webhooks.create(hooks.application_id, RULES)
            kept, _ = await hooks.webhooks.create(hooks.application_id, RULES)
            mailbox = await hooks.mailbox()
            async with hooks.pool.acquire() as connection:
                lease = await cursors.claim(
                    connection, endpoint.endpoint_id, mailbox.mailbox_id, owner=uuid4(), lease_seconds=60
                )
                assert lease is not None
                await hooks.webhooks.delete(hooks.application_id, endpoint.endpoint_id)
                # What is under way is the last that it gets.
                assert not await cursors.skip(connection, lease, seq=1, lease_seconds=60)
                assert await cursors.claim(
                    connection, endpoint.endpoint_id, mailbox.mailbox_id, owner=uuid4(), lease_seconds=60
                ) is None  # fmt: skip
                assert await cursors.opened(connection, lease) is None
                assert await endpoints.by_id(connection, endpoint.endpoint_id) is None
                for found in (
                    await waiting.feeds_of(connection, [mailbox.mailbox_id]),
                    await waiting.feeds(connection, limit=10),
                    await waiting.due_deliveries(connection, limit=10),
                ):
                    assert {each.endpoint_id for each in found} == {kept.endpoint_id}
                assert await waiting.due_feeds(connection, limit=10) == []
            assert await hooks.webhooks.all_of(hooks.application_id) == [kept]
            for call in (hooks.webhooks.get, hooks.webhooks.delete):
                assert await refusal(call(hooks.application_id, endpoint.endpoint_id)) == "webhook_not_found"

    async def test_gives_its_place_to_another(self, servers: Servers) -> None:
        async with webhook_stage(servers) as hooks:
            one = Webhooks(servers.mail_pool, secrets=endpoint_secrets(), allow_http=False, most=1)
            endpoint, _ = await one.create(hooks.application_id, RULES)
            await one.delete(hooks.application_id, endpoint.endpoint_id)
            assert await one.create(hooks.application_id, RULES)


class TestDeliveryUnderWay:
    @pytest.mark.parametrize("request_", ["delete", "disable", "replay"])
    async def test_is_recorded_while_a_request_waits_for_its_cursor(self, servers: Servers, request_: str) -> None:
        async with webhook_stage(servers) as hooks:
            endpoint, _ = await hooks.webhooks.create(hooks.application_id, RULES)
            mailbox, named = await hooks.mailbox(), endpoint.endpoint_id
            requests: dict[str, Callable[[UUID, UUID], Coroutine[object, object, object]]] = {
                "delete": hooks.webhooks.delete,
                "disable": partial(hooks.webhooks.change, changes=RuleChanges(is_enabled=False)),
                "replay": partial(hooks.webhooks.replay, since=endpoint.created_at),
            }
            async with hooks.pool.acquire() as connection, connection.transaction():
                # In the order of the statement that records a delivery: the cursor, then a row that names the webhook.
                assert await cursors.claim(connection, named, mailbox.mailbox_id, owner=uuid4(), lease_seconds=60)
            async with hooks.pool.acquire() as connection, connection.transaction():
                await connection.execute("UPDATE webhook_cursors SET seq = 1 WHERE endpoint_id = $1", named)
                asking = asyncio.create_task(requests[request_](hooks.application_id, named))
                await eventually(lambda: waits_for_a_lock(hooks))
                await deliveries.add(connection, named, event_id="msg_2", event_type="message.created", data={})
            assert await asyncio.wait_for(asking, 30) is None or request_ == "disable"


class TestClaim:
    async def test_before_a_deletion_loses_its_lease(self, servers: Servers) -> None:
        async with webhook_stage(servers) as hooks:
            endpoint, _ = await hooks.webhooks.create(hooks.application_id, RULES)
            mailbox, named = await hooks.mailbox(), endpoint.endpoint_id
            async with hooks.pool.acquire() as connection, connection.transaction():
                assert await cursors.claim(connection, named, mailbox.mailbox_id, owner=uuid4(), lease_seconds=60)
                deleting = asyncio.create_task(hooks.webhooks.delete(hooks.application_id, named))
                await eventually(lambda: waits_for_a_lock(hooks))
            await asyncio.wait_for(deleting, 30)
            assert await hooks.pool.fetchval("SELECT count(lease_until) FROM webhook_cursors") == 0

    async def test_during_a_deletion_gets_none(self, servers: Servers) -> None:
        async with webhook_stage(servers) as hooks, servers.mail_pool.acquire() as other:
            endpoint, _ = await hooks.webhooks.create(hooks.application_id, RULES)
            mailbox, named = await hooks.mailbox(), endpoint.endpoint_id
            async with hooks.pool.acquire() as connection, connection.transaction():
                await endpoints.hide(connection, hooks.application_id)
                claiming = asyncio.create_task(
                    cursors.claim(other, named, mailbox.mailbox_id, owner=uuid4(), lease_seconds=60)
                )
                await eventually(lambda: waits_for_a_lock(hooks))
            assert await asyncio.wait_for(claiming, 30) is None


class TestNewsOfAnother:
    async def test_are_added_while_their_webhook_is_erased(self, servers: Servers) -> None:
        async with webhook_stage(servers) as hooks:
            endpoint, _ = await hooks.webhooks.create(hooks.application_id, RULES)
            event_type = EventType.WEBHOOK_DISABLED.value
            async with hooks.pool.acquire() as connection, connection.transaction():
                [named] = await endpoints.subscribed(connection, hooks.application_id, event_type)
                await hooks.webhooks.delete(hooks.application_id, endpoint.endpoint_id)
                erasing = asyncio.create_task(erase_webhooks(hooks.pool))

                async def waits() -> bool:
                    return erasing.done() or await waits_for_a_lock(hooks)

                await eventually(waits)
                await deliveries.add(connection, named, event_id="msg_2", event_type=event_type, data={})
            await asyncio.wait_for(erasing, 30)
            assert await hooks.pool.fetchval("SELECT count(*) FROM webhook_deliveries") == 0


async def waits_for_a_lock(hooks: WebhookStage) -> bool:
    """Return whether a statement of the database waits for the lock of another one."""
    waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    return bool(await hooks.pool.fetchval(f"SELECT EXISTS ({waiting})"))
