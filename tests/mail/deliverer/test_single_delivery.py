"""Events that are sent by themselves tell how their receiver is, like all others."""

from dataclasses import replace

from tests.mail.deliverer.test_deliverer import until_state
from tests.mail.deliverer.test_order import until_disabled
from tests.support.mail.running_deliverer import QUICK, DelivererOptions, WebhookStage
from tests.support.mail.webhook_receiver import Receiver


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
