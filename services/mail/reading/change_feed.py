"""The change feed of a mailbox: its latest position, the changes after a position, and long polling."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.kit.errors import AppError, Kind
from services.mail.ids import FeedPosition
from services.mail.model import Mailbox
from services.mail.store import changes as store
from services.mail.store import labels
from services.mail.store.changes import Change, ChangeKind, Position
from services.mail.store.connection import Pool

DEFAULT_PAGE_SIZE = 100
LARGEST_PAGE_SIZE = 500
LONGEST_WAIT = 60
# Seconds between two reads of the feeds that calls wait for; one query reads all of them.
_LOOK_SECONDS = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangePage:
    """A page of changes in feed order, at most one per message or label. The next page begins at `position`."""

    changes: list[Change]
    position: FeedPosition
    has_more: bool


class ChangeFeed:
    """The change feeds of mailboxes. Callers check the owner; waiting calls return once `stop` is set."""

    def __init__(self, pool: Pool, *, stop: asyncio.Event) -> None:
        self._pool = pool
        self._watch = _Watch(pool, stop)

    async def page(
        self,
        mailbox: Mailbox,
        *,
        since: FeedPosition | None,
        page_size: int,
        wait_seconds: float,
        include_labels: bool = True,
    ) -> ChangePage:
        """Return the changes after `since`; wait up to `wait_seconds` if there are none to show yet.

        Without `since` the latest position is returned, and no changes. Raises AppError invalid_page_size,
        resync_required.
        """
        size = page_size or DEFAULT_PAGE_SIZE
        if not 1 <= size <= LARGEST_PAGE_SIZE:
            raise AppError(Kind.INVALID, "invalid_page_size", f"The page size is 1 to {LARGEST_PAGE_SIZE}.")
        mailbox_id = mailbox.mailbox_id
        if since is None:
            async with self._pool.acquire() as connection:
                latest = await store.position(connection, mailbox_id)
            return ChangePage(changes=[], position=_at(mailbox_id, latest), has_more=False)
        deadline = time.monotonic() + min(wait_seconds, LONGEST_WAIT)
        page = await self._read(mailbox, _seen(since, mailbox_id), size, include_labels=include_labels)
        # A feed can also move on by what is not shown.
        while not page.changes and time.monotonic() < deadline:
            if not await self._watch.passes(mailbox_id, page.position.seq, deadline):
                break
            page = await self._read(mailbox, _seen(page.position, mailbox_id), size, include_labels=include_labels)
        return page

    async def _read(self, mailbox: Mailbox, seen: Position, size: int, *, include_labels: bool) -> ChangePage:
        mailbox_id = mailbox.mailbox_id
        async with self._pool.acquire() as connection:
            names = await labels.names(connection, mailbox_id)
            latest = await store.position(connection, mailbox_id)
            if not await store.is_in_feed(connection, mailbox_id, seen, latest=latest):
                raise _resync_required()
            # Read up to `latest` only: a later change can belong to a new incarnation of the feed.
            found = await store.between(
                connection, mailbox.user_id, mailbox_id, seen.seq, latest.seq, limit=size, label_names=names
            )
        reached = seen.seq + len(found)
        # Numbers follow commits and times follow transaction starts, so a change can expire between two kept ones.
        if (found[-1].seq if found else latest.seq) != reached:
            raise _resync_required()
        shown = collapsed([change for change in found if change.kind is not ChangeKind.EVENT])
        return ChangePage(
            changes=shown if include_labels else [change for change in shown if change.label_id is None],
            position=_at(mailbox_id, Position(incarnation=latest.incarnation, seq=reached)),
            has_more=reached < latest.seq,
        )


def collapsed(changes: Sequence[Change]) -> list[Change]:
    """Keep the last change of each message and label. A subject created within the list stays created.

    Drops creations and updates of subjects that no longer exist: the feed deletes them later.
    """
    created = {_subject(change) for change in changes if change.kind is ChangeKind.CREATED}
    last = {_subject(change): change for change in changes}
    return [
        replace(change, kind=_kind(change, created))
        for change in sorted(last.values(), key=lambda change: change.seq)
        if change.kind in _DELETIONS or change.message is not None or change.label is not None
    ]


_DELETIONS = (ChangeKind.DELETED, ChangeKind.LABEL_DELETED)
type _Subject = tuple[int | None, str | None]


def _subject(change: Change) -> _Subject:
    return change.message_id, change.label_id


def _kind(change: Change, created: set[_Subject]) -> ChangeKind:
    fresh = change.kind is ChangeKind.UPDATED and _subject(change) in created
    return ChangeKind.CREATED if fresh else change.kind


def _at(mailbox_id: int, position: Position) -> FeedPosition:
    return FeedPosition(mailbox_id, position.incarnation, position.seq)


def _seen(since: FeedPosition, mailbox_id: int) -> Position:
    if since.mailbox_id != mailbox_id:
        # The position can be from before the address was disconnected and connected again.
        raise _resync_required()
    return Position(incarnation=since.incarnation, seq=since.seq)


def _resync_required() -> AppError:
    return AppError(
        Kind.GONE,
        "resync_required",
        "Changes since then are no longer known: list everything, then follow again.",
    )


class _Watch:
    """A watch over the feeds that calls wait for: one query at a time, and none without waiting calls."""

    def __init__(self, pool: Pool, stop: asyncio.Event) -> None:
        self._pool = pool
        self._stop = stop
        self._waiting: Counter[int] = Counter()
        self._latest: dict[int, int] = {}
        self._looked_at = -math.inf
        self._looking = asyncio.Lock()

    async def passes(self, mailbox_id: int, seq: int, deadline: float) -> bool:
        """Return whether the feed passes `seq` before a monotonic time."""
        self._waiting[mailbox_id] += 1
        try:
            while (await self._look()).get(mailbox_id, 0) <= seq:
                if self._stop.is_set() or time.monotonic() >= deadline:
                    return False
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            self._waiting[mailbox_id] -= 1
            self._waiting += Counter()  # Drops mailboxes without waiting calls.
        return True

    async def _look(self) -> dict[int, int]:
        async with self._looking:
            if time.monotonic() - self._looked_at >= _LOOK_SECONDS:
                async with self._pool.acquire() as connection:
                    self._latest = await store.positions(connection, list(self._waiting))
                self._looked_at = time.monotonic()
            return self._latest
