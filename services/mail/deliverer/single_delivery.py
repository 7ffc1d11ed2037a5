"""The delivery of single events apart from their feeds: tests, news of other endpoints, events tried by themselves."""

import random
from collections.abc import Callable
from uuid import UUID

from services.mail.deliverer.feed_run import RunOutcome
from services.mail.deliverer.metrics import DELIVERED, FAILED, DelivererMetrics
from services.mail.deliverer.sender import Sender
from services.mail.ids import PublicIds
from services.mail.model import Measure
from services.mail.store import changes, labels
from services.mail.store.connection import Pool
from services.mail.store.webhooks import deliveries, endpoints, signing_secrets
from services.mail.usage import UsageCounter
from services.mail.webhooks.events import EventWriter
from services.mail.webhooks.health import EndpointHealth
from services.mail.webhooks.model import Attempt, Delivery, DeliveryState, DisabledReason, Event, EventType
from services.mail.webhooks.retries import RetryRules, Verdict, verdict_of
from services.mail.webhooks.secrets import EndpointSecrets

_MEASURES = {DeliveryState.DELIVERED: Measure.DELIVERED, DeliveryState.PARKED: Measure.PARKED}


class SingleDelivery:
    """Delivers events one by one. One that fails is tried on the schedule, and then parked."""

    def __init__(
        self,
        pool: Pool,
        *,
        sender: Sender,
        ids: PublicIds,
        secrets: EndpointSecrets,
        health: EndpointHealth,
        metrics: DelivererMetrics,
        usage: UsageCounter,
        rules: RetryRules,
        lease_seconds: float,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._pool = pool
        self._sender = sender
        self._ids = ids
        self._secrets = secrets
        self._health = health
        self._metrics = metrics
        self._usage = usage
        self._rules = rules
        self._lease_seconds = lease_seconds
        self._draw = draw

    async def run(self, endpoint_id: UUID, delivery_id: int) -> RunOutcome:
        """Try a delivery that is due; nothing happens if another deliverer has it. Raises DecryptionError."""
        async with self._pool.acquire() as connection:
            delivery = await deliveries.claim(connection, endpoint_id, delivery_id, lease_seconds=self._lease_seconds)
        return RunOutcome() if delivery is None else await self._try(endpoint_id, delivery)

    async def _try(self, endpoint_id: UUID, delivery: Delivery) -> RunOutcome:
        async with self._pool.acquire() as connection:
            endpoint = await endpoints.by_id(connection, endpoint_id)
            records = await signing_secrets.live(connection, endpoint_id)
        if endpoint is None:
            return RunOutcome()
        event = await self._event_of(endpoint_id, delivery)
        if event is None:
            async with self._pool.acquire() as connection:
                await deliveries.record(
                    connection, endpoint_id, delivery.delivery_id, None, state=DeliveryState.ABANDONED
                )
            return RunOutcome()
        secrets = [self._secrets.decrypt(record, endpoint_id) for record in records]
        attempt = await self._sender.send(endpoint, event, secrets=secrets)
        verdict = verdict_of(attempt)
        if verdict is Verdict.DELIVERED:
            await self._health.recover(endpoint)
        elif verdict is Verdict.GONE:
            await self._health.disable(endpoint, DisabledReason.GONE)
        await self._record(endpoint_id, delivery, attempt, verdict)
        return RunOutcome(delivered=verdict is Verdict.DELIVERED)

    async def _record(self, endpoint_id: UUID, delivery: Delivery, attempt: Attempt, verdict: Verdict) -> None:
        state, pause = self._settle(verdict, delivery, asked=attempt.retry_after)
        async with self._pool.acquire() as connection:
            await deliveries.record(connection, endpoint_id, delivery.delivery_id, attempt, state=state, pause=pause)
        self._metrics.ended(DELIVERED if verdict is Verdict.DELIVERED else FAILED)
        if delivery.mailbox_id is not None:
            self._usage.count(delivery.mailbox_id, _MEASURES.get(state, Measure.FAILED))

    def _settle(
        self, verdict: Verdict, delivery: Delivery, *, asked: float | None
    ) -> tuple[DeliveryState, float | None]:
        """Return the state after a try, and the seconds until the next one; None: there is none."""
        if verdict is Verdict.DELIVERED:
            return DeliveryState.DELIVERED, None
        if delivery.event_type == EventType.WEBHOOK_TEST:
            # Its sender waits for what came of it.
            return DeliveryState.ABANDONED, None
        if verdict is Verdict.GONE or delivery.tries >= len(self._rules.pauses(verdict)):
            return DeliveryState.PARKED, None
        tries = delivery.tries + 1
        return DeliveryState.FAILING, self._rules.pause(verdict, tries=tries, asked=asked, draw=self._draw)

    async def _event_of(self, endpoint_id: UUID, delivery: Delivery) -> Event | None:
        """Return the event of a delivery; None if its change is not kept any more."""
        event_type = EventType(delivery.event_type)
        mailbox_id, account_id = delivery.mailbox_id, delivery.account_id
        if mailbox_id is None or account_id is None:
            return Event(
                event_id=delivery.event_id, event_type=event_type, timestamp=delivery.created_at, data=delivery.data
            )
        seq, incarnation = delivery.seq or 0, delivery.incarnation or 0
        writer = EventWriter(self._ids, endpoint_id=endpoint_id, mailbox_id=mailbox_id, account_id=account_id)
        chain = delivery.data or writer.chain_of(previous=None, chain_start=False, replayed=True)
        if event_type in (EventType.DISCONNECTED, EventType.RESYNC_REQUIRED):
            return writer.of_end(event_type, seq=seq, incarnation=incarnation, at=delivery.created_at, chain=chain)
        async with self._pool.acquire() as connection:
            found = await changes.to_tell(
                connection,
                mailbox_id,
                account_id=account_id,
                after=seq - 1,
                until=seq,
                live_from=0,
                limit=1,
                label_names=await labels.names(connection, mailbox_id),
            )
        return writer.of_change(found[0], incarnation=incarnation, chain=chain) if found else None
