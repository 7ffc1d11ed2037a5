"""The health of endpoints: whether an event is parked or its mailbox waits, and when an endpoint is disabled."""

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from uuid import UUID, uuid4

import structlog

from services.mail.store.connection import Pool
from services.mail.store.webhooks import cursors, deliveries, endpoints
from services.mail.webhooks.model import Attempt, CursorLease, DeliveryOrder, DisabledReason, Endpoint, EventType
from services.mail.webhooks.retries import RetryRules, Verdict

# Deliveries that a statement brings forward.
_BATCH = 1_000

log = structlog.get_logger()


class EndpointHealth:
    """Keeps the health of endpoints. `disabled` is called with the reason when one is disabled."""

    def __init__(
        self,
        pool: Pool,
        *,
        rules: RetryRules,
        disabled: Callable[[DisabledReason], None],
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._pool = pool
        self._rules = rules
        self._disabled = disabled
        self._draw = draw

    def pause(self, endpoint: Endpoint, verdict: Verdict, attempt: Attempt, *, tries: int) -> float:
        """Return the seconds until an event is tried again."""
        seen_as = Verdict.DOWN if self._refuses_all(endpoint) else verdict
        return self._rules.pause(seen_as, tries=tries, asked=attempt.retry_after, draw=self._draw)

    async def is_to_be_parked(
        self,
        endpoint: Endpoint,
        verdict: Verdict,
        attempt: Attempt,
        *,
        lease: CursorLease,
        tries: int,
    ) -> bool:
        """Return whether the events after a failed one are delivered first: this one alone does not pass."""
        if verdict is Verdict.REFUSED:
            return tries > len(self._rules.refused) and not self._refuses_all(endpoint)
        failing_since = lease.failing_since
        is_broken = attempt.status is not None and attempt.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        if not is_broken or failing_since is None or lease.claimed_at - failing_since < self._rules.broken_for:
            return False
        async with self._pool.acquire() as connection:
            return await deliveries.has_delivered_since(connection, endpoint.endpoint_id, failing_since)

    def is_to_be_overtaken(self, endpoint: Endpoint, verdict: Verdict, *, others_pass: bool) -> bool:
        """Return whether a failed event is tried by itself: no order is asked for, and the receiver is not down."""
        if endpoint.rules.order is DeliveryOrder.MAILBOX or verdict is Verdict.GONE:
            return False
        return others_pass or not self._refuses_all(endpoint)

    async def recover(self, endpoint: Endpoint) -> Endpoint:
        """Note a delivery: after failures all that waits is due now."""
        if endpoint.failing_since is None and not endpoint.refused_in_row:
            return endpoint
        async with self._pool.acquire() as connection:
            await endpoints.note_success(connection, endpoint.endpoint_id)
            await cursors.wake(connection, endpoint.endpoint_id, down_since=endpoint.failing_since)
        if endpoint.failing_since is not None:
            await self._wake_deliveries(endpoint.endpoint_id, endpoint.failing_since)
        return replace(endpoint, failing_since=None, refused_in_row=0)

    async def _wake_deliveries(self, endpoint_id: UUID, down_since: datetime) -> None:
        has_more = True
        while has_more:
            async with self._pool.acquire() as connection:
                has_more = await deliveries.wake(connection, endpoint_id, down_since=down_since, limit=_BATCH)

    async def note_failure(self, endpoint: Endpoint, verdict: Verdict, *, passed_by: bool, at: datetime) -> Endpoint:
        """Note that an event was not delivered, or that others pass it by; disable the endpoint where it is time.

        `at` is a time of Postgres's clock, which has set all others: that of this machine may be off.
        """
        async with self._pool.acquire() as connection:
            if endpoint.failing_since is None or passed_by:
                await endpoints.note_failure(connection, endpoint.endpoint_id, passed_by=passed_by)
        if verdict is Verdict.GONE:
            await self.disable(endpoint, DisabledReason.GONE)
        elif await self._has_failed_for_too_long(endpoint, at):
            await self.disable(endpoint, DisabledReason.FAILING)
        return replace(
            endpoint,
            failing_since=endpoint.failing_since or at,
            refused_in_row=endpoint.refused_in_row + passed_by,
        )

    def _refuses_all(self, endpoint: Endpoint) -> bool:
        return endpoint.refused_in_row >= self._rules.refused_in_row

    async def _has_failed_for_too_long(self, endpoint: Endpoint, at: datetime) -> bool:
        since = endpoint.failing_since
        if since is None or at - since < self._rules.disable_after:
            return False
        async with self._pool.acquire() as connection:
            # Another deliverer can have noted the failure after a delivery.
            return not await deliveries.has_delivered_since(connection, endpoint.endpoint_id, since)

    async def disable(self, endpoint: Endpoint, reason: DisabledReason) -> None:
        """Disable an endpoint and tell the application's others."""
        async with self._pool.acquire() as connection, connection.transaction():
            if not await endpoints.disable(connection, endpoint.endpoint_id, reason):
                return
            event_type = EventType.WEBHOOK_DISABLED.value
            for other in await endpoints.subscribed(connection, endpoint.application_id, event_type):
                data = {"webhook_id": str(endpoint.endpoint_id), "url": endpoint.rules.url, "reason": reason.value}
                await deliveries.add(connection, other, event_id=f"msg_{uuid4().hex}", event_type=event_type, data=data)
        self._disabled(reason)
        log.error("a webhook is disabled", webhook_id=str(endpoint.endpoint_id), reason=reason.value)
