"""Signatures of deliveries on their way, verified by the reference libraries, while a secret is rotated."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks.webhooks import Webhook as Standard
from svix.webhooks import Webhook as Svix

from tests.support.mail.running_deliverer import DelivererOptions, WebhookStage
from tests.support.mail.webhook_receiver import Received, Receiver

type Library = Callable[[str], Standard | Svix]
LIBRARIES: list[Library] = [Standard, Svix]


async def delivered(hooks: WebhookStage, receiver: Receiver, options: DelivererOptions | None = None) -> Received:
    """Return a delivery of a change."""
    mailbox = await hooks.mailbox()
    number = len(receiver.types())
    async with hooks.deliverer(options):
        await hooks.change(mailbox)
        await receiver.until(number + 1)
    return receiver.of(str(mailbox.account_id))[0]


@pytest.mark.parametrize("library", LIBRARIES)
class TestRotation:
    async def test_signs_with_both_secrets_and_then_with_the_new_one(
        self, hooks: WebhookStage, receiver: Receiver, library: Library
    ) -> None:
        endpoint = await hooks.endpoint(receiver)
        [old] = receiver.secrets
        new = await hooks.webhooks.rotate(hooks.application_id, endpoint.endpoint_id, overlap_seconds=3600)
        receiver.secrets = []
        event = await delivered(hooks, receiver)
        for secret in (old, new):
            library(secret).verify(event.body, event.headers)
        await hooks.shift("ends_at", "webhook_secrets", timedelta(hours=1))
        event = await delivered(hooks, receiver)
        library(new).verify(event.body, event.headers)
        with pytest.raises(Exception, match="signature"):
            library(old).verify(event.body, event.headers)

    async def test_leaves_no_changed_byte_and_no_old_time_through(
        self, hooks: WebhookStage, receiver: Receiver, library: Library
    ) -> None:
        await hooks.endpoint(receiver)
        [secret], receiver.secrets = receiver.secrets, []
        event = await delivered(hooks, receiver)
        changed = event.body.replace(b"message.created", b"message.createe")
        with pytest.raises(Exception, match="signature"):
            library(secret).verify(changed, event.headers)
        late = DelivererOptions(now=lambda: datetime.now(UTC) - timedelta(minutes=5, seconds=1))
        event = await delivered(hooks, receiver, late)
        with pytest.raises(Exception, match="timestamp"):
            library(secret).verify(event.body, event.headers)
