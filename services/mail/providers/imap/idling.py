"""Connections that wait between sessions: the server announces changes of the inbox over them (IDLE, RFC 2177)."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog

from services.mail.providers.folder_history.model import KnownFolder
from services.mail.providers.imap.client.connection import Connection
from services.mail.providers.imap.client.errors import ImapError
from services.mail.providers.imap.client.folders import INBOX, examine
from services.mail.providers.imap.client.idle import idle, some_seconds
from services.mail.providers.imap.client.messages import fetch_flags
from services.mail.providers.imap.client.uids import HIGHEST_UID, UidRange, gaps, sets_of
from services.mail.providers.imap.labels import marks_of
from services.mail.providers.imap.look import RECENT
from services.mail.providers.imap.look_plan import FolderState, key_of
from services.mail.providers.imap.marks import differing, search_marks
from services.mail.store.connection import DATABASE_LOST, Pool
from services.mail.store.control import schedule
from services.mail.store.folder_history import folders, locations
from services.mail.store.folder_history.locations import MarkedFolder

# Seconds, at most, after which a lost connection is opened again, so that many are not opened at once.
_LONGEST_PAUSE: Final = 5.0
# Seconds after which it is looked again whether a turn is due. Turns that follow each other are milliseconds apart.
_BETWEEN_TURNS: Final = 1.0
# Seconds, at least, of an IDLE that told of nothing. A server that ends each of them at once would be asked for ever.
_SHORTEST_IDLE: Final = 5.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcer:
    """What idling needs besides a connection: to tell the schedule of news, or that it is to look for some, and chance.

    `announce` returns False while the database is away.

    Once it was told of news, a turn is to take the connection: further ones within `pause` seconds are the same. A
    connection that lasts `stable` seconds is opened again after its loss; servers may refuse to keep any.
    """

    announce: Callable[[int], Awaitable[bool]]
    look: Callable[[int], Awaitable[None]]
    generator: random.Random
    pause: float = 1.0
    stable: float = 60.0

    async def tell(self, mailbox_id: int, *, stop: asyncio.Event) -> None:
        """Announce news, and wait a moment for the turn. The server tells of them once: a poll would come late."""
        is_told = False
        while not is_told and not stop.is_set():
            is_told = await self.announce(mailbox_id)
            await _wait(stop, seconds=self.pause)


async def _wait(stop: asyncio.Event, *, seconds: float) -> None:
    """Wait for some seconds, or until `stop`."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbox:
    """The inbox of a mailbox, as the passes over its folders have left it. `hidden_marks` as for ImapFolders."""

    mailbox_id: int
    pool: Pool
    hidden_marks: AbstractSet[str]

    async def rests(self, *, stop: asyncio.Event) -> None:
        """Wait until no turn is due, or until `stop`. A turn may well end without a use of the connection."""
        while not stop.is_set() and await self._is_due():
            await _wait(stop, seconds=_BETWEEN_TURNS)

    async def _is_due(self) -> bool:
        async with self.pool.acquire() as connection:
            return await schedule.is_due(connection, self.mailbox_id)

    async def select(self, connection: Connection) -> bool:
        """Select the inbox, unless it is watched; return False if a pass is to look at it. Raises ImapError.

        The server tells of changes that come after the selection: from then on the inbox is watched. Without a modseq
        a change of marks shows in no number, so they are compared first.
        """
        if connection.selected is not None and connection.selected.is_watched:
            return True
        status = (await examine(connection, INBOX)).status
        known = await self._known()
        if known is None or known.state is None or known.token is not None or known.failing_for is not None:
            # Passes look at it, or polls tell when they do.
            return True
        if not FolderState.of(known.state).is_like(status, known=known.known):
            return False
        has_marks = status.modseq is not None or await self._has_marks(connection, known)
        if connection.selected is not None:
            connection.selected.is_watched = has_marks
        return has_marks

    async def _known(self) -> KnownFolder | None:
        async with self.pool.acquire() as connection:
            known = await folders.all_of(connection, self.mailbox_id)
        return next((each for each in known if each.folder.role == "inbox" and not each.is_gone), None)

    async def _has_marks(self, connection: Connection, known: KnownFolder) -> bool:
        """Return whether the last messages have the marks that are known, those that each pass reads."""
        if not known.known:
            return True
        first = ""
        if known.known > RECENT:
            async with self.pool.acquire() as reading:
                first = await locations.nth_last(
                    reading, self.mailbox_id, known.folder_id, known.generation, number=RECENT
                )
        unreadable = FolderState.of(known.state).unreadable if known.state is not None else ()
        searched = await search_marks(connection, hidden=self.hidden_marks, since=int(first or 1))
        doubted: set[int] | None = None
        if searched is not None:
            marked = MarkedFolder(known.folder_id, known.generation, first)
            others = await differing(self.pool, self.mailbox_id, {known.folder_id: searched}, [marked])
            doubted = None if others is None else others.get(known.folder_id, set()).difference(unreadable)
        uids = [gaps(UidRange(int(first or 1), HIGHEST_UID), unreadable)] if doubted is None else sets_of(doubted)
        return all([await self._have_marks(connection, known, each) for each in uids])

    async def _have_marks(self, connection: Connection, known: KnownFolder, uids: str) -> bool:
        """Compare what passes read: a server whose searches find something else would have turn after turn."""
        given = {key_of(uid): each for uid, each in (await fetch_flags(connection, uids)).items()}
        async with self.pool.acquire() as reading:
            stored = await locations.with_keys(reading, self.mailbox_id, known.folder_id, known.generation, list(given))
        return all(
            marks_of(each.flags, hidden=self.hidden_marks) == stored[key].marks
            for key, each in given.items()
            if key in stored and each.flags is not None
        )


async def wait_for_news(inbox: Inbox, connection: Connection, *, announcer: Announcer, stop: asyncio.Event) -> None:
    """Announce news of the inbox until `stop` or the loss of the connection, after which it is looked for some.

    It begins once no turn is due: the many turns of a first sync would each compare the marks of the inbox. The inbox
    stays selected: what changes after the look at its begin the server tells, while it idles or before. Where the
    server ends IDLE at once, polls ask for news, and another IDLE follows each of them.
    """
    began = time.monotonic()
    try:
        if connection.selected is None or not connection.selected.is_watched:
            await inbox.rests(stop=stop)
            if stop.is_set():
                return
        if not await inbox.select(connection):
            await announcer.tell(inbox.mailbox_id, stop=stop)
        heard = 0
        while not stop.is_set():
            idled = time.monotonic()
            news = await idle(connection, seconds=some_seconds(announcer.generator), stop=stop, heard=heard)
            if news > heard and not stop.is_set():
                await announcer.tell(inbox.mailbox_id, stop=stop)
            elif not stop.is_set() and time.monotonic() - idled < _SHORTEST_IDLE:
                log.info("the mail server ends IDLE at once", mailbox_id=inbox.mailbox_id)
                return
            heard = news
    except (ImapError, *DATABASE_LOST) as error:
        log.info("a mailbox idles no more", mailbox_id=inbox.mailbox_id, error=type(error).__name__)
        if time.monotonic() - began < announcer.stable:
            return
        await _wait(stop, seconds=announcer.generator.uniform(0, _LONGEST_PAUSE))
        if not stop.is_set():
            await announcer.look(inbox.mailbox_id)
