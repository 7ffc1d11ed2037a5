"""The feed of a mailbox's changes: where it stands, what came since, and waiting for more."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from services.kit.errors import AppError, Kind
from services.mail.ids import PublicId, parse_id
from services.mail.model import Mailbox
from services.mail.store import changes as store
from services.mail.store import labels
from services.mail.store.changes import Change, ChangeKind
from services.mail.store.connection import Pool

DEFAULT_PAGE_SIZE = 100
LARGEST_PAGE_SIZE = 500
LONGEST_WAIT = 60
# How often waiting mailboxes are looked at, all of them at once.
_LOOK_SECONDS = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangePage:
    """ChangeFeed in order; at most one of each message, the last. `position` is what to ask for next."""

    changes: list[Change]
    position: PublicId
    has_more: bool


class ChangeFeed:
    """Reads the feed; a mailbox is the caller's, who has checked whose it is. Nobody waits once `stop` is set."""

    def __init__(self, pool: Pool, *, stop: asyncio.Event) -> None:
        self._pool = pool
        self._watch = _Watch(pool, stop)

    async def page(self, mailbox: Mailbox, *, since: str, page_size: int, wait_seconds: float) -> ChangePage:
        """What changed since a position; waits for something up to `wait_seconds`. Without one, the present position.

        Raises AppError invalid_page_size, invalid_since, resync_required.
        """
        size = page_size or DEFAULT_PAGE_SIZE
        if not 1 <= size <= LARGEST_PAGE_SIZE:
            raise AppError(Kind.INVALID, "invalid_page_size", f"The page size is 1 to {LARGEST_PAGE_SIZE}.")
        mailbox_id = mailbox.mailbox_id
        if not since:
            async with self._pool.acquire() as connection:
                seq = await store.position(connection, mailbox_id)
            return ChangePage(changes=[], position=PublicId(mailbox_id, seq), has_more=False)
        seq = _seq(since, mailbox_id)
        page = await self._read(mailbox, seq, size)
        if not page.changes and wait_seconds > 0 and await self._watch.passes(mailbox_id, seq, wait_seconds):
            page = await self._read(mailbox, seq, size)
        return page

    async def _read(self, mailbox: Mailbox, seq: int, size: int) -> ChangePage:
        mailbox_id = mailbox.mailbox_id
        async with self._pool.acquire() as connection:
            names = await labels.names(connection, mailbox_id)
            latest = await store.position(connection, mailbox_id)
            found = await store.after(connection, mailbox.user_id, mailbox_id, seq, limit=size, label_names=names)
        reached = seq + len(found)
        # What is kept no longer can lie between what is: changes are numbered by commits, but as old as transactions.
        if (found[-1].seq if found else latest) != reached:
            raise _resync_required()
        return ChangePage(changes=collapsed(found), position=PublicId(mailbox_id, reached), has_more=reached < latest)


def collapsed(changes: Sequence[Change]) -> list[Change]:
    """Of each message the last change only; one that was created before it in the same list counts as created.

    What was created or changed and is gone by now is left out: its deletion comes later.
    """
    created = {change.message_id for change in changes if change.kind is ChangeKind.CREATED}
    last = {change.message_id: change for change in changes}
    return [
        Change(seq=change.seq, message_id=change.message_id, kind=_kind(change, created), message=change.message)
        for change in sorted(last.values(), key=lambda change: change.seq)
        if change.kind is ChangeKind.DELETED or change.message is not None
    ]


def _kind(change: Change, created: set[int]) -> ChangeKind:
    fresh = change.kind is ChangeKind.UPDATED and change.message_id in created
    return ChangeKind.CREATED if fresh else change.kind


def _seq(since: str, mailbox_id: int) -> int:
    found = parse_id(since)
    if found is None:
        raise AppError(Kind.INVALID, "invalid_since", "since is not a position that this feed gave.")
    if found.mailbox_id != mailbox_id:
        # The position of an address that was disconnected and connected anew, for example.
        raise _resync_required()
    return found.local_id


def _resync_required() -> AppError:
    return AppError(
        Kind.GONE,
        "resync_required",
        "Changes since then are not known any more: list everything, then follow again.",
    )


class _Watch:
    """Looks at the feeds that somebody waits for: one query at a time for all of them, none while nobody waits."""

    def __init__(self, pool: Pool, stop: asyncio.Event) -> None:
        self._pool = pool
        self._stop = stop
        self._waiting: Counter[int] = Counter()
        self._latest: dict[int, int] = {}
        self._looked_at = -math.inf
        self._looking = asyncio.Lock()

    async def passes(self, mailbox_id: int, seq: int, seconds: float) -> bool:
        """Whether the feed goes beyond `seq` within so many seconds."""
        deadline = time.monotonic() + min(seconds, LONGEST_WAIT)
        self._waiting[mailbox_id] += 1
        try:
            while (await self._look()).get(mailbox_id, 0) <= seq:
                if self._stop.is_set() or time.monotonic() >= deadline:
                    return False
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            self._waiting[mailbox_id] -= 1
            self._waiting += Counter()  # Drops what nobody waits for.
        return True

    async def _look(self) -> dict[int, int]:
        async with self._looking:
            if time.monotonic() - self._looked_at >= _LOOK_SECONDS:
                async with self._pool.acquire() as connection:
                    self._latest = await store.positions(connection, list(self._waiting))
                self._looked_at = time.monotonic()
            return self._latest
