"""The stage and the receiver of tests of deliverers."""

from collections.abc import AsyncIterator

import pytest

from tests.support.mail.running_deliverer import WebhookStage, webhook_stage
from tests.support.mail.servers import Servers
from tests.support.mail.webhook_receiver import Receiver, receiving


@pytest.fixture
async def hooks(servers: Servers) -> AsyncIterator[WebhookStage]:
    """Yield an application without mailboxes and webhooks."""
    async with webhook_stage(servers) as stage:
        yield stage


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Yield a receiver that takes everything."""
    async with receiving() as receiver:
        yield receiver
