"""Marks at the server against those that the copy has, where the server does not number their changes.

Searches name the messages that have a flag: some bytes for each of them, while FETCH takes fifty for every message.
They find no keyword that the server does not name as one of the folder's; a pass that reads messages does, once a day.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final
from weakref import WeakKeyDictionary

from services.mail.providers.folder_history.model import HistoryState, KnownFolder, Phase
from services.mail.providers.imap.client.connection import Connection
from services.mail.providers.imap.client.errors import MalformedResponseError, RefusedError, UnsafeArgumentError
from services.mail.providers.imap.client.folders import INBOX, examine
from services.mail.providers.imap.client.messages import search_each, uids_of
from services.mail.providers.imap.labels import marks_of
from services.mail.providers.imap.look_plan import MARKS_SECONDS, FolderState
from services.mail.store.connection import Pool
from services.mail.store.control import idle_mailboxes
from services.mail.store.folder_history import locations
from services.mail.store.folder_history.folders import Overview
from services.mail.store.folder_history.locations import MarkedFolder

LONGEST_MARKS_SECONDS: Final = 3_600.0
"""Seconds between two comparisons of the marks of a mailbox that has been quiet for long."""
MOST_COMPARED: Final = 100_000
"""Messages of a mailbox whose marks are compared at once; of larger ones passes read some."""
# Marks are compared again after this part of the time for which a mailbox has been quiet.
_QUIET_SHARE: Final = 1 / 4
# Searched for by its absence, since most messages are read.
_SEEN: Final = "seen"
_KEYS: Final[Mapping[str, str]] = {
    _SEEN: "UNSEEN",
    "flagged": "FLAGGED",
    "draft": "DRAFT",
    "answered": "ANSWERED",
    "deleted": "DELETED",
}
# Keywords of a folder that are searched for. Each is a command.
_MOST_KEYWORDS: Final = 32
# Messages of a folder that the next pass reads after a comparison.
_MOST_DOUBTED: Final = 1_000

type Searched = Mapping[str, bytes]
"""The UIDs of messages by mark, as the server writes them; of those without it for `seen`."""


async def search_marks(connection: Connection, *, hidden: AbstractSet[str], since: int = 1) -> Searched | None:
    """Return the marks of the messages of the selected folder from UID `since` on.

    None if the server refuses a search, or the folder has too many keywords. `hidden` as for ImapFolders.
    """
    given = connection.selected.keywords if connection.selected is not None else ()
    keywords = {mark: f"KEYWORD {each}" for each in given for mark in marks_of([each], hidden=hidden)}
    if len(keywords) > _MOST_KEYWORDS:
        return None
    keys = {**_KEYS, **keywords}
    try:
        return dict(zip(keys, await search_each(connection, list(keys.values()), since=since), strict=True))
    except (RefusedError, MalformedResponseError, UnsafeArgumentError):
        return None


async def differing(
    pool: Pool, mailbox_id: int, searched: Mapping[int, Searched], marked: Sequence[MarkedFolder]
) -> dict[int, set[int]] | None:
    """Return the UIDs of messages that have other marks in the copy, by folder; None if an answer cannot be read.

    `searched` are the marks at the server by folder. Folders without such messages are left out.
    """
    async with pool.acquire() as connection:
        known = await locations.by_mark(connection, mailbox_id, marked, lacked=_SEEN)
    found: dict[int, set[int]] = {}
    try:
        for folder_id, marks in searched.items():
            for mark, uids in marks.items():
                if others := uids_of(uids) ^ set(map(int, known.get((folder_id, mark), ()))):
                    found[folder_id] = found.get(folder_id, set()) | others
    except MalformedResponseError:
        return None
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compared:
    """Answers of searches that named the marks of the copy, so many seconds after the end of a pass."""

    pass_number: int
    passed: float
    digest: bytes


class MarksCheck:
    """Compares the marks of quiet mailboxes. What it remembers of a comparison ends with the connection.

    `longest` are the seconds between two comparisons of a mailbox at most.
    """

    def __init__(self, pool: Pool, *, hidden_marks: AbstractSet[str], longest: float = LONGEST_MARKS_SECONDS) -> None:
        self._pool = pool
        self._hidden = hidden_marks
        self._longest = longest
        self._compared = WeakKeyDictionary[Connection, _Compared]()
        self._doubted = WeakKeyDictionary[Connection, dict[bytes, Sequence[int]]]()

    async def is_due(self, connection: Connection, mailbox_id: int, state: HistoryState) -> bool:
        """Return whether it is time to compare again; for active mailboxes sooner than for quiet ones."""
        passed, compared = state.ended_ago or 0.0, self._compared.get(connection)
        if compared is not None and compared.pass_number == state.pass_number:
            passed -= compared.passed
        if passed < MARKS_SECONDS:
            return False
        async with self._pool.acquire() as reading:
            quiet_for = await idle_mailboxes.quiet_for(reading, mailbox_id)
        return passed >= min(self._longest, quiet_for * _QUIET_SHARE)

    async def finds_nothing(self, connection: Connection, mailbox_id: int, overview: Overview) -> bool:
        """Return whether the marks of all folders are those of the copy. Raises ImapError.

        It selects the inbox last, if that has messages; then it is watched.
        """
        unnumbered = unnumbered_folders(overview.folders)
        if sum(each.known for each in unnumbered) > MOST_COMPARED or overview.state.phase is not Phase.IDLE:
            return False
        searched: dict[int, Searched] = {}
        for known in reversed(unnumbered):
            if (marks := await self._search(connection, known)) is None:
                return False
            searched[known.folder_id] = marks
        digest = _digest(searched)
        if not self._has_compared(connection, overview, digest):
            places = [MarkedFolder(each.folder_id, each.generation) for each in unnumbered]
            others = _readable(await differing(self._pool, mailbox_id, searched, places), unnumbered)
            if others is None or others:
                self._doubt(connection, unnumbered, others or {})
                return False
        self._compared[connection] = _Compared(
            pass_number=overview.state.pass_number, passed=overview.state.ended_ago or 0.0, digest=digest
        )
        if connection.selected is not None and connection.selected.name == INBOX:
            connection.selected.is_watched = True
        return True

    def _has_compared(self, connection: Connection, overview: Overview, digest: bytes) -> bool:
        """Return whether these answers named the marks of the copy, which no pass has written since."""
        compared = self._compared.get(connection)
        return compared is not None and (compared.pass_number, compared.digest) == (overview.state.pass_number, digest)

    def _doubt(
        self, connection: Connection, folders: Sequence[KnownFolder], others: Mapping[int, AbstractSet[int]]
    ) -> None:
        """Let the next pass read messages, the last ones of each folder: it would reach old ones after many others."""
        self._doubted[connection] = {
            _name_of(each): sorted(others[each.folder_id])[-_MOST_DOUBTED:]
            for each in folders
            if each.folder_id in others
        }

    def doubted(self, connection: Connection) -> Sequence[int]:
        """Return the messages of the selected folder whose marks are others than those of the copy, once."""
        name = b"" if connection.selected is None else connection.selected.name
        return self._doubted.get(connection, {}).pop(name, ())

    async def _search(self, connection: Connection, known: KnownFolder) -> Searched | None:
        """Return the marks of a folder; None if they cannot be searched for, or its messages are others."""
        try:
            status = (await examine(connection, _name_of(known))).status
        except RefusedError:
            return None
        if known.state is None or not FolderState.of(known.state).is_like(status, known=known.known):
            return None
        return await search_marks(connection, hidden=self._hidden)


def unnumbered_folders(folders: Sequence[KnownFolder]) -> list[KnownFolder]:
    """Return the folders with messages whose marks are to be compared, since no number tells of them."""
    return [
        each
        for each in folders
        if each.is_there and each.known and each.state is not None and FolderState.of(each.state).modseq is None
    ]


def _readable(others: dict[int, set[int]] | None, folders: Sequence[KnownFolder]) -> dict[int, set[int]] | None:
    """Leave out messages that a pass could not read either."""
    if others is None:
        return None
    unreadable = {each.folder_id: FolderState.of(each.state).unreadable for each in folders if each.state is not None}
    found = {folder_id: uids.difference(unreadable.get(folder_id, ())) for folder_id, uids in others.items()}
    return {folder_id: uids for folder_id, uids in found.items() if uids}


def _name_of(known: KnownFolder) -> bytes:
    return known.folder.path.encode("latin-1")


def _digest(searched: Mapping[int, Searched]) -> bytes:
    digest = blake2b(digest_size=16)
    for folder_id, marks in searched.items():
        for mark, uids in marks.items():
            digest.update(b"%d %s%s\n" % (folder_id, mark.encode(), uids))
    return digest.digest()
