"""The folders of a mailbox over IMAP, as the history of a mailbox looks at them (folder_history/port.py).

A look takes the best step that the server offers, and asks for nothing that it does not advertise:

- QRESYNC names what vanished; else the count of messages tells whether any did, and a search tells which.
- CONDSTORE names whose marks changed; else those of the last messages are read in each look, and the others in turn.
- Whatever the server offers, a look ends only when its count of messages equals ours.
"""

import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import batched
from typing import Final

import structlog

from services.mail.content.text.clean import clean_text
from services.mail.providers.folder_history.port import Folder, FolderListing, Item, LookedAt, Page
from services.mail.providers.imap.client.connection import Connection, SelectedFolder
from services.mail.providers.imap.client.errors import ConnectionLostError, RefusedError
from services.mail.providers.imap.client.folders import (
    INBOX,
    Answers,
    FolderList,
    FolderStatus,
    ListedFolder,
    examine,
    list_folders,
    list_with_statuses,
    statuses,
)
from services.mail.providers.imap.client.messages import (
    HEADERS_AT_ONCE,
    Attributes,
    fetch_headers,
    fetch_uid,
    search,
)
from services.mail.providers.imap.client.names import decode_name
from services.mail.providers.imap.client.uids import HIGHEST_UID, UidRange, sets_of
from services.mail.providers.imap.content.attributes import AttributeReader, without
from services.mail.providers.imap.identity import id_by_content, id_by_server
from services.mail.providers.imap.labels import PRINTABLE, marks_of
from services.mail.providers.imap.look import Doubted, first_page, next_page
from services.mail.providers.imap.look_plan import FolderState, key_of, state_in, validity_in
from services.mail.providers.imap.refusals import is_absence, is_of_messages, provider_error
from services.mail.providers.imap.session import ImapSession, check_numbering

log = structlog.get_logger()

_ROLES: Final[Mapping[str, str]] = {
    "\\sent": "sent",
    "\\drafts": "drafts",
    "\\junk": "spam",
    "\\trash": "trash",
    "\\archive": "archive",
}
# Times in a row that the headers of one message fail before it has none: an id from its place stays with it, and
# connections are lost by chance, too.
_FAILURES_OF_HEADERS: Final = 3
# Names that a command can have, and an index, whose entries have 2,704 bytes: as text a byte can take two of them.
_NAMED: Final = re.compile(rb"[^\x00\r\n]{1,1300}", re.DOTALL)
UNKNOWN_TIME: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""Stands for an arrival that the server does not give."""


@dataclass(frozen=True, slots=True)
class Polled:
    """The answers to a poll, and the numbers of the inbox.

    `digest` is that of the answers while the inbox is watched: with equal answers its numbers are equal, too.
    """

    connection: Connection
    answers: Answers
    inbox: FolderStatus
    digest: bytes | None


def _no_doubts(connection: Connection) -> Collection[int]:  # noqa: ARG001 - it doubts none of any connection
    return ()


class ImapFolders:
    """Implements MailFolders. Keys are UIDs with leading zeros; paths are the raw names as Latin-1."""

    def __init__(
        self,
        session: ImapSession,
        *,
        hidden_marks: AbstractSet[str] = frozenset(),
        doubted: Doubted = _no_doubts,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`hidden_marks` are keywords that the server sets for itself; names that end with `*` are prefixes.

        `doubted` are messages whose marks passes read whatever their turn.
        """
        self.session = session
        self._doubted = doubted
        self._now = now
        self._hidden = hidden_marks
        self._statuses: dict[bytes, FolderStatus] = {}
        # The numbers of the selected folder can be old ones.
        self._selected = b""

    async def folders(self) -> FolderListing:
        """List the folders that can be selected, and ask for their numbers."""
        async with self.session.connection() as connection:
            self._selected = b"" if connection.selected is None else connection.selected.name
            listed = await list_folders(connection)
            given = await statuses(connection, [each.name for each in listed.folders if _can_be_selected(each)])
        return self._listing(listed, given)

    async def poll(self, known: Sequence[Folder]) -> Polled | None:
        """Ask for the folders, and for numbers of the known ones that are not older than this call, the inbox included.

        While the inbox is watched its numbers are those of its selection. None if the server tells of news of it: they
        would be lost with another selection.
        """
        names = [_name_of(each) for each in known]
        async with self.session.connection() as connection:
            if _watched(connection.selected) is None:
                inbox = (await examine(connection, INBOX)).status
                return Polled(connection, await list_with_statuses(connection, names), inbox, digest=None)
            answers = await list_with_statuses(connection, names)
            watched = _watched(connection.selected)
            if watched is None or (connection.selected is not None and connection.selected.news):
                return None
            return Polled(connection, answers, watched, digest=answers.digest())

    def listing_of(self, polled: Polled) -> FolderListing:
        """Return the folders that a poll found, and keep their numbers."""
        listing = self._listing(polled.answers.folders(), polled.answers.statuses())
        told = self._statuses.get(INBOX)
        # Of a selected folder STATUS may tell old numbers, and not too large ones.
        if told is None or not _is_later(told, polled.inbox):
            self._statuses[INBOX] = polled.inbox
        self._selected = b""
        return listing

    def _listing(self, listed: FolderList, given: Mapping[bytes, FolderStatus | RefusedError]) -> FolderListing:
        """Return the folders that can be selected, and keep their numbers."""
        self._statuses = {name: each for name, each in given.items() if isinstance(each, FolderStatus)}
        found = [each for each in listed.folders if _can_be_selected(each)]
        if left_out := sum(each.holds_mail for each in listed.folders) - len(found):
            log.warning("folders with too long names are left out", count=left_out)
        ids = Counter(each.object_id for each in self._statuses.values())
        return FolderListing(
            folders=[self._folder(each, ids) for each in found],
            is_complete=listed.is_complete and INBOX in {each.name for each in found},
        )

    def status_of(self, folder: Folder) -> FolderStatus | None:
        """Return the numbers that a folder had when the folders were listed; None if the server gave none."""
        return self._statuses.get(_name_of(folder))

    def _folder(self, listed: ListedFolder, ids: Mapping[str | None, int]) -> Folder:
        """Return a folder. An id that several have identifies none of them."""
        status = self._statuses.get(listed.name)
        path = listed.name.decode("latin-1")
        object_id = None if status is None else status.object_id
        is_id = object_id is not None and PRINTABLE.fullmatch(object_id) is not None and ids[object_id] == 1
        return Folder(
            key=f"id:{object_id}" if is_id else f"name:{path}",
            path=path,
            name=clean_text(decode_name(listed.name)),
            role=_role_of(listed),
        )

    def unchanged(self, looked_at: Sequence[LookedAt]) -> AbstractSet[str]:
        """Compare the numbers. The inbox is looked at in each pass where the server does not number marks."""
        return {each.folder.key for each in looked_at if self._is_unchanged(each)}

    def _is_unchanged(self, looked_at: LookedAt) -> bool:
        name = _name_of(looked_at.folder)
        status, before = self._statuses.get(name), FolderState.of(looked_at.state)
        if status is None or name == self._selected or (name == INBOX and before.modseq is None):
            return False
        return before.is_final(status, known=looked_at.known, now=self._now())

    async def exists(self, folder: Folder) -> bool:
        """Return whether the folder exists, and is the user's own."""
        name = _name_of(folder)
        async with self.session.connection() as connection:
            if connection.namespaces.is_foreign(name):
                return False
            given = (await statuses(connection, [name])).get(name)
        if not isinstance(given, RefusedError):
            return True
        if is_absence(given):
            return False
        raise provider_error(given)

    async def continues(self, folder: Folder, *, state: str) -> bool:
        """Return whether a folder has the numbering of a state."""
        known, status = FolderState.of(state), self._statuses.get(_name_of(folder))
        if status is None or not known.validity or status.uid_validity != known.validity:
            return False
        return status.uid_next is None or status.uid_next >= known.uid_next

    async def page(
        self, folder: Folder, *, state: str | None, known: int, token: str | None, blames: bool = True
    ) -> Page:
        """Return the next page of a look."""
        name = _name_of(folder)
        try:
            if token is None:
                status = await self._status_before_look(name)
                return await first_page(
                    self.session, name, state=state, status=status, item=self.item, now=self._now(), blames=blames
                )
            return await next_page(
                self.session, name, token=token, known=known, item=self.item, doubted=self._doubted, blames=blames
            )
        finally:
            self.session.note_look()

    async def _status_before_look(self, name: bytes) -> FolderStatus | None:
        """Return the numbers of a folder as they were listed, or as they are now if an earlier session listed them.

        Without a modseq the next passes compare the count of unseen messages. None of the selected folder, whose
        numbers can be old ones; the inbox is looked at in each pass.
        """
        if name == INBOX or (name in self._statuses and name != self._selected):
            return None if name == self._selected else self._statuses.get(name)
        async with self.session.connection() as connection:
            is_selected = connection.selected is not None and connection.selected.name == name
            if is_selected or connection.has("CONDSTORE"):
                return None
            given = (await statuses(connection, [name])).get(name)
        return given if isinstance(given, FolderStatus) else None

    async def items(
        self, folder: Folder, keys: Sequence[str], *, numbering: str | None, blames: bool = True
    ) -> Sequence[Item]:
        """Return messages. One that the server has, and whose attributes it does not give, has none."""
        name, validity, wanted = _name_of(folder), validity_in(numbering), set(map(int, keys))
        reader = AttributeReader(
            self.session,
            name,
            validity=validity,
            unreadable=_unreadable_in(numbering),
            item=self.item,
            blames=blames,
        )
        given = await reader.read(wanted)
        there: set[int] = set()
        async with self.session.selected(name, validity=validity) as connection:
            for uids in sets_of(wanted):
                there.update(await search(connection, UidRange(1, HIGHEST_UID), among=uids))
        return [self.item(given.get(uid, Attributes(uid=uid))) for uid in sorted(wanted & there)]

    async def identify(self, folder: Folder, keys: Sequence[str], *, numbering: str | None) -> Mapping[str, str | None]:
        """Return ids by header block and size; where a fetch fails, of the messages up to the one that is to blame."""
        found: dict[str, str | None] = {}
        for some in batched(keys, HEADERS_AT_ONCE, strict=False):
            given = await self._by_headers(folder, some, numbering)
            if given is None:
                return found or await self._identify_singly(folder, some, numbering)
            found |= given
        return found

    async def _identify_singly(
        self, folder: Folder, keys: Sequence[str], numbering: str | None
    ) -> Mapping[str, str | None]:
        """Return ids one by one, up to the first message whose headers fail.

        Halves would take fewer commands, and more of the sign-ins that follow lost connections, which are few.
        """
        found: dict[str, str | None] = {}
        for key in keys:
            given = None
            for _ in range(_FAILURES_OF_HEADERS):
                given = given or await self._by_headers(folder, [key], numbering)
            if given is None:
                async with self.session.selected(_name_of(folder), validity=validity_in(numbering)) as connection:
                    # Raises where it is not the headers that fail.
                    await fetch_uid(connection, int(key))
                return found | {key: None}
            found |= given
        return found

    async def _by_headers(
        self, folder: Folder, keys: Sequence[str], numbering: str | None
    ) -> dict[str, str | None] | None:
        """Return the ids of all these messages; None where the fetch of their headers fails."""
        found: dict[str, str | None] = dict.fromkeys(keys)
        async with self.session.selected(_name_of(folder), validity=validity_in(numbering)) as connection:
            for uids in sets_of(without(map(int, keys), _unreadable_in(numbering))):
                try:
                    given = await fetch_headers(connection, uids)
                except (RefusedError, ConnectionLostError) as error:
                    if not is_of_messages(error):
                        raise
                    log.info("a mail server gives no headers", error=str(error))
                    return None
                found |= {key: _content_id(each) for uid, each in given.items() if (key := key_of(uid)) in found}
        return found

    async def still_there(self, folder: Folder, keys: Sequence[str], *, numbering: str | None) -> AbstractSet[str]:
        """Ask over a new connection which messages are there, one for all proofs until the next look.

        Sign-ins are few, and the proofs of a large loss take many turns.
        """
        name = _name_of(folder)
        found: set[str] = set()
        async with self.session.without_looks() as connection:
            await examine(connection, name)
            check_numbering(connection, validity_in(numbering))
            for uids in sets_of(map(int, keys)):
                found.update(map(key_of, await search(connection, UidRange(1, HIGHEST_UID), among=uids)))
        return found

    def item(self, given: Attributes) -> Item:
        """Return a message with its marks: names of the system's flags, and keywords as they are."""
        return Item(
            key=key_of(given.uid),
            size=given.size or 0,
            arrived_at=given.arrived_at or UNKNOWN_TIME,
            marks=marks_of(given.flags or (), hidden=self._hidden),
            external_id=_server_id(given.object_id) or _content_id(given),
        )


def _can_be_selected(listed: ListedFolder) -> bool:
    return listed.holds_mail and _NAMED.fullmatch(listed.name) is not None


def _watched(selected: SelectedFolder | None) -> FolderStatus | None:
    """Return the numbers of a selected folder that is watched; None for another one."""
    if selected is None or not selected.is_watched:
        return None
    return FolderStatus(
        exists=selected.exists, uid_next=selected.uid_next, uid_validity=selected.validity, modseq=selected.modseq
    )


def _is_later(one: FolderStatus, other: FolderStatus) -> bool:
    return (one.uid_next or 0) > (other.uid_next or 0) or (one.modseq or 0) > (other.modseq or 0)


def _role_of(listed: ListedFolder) -> str:
    """Return the role of a folder: of several that it claims the first one, in each process."""
    if listed.name == INBOX:
        return "inbox"
    return next((role for attribute, role in _ROLES.items() if attribute in listed.attributes), "")


def _unreadable_in(numbering: str | None) -> Collection[int]:
    state = state_in(numbering)
    return () if state is None else state.unreadable


def _name_of(folder: Folder) -> bytes:
    return folder.path.encode("latin-1")


def _content_id(given: Attributes) -> str | None:
    """Return the id by header block and size; None where the server gave only one of them, or an empty header."""
    return id_by_content(given.header, given.size) if given.header and given.size is not None else None


def _server_id(object_id: str | None) -> str | None:
    return id_by_server(object_id) if object_id is not None and PRINTABLE.fullmatch(object_id) else None
