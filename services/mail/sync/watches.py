"""Watches for announcements of changes. They only save time: polling finds the changes without them."""

import structlog

from services.kit.errors import AppError
from services.mail.provider_access.calls import ProviderCalls
from services.mail.provider_access.quota import QuotaWaitError
from services.mail.providers.base import MailboxSession, Provider
from services.mail.providers.errors import ProviderError
from services.mail.store.connection import Connection
from services.mail.store.control import watches as store
from services.mail.sync.turn_context import TurnContext

RETRY_SECONDS = 600.0
# A watch this close to its end has failed to renew for days.
WARNING_SECONDS = 2 * 86_400.0
# Units are taken in parts, each available within seconds.
_PATIENCE = 10.0

log = structlog.get_logger()


async def keep(turn: TurnContext) -> None:
    """Make or renew the mailbox's watch if that is due. Raises a turn's errors except ProviderError."""
    times = turn.provider.watch_times
    if times is None:
        return
    async with turn.reading() as connection:
        if not await store.is_due(connection, turn.mailbox_id):
            return
    try:
        # The sync that caused this turn has ended, and a sync requested since is not concerned.
        expires_at = await turn.call_uncounted(turn.provider.costs.watch, turn.session.watch, patience=_PATIENCE)
    except ProviderError as error:
        turn.metrics.watch_renewals.labels("failed").inc()
        log.warning("watch not renewed", mailbox_id=turn.mailbox_id, reason=error.reason, detail=error.detail)
        async with turn.fenced() as connection:
            await store.postpone(connection, turn.mailbox_id, seconds=RETRY_SECONDS)
        return
    turn.metrics.watch_renewals.labels("done").inc()
    async with turn.fenced() as connection:
        await store.keep(connection, turn.mailbox_id, expires_at=expires_at, renew_seconds=times.renew)


async def end(calls: ProviderCalls, *, provider: Provider, session: MailboxSession) -> bool:
    """Stop the announcements of a disconnected mailbox; log a failure and return false.

    They end by themselves, and a late one is harmless.
    """
    if provider.watch_times is None:
        return True
    try:
        await calls.call(provider.costs.stop, session.stop, patience=_PATIENCE)
    except (ProviderError, QuotaWaitError, AppError) as error:
        log.warning("watch not stopped", error=str(error))
        return False
    return True


async def report_expiring(connection: Connection) -> None:
    """Log the watches whose renewal has failed for days."""
    expiring = await store.expiring(connection, within_seconds=WARNING_SECONDS)
    if expiring:
        log.warning("watches are about to end: their renewal keeps failing", watches=expiring)
