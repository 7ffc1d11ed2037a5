"""What deliverers repeat: feeds' heads that lag, deleted webhooks, old deliveries, secrets under old keys, metrics."""

from functools import partial
from uuid import UUID

import structlog

from services.kit.cipher import DecryptionError
from services.kit.periodic import PeriodicTask
from services.mail import events
from services.mail.deliverer.metrics import DelivererMetrics
from services.mail.store import changes
from services.mail.store.connection import Connection, Pool
from services.mail.store.control import mailboxes
from services.mail.store.webhooks import cursors, deliveries, endpoints, signing_secrets
from services.mail.webhooks.secrets import EndpointSecrets

# Seconds.
_HOUR = 3600.0
_METRICS_SECONDS = 15.0
_ERASE_SECONDS = 15.0
_CLOCK_SECONDS = 15.0
# Mailboxes, or rows, for which a round keeps its connection.
_BATCH = 1_000
# The key of a secret before all others.
_BEFORE_ALL = (UUID(int=0), 0)

log = structlog.get_logger()


def upkeep_tasks(
    pool: Pool, *, secrets: EndpointSecrets, metrics: DelivererMetrics, delivered_days: float
) -> list[PeriodicTask]:
    """Return the tasks of a deliverer. Delivered events are shown for so many days, others while changes are kept."""
    return [
        PeriodicTask("announce feeds", _HOUR, partial(announce_feeds, pool)),
        PeriodicTask("erase webhooks", _ERASE_SECONDS, partial(erase_webhooks, pool)),
        PeriodicTask("follow the clock", _CLOCK_SECONDS, partial(follow_clock, pool)),
        PeriodicTask("forget deliveries", _HOUR, partial(forget_deliveries, pool, delivered_days)),
        PeriodicTask("reencrypt secrets", _HOUR, partial(reencrypt_secrets, pool, secrets)),
        PeriodicTask("read metrics of webhooks", _METRICS_SECONDS, partial(metrics.read, pool)),
    ]


async def announce_feeds(pool: Pool, *, batch: int = _BATCH) -> None:
    """Bring heads up to their feeds: those of releases without heads, and of processes that died before they wrote one.

    Takes 0.3 ms for each mailbox.
    """
    ids = [0]
    while ids:
        async with pool.acquire() as connection:
            ids = await mailboxes.ids_after(connection, ids[-1], limit=batch)
            for mailbox_id in ids:
                await events.announce(connection, mailbox_id)


async def erase_webhooks(pool: Pool, *, batch: int = _BATCH) -> None:
    """Erase deleted webhooks in batches; several deliverers may do so at once."""
    async with pool.acquire() as connection:
        hidden = await endpoints.hidden(connection)
    for endpoint_id in hidden:
        for erase_some in (cursors.erase_some, deliveries.erase_some):
            has_more = True
            while has_more:
                async with pool.acquire() as connection:
                    has_more = await erase_some(connection, endpoint_id, limit=batch)
        async with pool.acquire() as connection:
            await endpoints.erase(connection, endpoint_id)


async def follow_clock(pool: Pool) -> None:
    """Let endpoints begin now that begin later, because Postgres's clock was set back."""
    async with pool.acquire() as connection:
        await endpoints.follow_clock(connection)


async def forget_deliveries(pool: Pool, delivered_days: float, *, batch: int = _BATCH) -> None:
    """Delete old deliveries, and the cursors of mailboxes that are long gone, in batches."""
    forgotten = batch
    while forgotten >= batch:
        async with pool.acquire() as connection:
            forgotten = await deliveries.forget(
                connection, delivered_days=delivered_days, days=changes.KEPT.days, limit=batch
            )
    forgotten = batch
    while forgotten >= batch:
        async with pool.acquire() as connection:
            forgotten = await cursors.forget_ended(connection, limit=batch)


async def reencrypt_secrets(pool: Pool, secrets: EndpointSecrets, *, batch: int = _BATCH) -> None:
    """Encrypt secrets under the current key that are under the previous one. One that does not open stays as it is."""
    last = _BEFORE_ALL
    while True:
        async with pool.acquire() as connection, connection.transaction():
            found = await signing_secrets.of_other_keys(connection, secrets.cipher.header, after=last, limit=batch)
            for record in found:
                await _reencrypt(connection, record, secrets)
        if len(found) < batch:
            return
        last = (found[-1].endpoint_id, found[-1].secret_id)


async def _reencrypt(connection: Connection, record: signing_secrets.Secret, secrets: EndpointSecrets) -> None:
    try:
        secret = secrets.decrypt(record.encrypted, record.endpoint_id)
    except DecryptionError as error:
        log.error("a secret does not open", webhook_id=str(record.endpoint_id), reason=str(error))
        return
    await signing_secrets.replace(connection, record, secrets.encrypt(secret, record.endpoint_id))
