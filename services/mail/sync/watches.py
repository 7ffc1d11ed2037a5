"""Keeping the provider's announcements of changes alive. They only save time: polling finds what they miss."""

import structlog

from services.kit.errors import AppError
from services.mail.provider_access.calls import ProviderCalls
from services.mail.provider_access.quota import QuotaWaitError
from services.mail.providers.base import Provider, ProviderError
from services.mail.store.connection import Connection
from services.mail.store.control import watches as store
from services.mail.sync.turn_context import TurnContext

# Google's watches last for a week, and it asks for a renewal every day.
RENEW_SECONDS = 86_400.0
RETRY_SECONDS = 600.0
# A watch that was not renewed until so many seconds before its end has failed for days.
WARNING_SECONDS = 2 * 86_400.0
# Units are taken in parts, which come in seconds.
_PATIENCE = 10.0

log = structlog.get_logger()


async def keep(turn: TurnContext) -> None:
    """Makes or renews the mailbox's watch if that is due. Raises what a turn may raise, but no ProviderError."""
    if not turn.provider.can_push:
        return
    async with turn.reading() as connection:
        if not await store.is_due(connection, turn.mailbox_id):
            return
    # The sync that brought about this turn has ended, and one that was asked for since has no part in it.
    await turn.uncounted_calls.take(turn.provider.costs.watch, patience=_PATIENCE)
    try:
        expires_at = await turn.call_prepaid(turn.provider.watch)
    except ProviderError as error:
        turn.metrics.watch_renewals.labels("failed").inc()
        log.warning("watch not renewed", mailbox_id=turn.mailbox_id, reason=error.reason, detail=error.detail)
        async with turn.writing() as connection:
            await store.postpone(connection, turn.mailbox_id, seconds=RETRY_SECONDS)
        return
    turn.metrics.watch_renewals.labels("done").inc()
    async with turn.writing() as connection:
        await store.keep(connection, turn.mailbox_id, expires_at=expires_at, renew_seconds=RENEW_SECONDS)


async def end(calls: ProviderCalls, *, provider: Provider) -> bool:
    """Stops the announcements of a mailbox that is given up; best effort: false if it did not work, and why in the log.

    They end by themselves after a week, and one that still comes is harmless.
    """
    if not provider.can_push:
        return True
    try:
        await calls.call(provider.costs.stop, provider.stop, patience=_PATIENCE)
    except (ProviderError, QuotaWaitError, AppError) as error:
        log.warning("watch not stopped", error=str(error))
        return False
    return True


async def report_expiring(connection: Connection) -> None:
    """Tells in the log about watches whose renewal has failed for days."""
    expiring = await store.expiring(connection, within_seconds=WARNING_SECONDS)
    if expiring:
        log.warning("watches are about to end: their renewal keeps failing", watches=expiring)
