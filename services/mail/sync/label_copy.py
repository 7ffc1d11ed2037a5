"""Copying of the provider's labels. History shows neither created nor renamed nor deleted labels."""

import time
from collections.abc import Set

import structlog

from services.kit.observe.tracing import trace_parent
from services.mail.model import Label, SyncProgress
from services.mail.provider_access.quota import QuotaWaitError
from services.mail.providers.errors import ProviderError
from services.mail.store import labels
from services.mail.store.connection import Connection
from services.mail.store.sync import verification
from services.mail.sync.turn_context import TurnContext

# Messages per transaction that removes a label, and seconds after which a turn continues with other work.
_TAKEN_OFF_AT_ONCE = 1_000
_SECONDS_TOGETHER = 0.5

log = structlog.get_logger()


async def learn(turn: TurnContext, named: Set[str]) -> None:
    """List the provider's labels if one of these is not known.

    Mail does not wait for names: without quota, or an answer, the labels are due later. Raises no ProviderError.
    """
    unsure = named - turn.known_labels
    if not unsure:
        return
    async with turn.reading() as connection:
        unknown = await labels.unknown(connection, turn.mailbox_id, unsure)
    turn.known_labels |= unsure - unknown
    if unknown and not await _try_to_refresh(turn) and not turn.has_listed_labels:
        async with turn.writing() as connection:
            await labels.make_due(connection, turn.mailbox_id)


async def refresh(turn: TurnContext) -> None:
    """Copy the provider's labels. Raises the errors of calls."""
    turn.labels_hint = turn.newest_hint
    listed = await turn.call(turn.provider.costs.list_labels, turn.session.list_labels)
    async with turn.writing() as connection:
        await record(connection, turn, listed)
    turn.has_listed_labels = True


async def record(connection: Connection, turn: TurnContext, listed: list[Label] | None) -> None:
    """Record the labels that the provider lists. Mailboxes of a provider without a list have the built-in ones."""
    confirm = turn.intervals.labels_confirm
    if listed is not None:
        if await labels.is_any_back(connection, turn.mailbox_id, listed):
            # Both answers without it were wrong. The verification restores it on its messages.
            await verification.request(
                connection, turn.mailbox_id, hint_seq=turn.newest_hint, trace_parent=trace_parent()
            )
        await labels.record(connection, turn.mailbox_id, listed, confirm_seconds=confirm)
    elif not await labels.of_mailbox(connection, turn.mailbox_id):
        await labels.record(connection, turn.mailbox_id, turn.provider.built_in_labels, confirm_seconds=confirm)
    await labels.plan_next(connection, turn.mailbox_id, every_seconds=turn.intervals.labels, confirm_seconds=confirm)


async def keep(turn: TurnContext, state: SyncProgress) -> bool:
    """List the labels and take removed ones off messages, if that is due; return whether more is due now.

    Raises no ProviderError, and no error for lack of quota: it stays due.
    """
    if state.labels_due_in is None or state.labels_due_in > 0:
        return False
    # First the list: a removed label may be back.
    is_fresh = turn.has_listed_labels and turn.labels_hint == turn.newest_hint
    return (is_fresh or await _try_to_refresh(turn)) and await _take_off_some(turn)


async def keep_when_quiet(turn: TurnContext, state: SyncProgress) -> bool:
    """List the labels after other changes, unless they were listed a moment ago: labels change together with mail."""
    if turn.has_listed_labels:
        return False
    recently = turn.intervals.labels - turn.intervals.labels_pause
    if state.labels_due_in is not None and state.labels_due_in > recently:
        return False
    return await _look(turn)


async def _take_off_some(turn: TurnContext) -> bool:
    """Remove a deleted label from some messages; return whether more may have it."""
    end = time.monotonic() + _SECONDS_TOGETHER
    while time.monotonic() < end:
        async with turn.writing() as connection:
            if not await labels.take_off_some(connection, turn.mailbox_id, limit=_TAKEN_OFF_AT_ONCE):
                return False
    return True


async def _look(turn: TurnContext) -> bool:
    """List the labels; return whether some must be removed from messages."""
    if not await _try_to_refresh(turn):
        return False
    async with turn.reading() as connection:
        return await labels.is_any_removed(connection, turn.mailbox_id)


async def _try_to_refresh(turn: TurnContext) -> bool:
    """List the labels; return false without quota or an answer. An error of the provider makes them due later."""
    try:
        await refresh(turn)
    except QuotaWaitError:
        return False
    except ProviderError as error:
        log.info("labels not listed", mailbox_id=turn.mailbox_id, reason=error.reason, detail=error.detail)
        turn.has_listed_labels = True
        async with turn.writing() as connection:
            await labels.postpone(connection, turn.mailbox_id, seconds=turn.intervals.labels_pause)
        return False
    return True
