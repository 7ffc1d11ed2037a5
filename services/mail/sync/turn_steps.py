"""The steps of a turn: history, listing and fetching, and the time of the next turn."""

import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from services.mail import events
from services.mail.model import Lane, Sync, SyncProgress, SyncState, WaitReason
from services.mail.provider_access.quota import QuotaScope, QuotaUnavailableError, QuotaWaitError
from services.mail.store import labels
from services.mail.store.sync import fetch_queue, sync_state, syncs
from services.mail.sync import fetch, history, label_copy, listing, verify, watches
from services.mail.sync.accounts.addresses import learn_send_as
from services.mail.sync.store_fetched import Retries
from services.mail.sync.threads import merges
from services.mail.sync.turn_context import ProviderLimitError, TurnContext

# A turn ends after this many seconds or batches, so that other mailboxes get theirs.
MAX_SECONDS = 2.0
MAX_BATCHES = 5
# Claiming the mailbox again takes time, in which units lie unused: wait for short pauses instead.
_HEAD_START = 0.08
# A mailbox that waits for quota is claimed at most twice a second: a turn without units costs 4 ms.
_SHORTEST_WAIT = 0.5
_REASONS = {
    QuotaScope.MAILBOX: WaitReason.QUOTA,
    QuotaScope.PROJECT: WaitReason.QUOTA_PROJECT,
    QuotaScope.DAY: WaitReason.QUOTA_DAY,
    QuotaScope.SERVICE: WaitReason.QUOTA_SERVICE,
}
_NOTHING_TO_DO_SECONDS = 86_400.0
# Seconds until labels are asked for again at the earliest, where the answer that was due could not be had.
_LABEL_PAUSE = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The time of the next turn in seconds, and its lane. An idle mailbox is also checked with its group.

    `error` is what the active sync meets that waits for more than quota.
    """

    lane: Lane
    after: float
    waiting_for: WaitReason | None = None
    error: str = ""


class NoProgressError(Exception):
    """A turn spent quota, saved nothing, and waits `seconds` for more."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"a turn without progress: wait {seconds:.3f} s")
        self.seconds = seconds


async def run_turn(turn: TurnContext, *, poll_seconds: float, verify_seconds: float, retries: Retries) -> Release:
    """Run the due steps of a mailbox within the limits of a turn. Raises errors of provider, auth and database."""
    try:
        async with _joined(turn):
            return await _steps(turn, poll_seconds=poll_seconds, verify_seconds=verify_seconds, retries=retries)
    except QuotaUnavailableError:
        raise
    except QuotaWaitError as wait:
        if _was_in_vain(turn, wait):
            raise NoProgressError(wait.seconds) from wait
        # Meanwhile history is due like that of any other mailbox: what waits for the next day must not delay new mail.
        after = max(_SHORTEST_WAIT, min(wait.seconds - _HEAD_START, poll_seconds))
        error = wait.error if isinstance(wait, listing.ListingsLagError) else ""
        return Release(lane=await _lane(turn), after=after, waiting_for=wait_reason(wait), error=error)


@asynccontextmanager
async def _joined(turn: TurnContext) -> AsyncIterator[None]:
    """Wait for the work beside the steps, also where they lack quota; cancel it if they fail."""
    try:
        yield
    except QuotaWaitError:
        await turn.end_beside()
        raise
    except BaseException:
        await turn.end_beside(cancelled=True)
        raise
    await turn.end_beside()


def wait_reason(wait: QuotaWaitError) -> WaitReason:
    """Return what a mailbox waits for whose turn ended so."""
    return WaitReason.PROVIDER if isinstance(wait, listing.ListingsLagError) else _REASONS[wait.scope]


def _was_in_vain(turn: TurnContext, wait: QuotaWaitError) -> bool:
    """Return whether a turn spent units and saved nothing, so that the next one would do the same again."""
    is_foreign = isinstance(wait, listing.ListingsLagError | ProviderLimitError)
    return turn.calls.units_taken > 0 and not turn.has_saved and not is_foreign


async def _steps(turn: TurnContext, *, poll_seconds: float, verify_seconds: float, retries: Retries) -> Release:
    deadline = time.monotonic() + MAX_SECONDS
    turn.step = "beginning"
    await _begin(turn)
    for _ in range(MAX_BATCHES):
        release = await _round(
            turn, deadline=deadline, poll_seconds=poll_seconds, verify_seconds=verify_seconds, retries=retries
        )
        if release is not None:
            return release
        if time.monotonic() > deadline:
            break
    return Release(lane=await _lane(turn), after=0.0)


async def _round(
    turn: TurnContext, *, deadline: float, poll_seconds: float, verify_seconds: float, retries: Retries
) -> Release | None:
    """Take each step that is due, once; return None if more may be due now."""
    state, sync = await _look(turn)
    if sync is None and state.caught_up_ago is None:
        # Its first sync was cancelled before it began.
        return Release(lane=Lane.LIVE, after=_NOTHING_TO_DO_SECONDS)
    if sync is None:
        turn.step = "addresses"
        await learn_send_as(turn)
    if _history_is_due(turn, state, poll_seconds=poll_seconds):
        if not await _catch_up(turn, state, deadline=deadline):
            # The turn's time is over.
            return None
        state, sync = await _look(turn)
    if state.listing is None and await listing.begin_if_wanted(turn, state, sync):
        state, sync = await _look(turn)
    more = await _change_copy(turn, state)
    fetched = await _list_and_fetch(turn, state, sync, retries)
    turn.step = "finishing"
    more = more or (not fetched and await label_copy.keep_when_quiet(turn, state))
    if fetched or more:
        return None
    release = await _finish(turn, sync, poll_seconds, verify_seconds)
    return None if release is None else await _with_watch(turn, release)


async def _change_copy(turn: TurnContext, state: SyncProgress) -> bool:
    """Bring labels and merged threads of stored messages up to date; return whether more of it is due now."""
    turn.step = "labels"
    more = await label_copy.keep(turn, state)
    turn.step = "threads"
    return await merges.move_messages(turn, state) or more


async def _list_and_fetch(turn: TurnContext, state: SyncProgress, sync: Sync | None, retries: Retries) -> bool:
    """List a page and fetch messages; return whether any were requested. Raises QuotaWaitError where neither could."""
    turn.step = "listing"
    wait = await _list_page(turn, state)
    turn.step = "fetching"
    fetched = await fetch.fetch_batch(turn, retries, sync_id=None if sync is None else sync.sync_id)
    if wait is not None and not fetched:
        raise wait
    return fetched > 0


async def _with_watch(turn: TurnContext, release: Release) -> Release:
    """Keep the watch of a mailbox without work; it may drop announcements for a while, so look again after that."""
    turn.step = "watch"
    await turn.end_beside()
    await watches.keep(turn)
    watch = turn.provider.watch_times
    return release if watch is None else replace(release, after=min(release.after, watch.echo))


async def _catch_up(turn: TurnContext, state: SyncProgress, *, deadline: float) -> bool:
    turn.step = "history"
    reached = await history.catch_up(turn, state, deadline=deadline)
    if state.cursor is None:
        # Announcements bring new mail during the first sync. Without quota for a watch, it is made at the sync's end.
        turn.begin_beside(watches.keep(turn))
    return reached


async def _list_page(turn: TurnContext, state: SyncProgress) -> QuotaWaitError | None:
    """List the next page. If its quota is used up, live mail may still have some."""
    if state.listing is not None:
        try:
            await listing.list_page(turn, state)
        except QuotaWaitError as wait:
            return wait
    return None


async def _begin(turn: TurnContext) -> None:
    async with turn.reading() as connection:
        sync = await syncs.active(connection, turn.mailbox_id)
    if sync is None or sync.state is not SyncState.QUEUED:
        return
    async with turn.writing() as connection:
        await syncs.set_running(connection, turn.mailbox_id)
        await labels.make_due(connection, turn.mailbox_id)


async def _look(turn: TurnContext) -> tuple[SyncProgress, Sync | None]:
    async with turn.reading() as connection:
        return await sync_state.load_with_sync(connection, turn.mailbox_id)


def _history_is_due(turn: TurnContext, state: SyncProgress, *, poll_seconds: float) -> bool:
    if state.caught_up_hint < turn.newest_hint:
        return True
    return state.caught_up_ago is None or state.caught_up_ago >= poll_seconds


async def _finish(turn: TurnContext, seen: Sync | None, poll_seconds: float, verify_seconds: float) -> Release | None:
    """End the sync if no work is left; return None if more work is due now. `seen` is the sync as last looked at."""
    digest = await verify.digest(turn, seen)
    async with turn.writing() as connection:
        state = await sync_state.load(connection, turn.mailbox_id)
        sync = await syncs.active(connection, turn.mailbox_id)
        if state.listing is not None or state.has_merged_threads or state.caught_up_hint < turn.newest_hint:
            return None
        if sync is not None and not sync.listing_done:
            return None
        wait = await fetch_queue.seconds_until_next(connection, turn.mailbox_id)
        if wait is not None:
            return Release(lane=Lane.BACKFILL, after=min(wait, poll_seconds)) if wait > 0 else None
        if verify.has_compared(sync) and digest is None:
            return None
        await sync_state.mark_synced(connection, turn.mailbox_id)
        if await verify.is_to_do(connection, turn, sync, digest=digest, every_seconds=verify_seconds):
            return Release(lane=Lane.BACKFILL, after=0.0)
        await events.end_sync(connection, turn.mailbox_id, SyncState.COMPLETED)
        if await labels.is_any_missing(connection, turn.mailbox_id):
            return Release(lane=Lane.BACKFILL, after=max(_LABEL_PAUSE, state.labels_due_in or 0.0))
    if state.listable_in is not None:
        return Release(lane=Lane.LIVE, after=min(poll_seconds, max(0.0, state.listable_in)))
    return Release(lane=Lane.IDLE, after=math.inf)


async def _lane(turn: TurnContext) -> Lane:
    async with turn.reading() as connection:
        live = await fetch_queue.has_live(connection, turn.mailbox_id)
        state = await sync_state.load(connection, turn.mailbox_id)
    return Lane.LIVE if live or state.caught_up_hint < turn.newest_hint else Lane.BACKFILL
