"""What applications do with their webhooks: endpoints, secrets, tests, deliveries, replays."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from services.kit.errors import AppError, Kind
from services.kit.url_guard.destination import UnfitUrlError, parse
from services.mail.ids import FeedPosition
from services.mail.store.connection import Connection, Pool
from services.mail.store.webhooks import chains, cursors, deliveries, signing_secrets
from services.mail.store.webhooks import endpoints as store
from services.mail.webhooks.model import (
    SELECTABLE,
    Delivery,
    DeliveryOrder,
    DeliveryState,
    DisabledReason,
    Endpoint,
    EndpointRules,
    EventType,
)
from services.mail.webhooks.secrets import EndpointSecrets

# Of mailboxes that an endpoint is limited to, and of a page of deliveries.
MOST_MAILBOXES = 1_000
LARGEST_PAGE = 200
# Seconds for which an earlier secret signs on.
LONGEST_OVERLAP = 7 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleChanges:
    """What is to be another one of an endpoint; None leaves it. `all_mailboxes` ends the limit to some."""

    url: str | None = None
    event_types: Sequence[str] | None = None
    account_ids: Sequence[UUID] | None = None
    all_mailboxes: bool = False
    description: str | None = None
    order: DeliveryOrder | None = None
    is_enabled: bool | None = None


class Webhooks:
    """The webhooks of applications. Without `secrets` no endpoint can be made."""

    def __init__(
        self,
        pool: Pool,
        *,
        secrets: EndpointSecrets | None,
        allow_http: bool,
        most: int,
        new_id: Callable[[], UUID] = uuid4,
    ) -> None:
        self._pool = pool
        self._secrets = secrets
        self._allow_http = allow_http
        self._most = most
        self._new_id = new_id

    async def create(self, application_id: UUID, rules: EndpointRules) -> tuple[Endpoint, str]:
        """Make an endpoint; return it with its secret, which is not shown again.

        The first event is a test. Raises AppError webhooks_off, invalid_webhook, too_many_webhooks.
        """
        secrets = self._secrets_or_raise()
        self._check(rules)
        secret = secrets.make()
        async with self._pool.acquire() as connection, connection.transaction():
            await store.lock_application(connection, application_id)
            if await store.count(connection, application_id) >= self._most:
                raise AppError(Kind.CONFLICT, "too_many_webhooks", f"An application has {self._most} webhooks at most.")
            endpoint = await store.add(connection, self._new_id(), application_id, rules)
            encrypted = secrets.encrypt(secret, endpoint.endpoint_id)
            await signing_secrets.add(connection, endpoint.endpoint_id, encrypted)
            await _add_test(connection, endpoint.endpoint_id)
        return endpoint, secret

    async def all_of(self, application_id: UUID) -> list[Endpoint]:
        """Return the endpoints of an application, oldest first."""
        async with self._pool.acquire() as connection:
            return await store.of_application(connection, application_id)

    async def get(self, application_id: UUID, endpoint_id: UUID) -> Endpoint:
        """Return an endpoint. Raises AppError webhook_not_found."""
        async with self._pool.acquire() as connection:
            return await _find(connection, application_id, endpoint_id)

    async def change(self, application_id: UUID, endpoint_id: UUID, changes: RuleChanges) -> Endpoint:
        """Change an endpoint. Where other events or mailboxes, or another order, are asked for, new chains begin.

        A disabled one goes on where it stopped once it is enabled.

        Raises AppError webhook_not_found, invalid_webhook.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            endpoint = await _find(connection, application_id, endpoint_id, lock=True)
            before = endpoint.rules
            rules = _changed(before, changes)
            self._check(rules)
            await store.change(connection, endpoint_id, rules)
            if rules.account_ids != before.account_ids:
                await chains.begin_waiting(connection, endpoint)
                await store.start_now(connection, endpoint_id)
            if _chain_of(rules) != _chain_of(before):
                await chains.rebegin(connection, endpoint_id, account_ids=rules.account_ids)
            elif rules.url != before.url:
                # Deliverers that have the URL before go on with the new one.
                await chains.interrupt(connection, endpoint_id)
            if changes.is_enabled is not None:
                await _set_enabled(connection, endpoint_id, is_enabled=changes.is_enabled)
            return await _find(connection, application_id, endpoint_id)

    async def delete(self, application_id: UUID, endpoint_id: UUID) -> None:
        """Delete an endpoint: it is hidden at once and erased by deliverers. Raises AppError webhook_not_found."""
        async with self._pool.acquire() as connection, connection.transaction():
            await _find(connection, application_id, endpoint_id, lock=True)
            hidden = await store.hide(connection, application_id, endpoint_id)
            await chains.interrupt(connection, *hidden)

    async def rotate(self, application_id: UUID, endpoint_id: UUID, *, overlap_seconds: float) -> str:
        """Return a new secret; the one before signs beside it for so many seconds.

        Raises AppError webhooks_off, webhook_not_found, invalid_webhook.
        """
        secrets = self._secrets_or_raise()
        if not 0 <= overlap_seconds <= LONGEST_OVERLAP:
            raise _invalid(f"overlap_seconds is 0 to {LONGEST_OVERLAP}.")
        secret = secrets.make()
        async with self._pool.acquire() as connection, connection.transaction():
            await _find(connection, application_id, endpoint_id, lock=True)
            await signing_secrets.end(connection, endpoint_id, after_seconds=overlap_seconds)
            await signing_secrets.add(connection, endpoint_id, secrets.encrypt(secret, endpoint_id))
            if not overlap_seconds:
                # Deliverers that have the secret before go on with the new one.
                await chains.interrupt(connection, endpoint_id)
        return secret

    async def test(self, application_id: UUID, endpoint_id: UUID) -> Delivery:
        """Have a test delivered, also to an endpoint that is disabled. Raises AppError webhook_not_found."""
        async with self._pool.acquire() as connection, connection.transaction():
            await _find(connection, application_id, endpoint_id, lock=True)
            return await _add_test(connection, endpoint_id)

    async def enable(self, application_id: UUID, endpoint_id: UUID) -> Endpoint:
        """Enable an endpoint: it goes on where it stopped. Raises AppError webhook_not_found."""
        async with self._pool.acquire() as connection, connection.transaction():
            await _find(connection, application_id, endpoint_id, lock=True)
            await _set_enabled(connection, endpoint_id, is_enabled=True)
            return await _find(connection, application_id, endpoint_id)

    async def deliveries(
        self, application_id: UUID, endpoint_id: UUID, *, state: DeliveryState | None, before: int | None, limit: int
    ) -> list[Delivery]:
        """Return deliveries, the newest first. Raises AppError webhook_not_found."""
        async with self._pool.acquire() as connection:
            await _find(connection, application_id, endpoint_id)
            return await deliveries.page(connection, endpoint_id, state=state, before=before, limit=limit)

    async def retry(self, application_id: UUID, endpoint_id: UUID, delivery_id: int) -> Delivery:
        """Have an event delivered once more, apart from its chain.

        Raises AppError webhook_not_found, delivery_not_found.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            await _find(connection, application_id, endpoint_id, lock=True)
            delivery = await deliveries.retry(connection, endpoint_id, delivery_id)
        if delivery is None:
            raise AppError(Kind.NOT_FOUND, "delivery_not_found", "There is no such delivery.")
        return delivery

    async def replay(self, application_id: UUID, endpoint_id: UUID, *, since: FeedPosition | datetime) -> None:
        """Deliver once more what came after a position, of its mailbox, or after a moment, of all mailboxes.

        Raises AppError webhook_not_found, invalid_since.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            endpoint = await _find(connection, application_id, endpoint_id, lock=True)
            if isinstance(since, datetime):
                await store.start_by(connection, endpoint_id, since)
                await chains.replay_all(connection, endpoint_id, since)
            elif await chains.reaches(connection, endpoint, since.mailbox_id):
                await chains.replay(
                    connection, endpoint_id, since.mailbox_id, seq=since.seq, incarnation=since.incarnation
                )
            else:
                raise AppError(Kind.INVALID, "invalid_since", "since is no position in a feed of this webhook.")
            await store.announce(connection)

    def _secrets_or_raise(self) -> EndpointSecrets:
        if self._secrets is None:
            raise AppError(Kind.CONFLICT, "webhooks_off", "This installation has no key for webhooks: MAIL_SECRET_KEY.")
        return self._secrets

    def _check(self, rules: EndpointRules) -> None:
        """Check what can be checked without a look at the network. Raises AppError invalid_webhook."""
        try:
            parse(rules.url, allow_http=self._allow_http)
        except UnfitUrlError as error:
            raise _invalid(f"url {error}.") from error
        if unknown := set(rules.event_types) - set(SELECTABLE):
            raise _invalid(f"events: {min(unknown)} is none of the types.")
        if rules.account_ids is not None and not 1 <= len(rules.account_ids) <= MOST_MAILBOXES:
            raise _invalid(f"mailbox_ids has 1 to {MOST_MAILBOXES} ids.")


def _changed(before: EndpointRules, changes: RuleChanges) -> EndpointRules:
    account_ids = before.account_ids if changes.account_ids is None else changes.account_ids
    return EndpointRules(
        url=before.url if changes.url is None else changes.url,
        event_types=before.event_types if changes.event_types is None else tuple(changes.event_types),
        account_ids=None if changes.all_mailboxes or account_ids is None else tuple(account_ids),
        description=before.description if changes.description is None else changes.description,
        backfill=before.backfill,
        order=before.order if changes.order is None else changes.order,
    )


def _chain_of(rules: EndpointRules) -> tuple[object, ...]:
    """Return the rules on which it depends what an event names as the one before it."""
    return rules.event_types, rules.account_ids, rules.order


async def _find(connection: Connection, application_id: UUID, endpoint_id: UUID, *, lock: bool = False) -> Endpoint:
    endpoint = await store.find(connection, application_id, endpoint_id, lock=lock)
    if endpoint is None:
        raise AppError(Kind.NOT_FOUND, "webhook_not_found", "There is no such webhook.")
    return endpoint


async def _set_enabled(connection: Connection, endpoint_id: UUID, *, is_enabled: bool) -> None:
    if is_enabled:
        await store.enable(connection, endpoint_id)
        await cursors.wake(connection, endpoint_id, down_since=None)
        return
    await store.disable(connection, endpoint_id, DisabledReason.REQUESTED)
    await chains.interrupt(connection, endpoint_id)


async def _add_test(connection: Connection, endpoint_id: UUID) -> Delivery:
    return await deliveries.add(
        connection,
        endpoint_id,
        event_id=f"msg_{uuid4().hex}",
        event_type=EventType.WEBHOOK_TEST.value,
        data={"webhook_id": str(endpoint_id)},
    )


def _invalid(message: str) -> AppError:
    return AppError(Kind.INVALID, "invalid_webhook", message)
