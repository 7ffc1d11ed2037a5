"""Reading of history: each change since the cursor is stored or queued before the cursor moves."""

import math
import time
from dataclasses import dataclass, field
from typing import Self

import structlog

from services.mail import page_trail
from services.mail.model import CursorLoss, Listing, PageTrail, SyncProgress
from services.mail.page_trail import EndlessPagesError
from services.mail.providers.base import HistoryPage
from services.mail.providers.errors import (
    CursorLostError,
    HistoryRestartedError,
    PageTokenExpiredError,
    ProviderUnavailableError,
    RouteMissingError,
)
from services.mail.store import labels, messages
from services.mail.store.connection import Connection
from services.mail.store.control.leases import LeaseLostError
from services.mail.store.sync import fetch_queue, sync_state
from services.mail.sync import label_copy
from services.mail.sync.apply_history import added_labels, apply_changes
from services.mail.sync.turn_context import TurnContext

# Consecutive turns without history before the provider counts as one that keeps none.
_TURNS_WITHOUT_HISTORY = 3
# Consecutive turns, 15 s, before history and profile that both end before the cursor count as a history that restarted:
# both can come from a replica that lags, and a comparison of everything costs a large mailbox minutes.
_TURNS_BEHIND = 5
# Pages in a row without a record, after which history counts as endless. A provider that filters can have a few.
_IDLE_PAGES = 100
# Messages in a transaction: a mailbox can have a million.
_CAPPED_AT_ONCE = 1_000

log = structlog.get_logger()


async def catch_up(turn: TurnContext, state: SyncProgress, *, deadline: float = math.inf) -> bool:
    """Read history up to the present, or until `deadline` (of the monotonic clock); return whether the present was
    reached: the newest hint seen before has then been served.

    The cursor moves page by page, so that an interruption repeats one page at most.
    """
    hint = turn.newest_hint
    if state.cursor is not None and state.cursor_loss is None:
        try:
            return await read_on(turn, state, state.cursor, deadline=deadline)
        except (CursorLostError, RouteMissingError) as lost:
            if isinstance(lost, RouteMissingError) and turn.lease.attempts < _TURNS_WITHOUT_HISTORY:
                raise
            state = await _record_loss(turn, lost)
    await _begin(turn, state, hint=hint)
    return True


async def _record_loss(turn: TurnContext, lost: CursorLostError | RouteMissingError) -> SyncProgress:
    """Record that the cursor is lost, so that a turn that waits for quota does not ask again; return the state."""
    log.warning("history cursor lost, comparing everything", mailbox_id=turn.mailbox_id, detail=lost.detail)
    loss = CursorLoss.RESTARTED if isinstance(lost, HistoryRestartedError) else CursorLoss.EXPIRED
    async with turn.writing() as connection:
        await sync_state.set_cursor_loss(connection, turn.mailbox_id, loss)
        return await sync_state.load(connection, turn.mailbox_id)


async def _begin(turn: TurnContext, state: SyncProgress, *, hint: int) -> None:
    """Set the cursor to the present before any listing, and have stored messages compared."""
    cursor = await _present(turn)
    if state.cursor_loss is CursorLoss.RESTARTED and state.cursor is not None:
        if cursor is None or cursor >= state.cursor or turn.lease.attempts < _TURNS_BEHIND:
            async with turn.writing() as connection:
                await sync_state.set_cursor_loss(connection, turn.mailbox_id, None)
            raise ProviderUnavailableError("history lags")
        await _cap_versions(turn, cursor)
    async with turn.writing() as connection:
        await _move(connection, turn, previous=state.cursor, cursor=cursor, caught_up_hint=hint)
        # The first ones, and those that changed while no history was read.
        await labels.make_due(connection, turn.mailbox_id)
        await sync_state.expect_lag(connection, turn.mailbox_id, seconds=turn.intervals.listing_lag)
        if state.caught_up_hint > 0:
            await sync_state.start_listing(connection, turn.mailbox_id, Listing.RELIST, target=None)


async def _cap_versions(turn: TurnContext, cursor: int) -> None:
    """Lower versions to the cursor: numbers of the old history cannot be compared with the new ones.

    The cursor moves after that, so an interruption repeats it.
    """
    async with turn.writing() as connection:
        await fetch_queue.cap_versions(connection, turn.mailbox_id, cursor)
    last: str | None = ""
    while last is not None:
        async with turn.writing() as connection:
            last = await messages.cap_versions(connection, turn.mailbox_id, cursor, after=last, limit=_CAPPED_AT_ONCE)


async def _present(turn: TurnContext) -> int | None:
    """Return the mailbox's current cursor; without one the newest message's version, which is older and so safe."""
    costs = turn.provider.costs
    async with turn.calls.reserved(costs.profile + costs.list_ids + costs.version):
        profile = await turn.call(costs.profile, turn.session.profile)
        if profile.cursor is not None:
            return profile.cursor
        newest = await turn.call(
            costs.list_ids,
            lambda: turn.session.list_ids(page_token=None, page_size=1, include_spam_trash=True),
        )
        if not newest.listed:
            return None
        external_id = newest.listed[0].external_id
        return await turn.call(costs.version, lambda: turn.session.version(external_id))


async def read_on(turn: TurnContext, state: SyncProgress, cursor: int, *, deadline: float = math.inf) -> bool:
    """Read history from the cursor on, as `catch_up` does.

    Beyond the deadline it reads on until the cursor has moved, or the next turn would read the same pages again. Raises
    CursorLostError and, where the provider lacks history at the moment, RouteMissingError.
    """
    hint = turn.newest_hint
    walk = _Walk.starting(cursor)
    while True:
        try:
            page = await _read_page(turn, walk)
        except PageTokenExpiredError:
            if not walk.start_again():
                raise
            continue
        reached = walk.reached_by(page)
        is_last = page.next_page_token is None
        await label_copy.learn(turn, added_labels(page.changes))
        async with turn.writing() as connection:
            await apply_changes(connection, turn, page.changes, state)
            await _move(
                connection, turn, previous=walk.position, cursor=reached, caught_up_hint=hint if is_last else None
            )
        if page.next_page_token is None:
            return True
        walk.go_on(page, page.next_page_token, reached=reached)
        if time.monotonic() > deadline and (page.is_resumed or walk.position > cursor):
            return False


@dataclass(slots=True, kw_only=True)
class _Walk:
    """A walk through the pages of history.

    The current pages are those from `start` on, and the cursor is at `position` by now. `latest` is the present as the
    first of these pages told it.
    """

    start: int
    position: int
    latest: int
    page_token: str | None = None
    trail: PageTrail = field(default_factory=PageTrail)
    # Pages in a row without a record.
    idle: int = 0

    @classmethod
    def starting(cls, cursor: int) -> Self:
        """Return a walk before its first page."""
        return cls(start=cursor, position=cursor, latest=cursor)

    def start_again(self) -> bool:
        """Ask from the position on, after the page token expired; return False if that would lead here again."""
        if self.start == self.position:
            return False
        self.start, self.page_token, self.trail = self.position, None, PageTrail()
        return True

    def reached_by(self, page: HistoryPage) -> int:
        """Return how far the page leads: where the cursor is after its changes."""
        if self.page_token is None:
            # The present of later pages can be ahead of the changes that they show.
            self.latest = page.latest
        end = self.latest if page.next_page_token is None else self.position
        return max(self.position, page.last_record or self.position, end)

    def go_on(self, page: HistoryPage, next_page_token: str, *, reached: int) -> None:
        """Go on to the next page. Raises EndlessPagesError: what is endless is to count as a failed turn."""
        self.trail = page_trail.follow(self.trail, next_page_token)
        self.idle = 0 if page.is_resumed or reached > self.position else self.idle + 1
        if self.idle == _IDLE_PAGES:
            raise EndlessPagesError(f"{self.idle} pages of history without a record")
        self.position, self.page_token = reached, next_page_token


async def _read_page(turn: TurnContext, walk: _Walk) -> HistoryPage:
    return await turn.call(
        turn.provider.costs.list_changes,
        lambda: turn.session.list_changes(cursor=walk.start, page_token=walk.page_token),
    )


async def _move(
    connection: Connection, turn: TurnContext, *, previous: int | None, cursor: int | None, caught_up_hint: int | None
) -> None:
    moved = await sync_state.move_cursor(
        connection, turn.mailbox_id, previous=previous, cursor=cursor, caught_up_hint=caught_up_hint
    )
    if not moved:
        raise LeaseLostError
