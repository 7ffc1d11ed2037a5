"""What applications do with their webhooks."""

from uuid import uuid4

import pytest

from services.kit.errors import AppError
from services.mail.webhooks.endpoints import RuleChanges, Webhooks
from services.mail.webhooks.model import EndpointRules
from tests.support.mail.running_deliverer import WebhookStage, endpoint_secrets, webhook_stage
from tests.support.mail.servers import Servers

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
