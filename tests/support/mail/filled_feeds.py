"""Feeds that a test or a benchmark fills itself, and endpoints that get their events."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from services.mail import events
from services.mail.model import DEFAULT_APPLICATION, Mailbox
from services.mail.store import changes
from services.mail.store.connection import Pool
from services.mail.webhooks.endpoints import Webhooks
from services.mail.webhooks.model import DeliveryOrder, Endpoint, EndpointRules
from tests.support.mail.stored import add_mailbox, store
from tests.support.mail.webhook_receiver import Receiver


@dataclass(kw_only=True)
class FilledFeeds:
    """The mailboxes and the endpoints of an application. `pool` enters mail's database as its owner."""

    pool: Pool
    webhooks: Webhooks
    application_id: UUID = DEFAULT_APPLICATION
    _messages: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    async def mailbox(self, *, is_live: bool = True) -> Mailbox:
        """Add a mailbox; its first sync has ended if it `is_live`."""
        async with self.pool.acquire() as connection:
            mailbox = await add_mailbox(connection, email=f"ada{uuid4().hex}@example.com")
            await store(connection, mailbox.mailbox_id, "first")
            if is_live:
                await changes.go_live(connection, mailbox.mailbox_id)
            await events.announce(connection, mailbox.mailbox_id)
        return mailbox

    async def change(self, mailbox: Mailbox, number: int = 1) -> list[str]:
        """Store so many new messages, each a change, and announce them as a turn does; return their external ids."""
        ids = [f"m{next(self._messages)}" for _ in range(number)]
        async with self.pool.acquire() as connection:
            await store(connection, mailbox.mailbox_id, *ids)
            await events.announce(connection, mailbox.mailbox_id)
        return ids

    async def endpoint(
        self,
        receiver: Receiver,
        *,
        event_types: Sequence[str] = (),
        account_ids: Sequence[UUID] | None = None,
        backfill: bool = False,
        order: DeliveryOrder = DeliveryOrder.MAILBOX,
    ) -> Endpoint:
        """Make an endpoint of the receiver, which verifies what it gets."""
        rules = EndpointRules(
            url=receiver.url, event_types=event_types, account_ids=account_ids, backfill=backfill, order=order
        )
        endpoint, secret = await self.webhooks.create(self.application_id, rules)
        receiver.secrets = [secret]
        return endpoint
