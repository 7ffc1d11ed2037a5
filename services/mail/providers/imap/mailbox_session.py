"""A session of the engine with a mailbox over IMAP: its history is made from passes over its folders."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from services.mail.model import Label, ListedId, ProviderMessage
from services.mail.providers.base import FetchResult, Get, HistoryPage, IdPage, PartialMessage, Profile, Writing
from services.mail.providers.errors import (
    HistoryRestartedError,
    MessageGoneError,
    ProviderError,
    ProviderUnavailableError,
    RejectedError,
    UnreadableMessageError,
)
from services.mail.providers.folder_history.history import FolderHistory
from services.mail.providers.folder_history.model import HistoryState, KnownFolder, labels_by_message
from services.mail.providers.imap.changes import delta_of, last_of
from services.mail.providers.imap.content.contents import ImapContents
from services.mail.providers.imap.fetch import Snapshots, fetch, not_at_their_places
from services.mail.providers.imap.folders import ImapFolders
from services.mail.providers.imap.keeping import HeldMailboxes
from services.mail.providers.imap.labels import HIDING_ROLES, FolderLabels, labels_in
from services.mail.providers.imap.marks import MarksCheck, unnumbered_folders
from services.mail.providers.imap.passes import News, QuietPolls, look_for_news, run_steps
from services.mail.providers.imap.session import ImapSession
from services.mail.store.connection import Pool
from services.mail.store.folder_history import arrivals, folders, locations, passes
from services.mail.store.folder_history.folders import Overview

# Records of a page of changes, and messages whose labels are compared for a page of a listing by label.
_RECORDS: Final = 500
_COMPARED: Final = 1_000
_LOOKING: Final = "look:"
"""Begins the tokens of listings while the first pass is under way. Each page has another one, as listings must."""
# What tokens of changes say of the pass.
_ENDED: Final = "ended"
_UNDER_WAY: Final = "under way"
# Seconds for which passes look for messages that have left their places: two of them prove a deletion.
_SEARCH_SECONDS: Final = 2.0


class ImapMailboxSession:
    """The `MailboxSession` for IMAP. Without `writing` it only looks whether there are changes."""

    def __init__(
        self,
        mailbox_id: int,
        *,
        session: ImapSession,
        folders: ImapFolders,
        contents: ImapContents,
        marks: MarksCheck,
        quiet: QuietPolls,
        keeper: HeldMailboxes,
        pool: Pool,
        writing: Writing | None,
        step_seconds: float,
    ) -> None:
        self._mailbox_id = mailbox_id
        self._session = session
        self._folders = folders
        self._contents = contents
        self._marks = marks
        self._quiet = quiet
        self._keeper = keeper
        self._step_seconds = step_seconds
        self._pool = pool
        self._snapshots = Snapshots(pool, mailbox_id)
        self._history: FolderHistory | None = None
        if writing is not None:
            self._history = FolderHistory(mailbox_id, folders=folders, reading=pool.acquire, writing=writing)

    async def profile(self) -> Profile:
        """Return the number of the last record. The server counts messages of folders only."""
        await self._session.ensure_open()
        return Profile(cursor=(await self._state()).revision)

    async def version(self, external_id: str) -> int | None:
        """Return the number of the last record: what the history knows is of that version."""
        found = await self._snapshots.take([external_id])
        if not found.knows(external_id):
            raise MessageGoneError(external_id)
        return found.revision

    async def list_ids(
        self, *, page_token: str | None, page_size: int, include_spam_trash: bool, label_id: str | None = None
    ) -> IdPage:
        """Return pages in descending order of arrival, ordered by folder within each; those of a label by id.

        The first pass comes before any listing, and its pages are empty.
        """
        history = self._writing_history()
        if not (await self._state()).has_baseline and not await run_steps(history, seconds=self._step_seconds):
            return IdPage(listed=[], next_page_token=_next_look(page_token))
        token = None if page_token is not None and page_token.startswith(_LOOKING) else page_token
        if label_id is not None:
            return await self._list_by_label(label_id, after=token or "")
        hidden = frozenset() if include_spam_trash else HIDING_ROLES
        page = await history.list_page(token=token, limit=page_size, without_roles=hidden)
        return IdPage(
            listed=[_listed(each) for each in page.external_ids],
            next_page_token=page.token,
            skips_none=page.skips_none,
        )

    async def _list_by_label(self, label_id: str, *, after: str) -> IdPage:
        async with self._pool.acquire() as connection:
            ids = await arrivals.identified(connection, self._mailbox_id, after=after, limit=_COMPARED)
            places = await locations.of_messages(connection, self._mailbox_id, ids)
        listed = [
            _listed(external_id)
            for external_id, given in sorted(labels_by_message(places).items())
            if label_id in labels_in(given)
        ]
        return IdPage(listed=listed, next_page_token=ids[-1] if len(ids) == _COMPARED else None)

    async def list_changes(self, *, cursor: int, page_token: str | None) -> HistoryPage:
        """Go on with a pass, and return the records after `cursor`; outside of turns only whether there are any.

        The last page is that of a pass that has ended.
        """
        if self._history is None:
            return await self._look(cursor)
        history = self._writing_history()
        after, ended, number = cursor, False, 0
        if page_token is not None:
            position, word, page = page_token.split(":")
            after, ended, number = int(position), word == _ENDED, int(page)
        if not ended:
            ended = await run_steps(history, seconds=self._step_seconds)
        state = await self._state()
        if state.revision < cursor:
            raise HistoryRestartedError(f"{state.revision} is behind {cursor}")
        records = await history.records(after, limit=_RECORDS)
        last = last_of(records)
        is_last = ended and len(records) < _RECORDS
        return HistoryPage(
            changes=delta_of(records, FolderLabels(await self._known())),
            last_record=last,
            latest=state.revision,
            # Numbered: a page without records must not name itself as the next one.
            next_page_token=None if is_last else f"{last or after}:{_ENDED if ended else _UNDER_WAY}:{number + 1}",
            is_resumed=not ended,
        )

    async def _look(self, cursor: int) -> HistoryPage:
        async with self._pool.acquire() as connection:
            overview = await folders.overview(connection, self._mailbox_id)
        if overview.state.revision > cursor:
            news = News.CHANGED
        elif _deletes(overview) or await self._keeper.is_held_by_another(self._mailbox_id):
            # A turn looks over the connection that is there; this worker would have to sign in.
            news = News.DUE
        else:
            news = await look_for_news(self._folders, overview, quiet=self._quiet)
            if news is News.NONE and not await self._are_marks_known(overview):
                news = News.DUE
        return HistoryPage(
            changes=delta_of((), FolderLabels()),
            last_record=None,
            latest=max(overview.state.revision, cursor) + (news is News.CHANGED),
            next_page_token=None,
            needs_turn=news is News.DUE,
        )

    async def _are_marks_known(self, overview: Overview) -> bool:
        """Return whether the copy has the marks of all folders, or it is not yet time to compare them."""
        if not unnumbered_folders(overview.folders):
            return True
        async with self._session.connection() as connection:
            if not await self._marks.is_due(connection, self._mailbox_id, overview.state):
                return True
            return await self._marks.finds_nothing(connection, self._mailbox_id, overview)

    async def list_labels(self) -> list[Label] | None:
        """Return the folders of the last pass as labels, and the flags that people see."""
        await self._session.ensure_open()
        known = await self._known()
        if not known and self._history is not None:
            # The first step of a pass lists the folders.
            await self._writing_history().step()
            known = await self._known()
        return FolderLabels(known).all() if known else None

    async def list_send_as(self) -> list[str] | None:
        """Return None: IMAP does not tell."""
        return None

    async def fetch(self, gets: Sequence[Get], *, singly: bool = False) -> Mapping[str, FetchResult]:
        """Return messages from their places. Where several fail together, each is asked for by itself in any case.

        A message that is not at its place is looked for by passes: only the history tells that it is deleted. An error
        of these is that message's: the others are not in vain.
        """
        ids = [external_id for get in gets for external_id in get.external_ids]
        results = await self._fetch(ids, singly=singly)
        moved = not_at_their_places(results)
        if moved and self._history is not None:
            try:
                history = self._writing_history()
                for _ in range(2):
                    await run_steps(history, seconds=_SEARCH_SECONDS / 2)
                results |= await self._fetch(moved, singly=singly)
            except ProviderError as error:
                results |= dict.fromkeys(moved, error)
        return results

    async def _fetch(self, ids: Sequence[str], *, singly: bool) -> dict[str, FetchResult]:
        return await fetch(await self._snapshots.take(ids), ids, self._contents, singly=singly)

    async def complete(self, partial: PartialMessage) -> ProviderMessage:
        """Raise UnreadableMessageError: messages come with all text that is stored."""
        raise UnreadableMessageError(partial.external_id)

    async def watch(self) -> datetime:
        """Raise RejectedError: changes are announced over a kept connection, not by watches."""
        raise RejectedError("there are no watches")

    async def stop(self) -> None:
        """Do nothing: there are no watches."""

    def _writing_history(self) -> FolderHistory:
        """Return the history for steps that change it."""
        if self._history is None:
            raise ProviderUnavailableError("a listing needs a turn")
        self._snapshots.outdate()
        return self._history

    async def _state(self) -> HistoryState:
        async with self._pool.acquire() as connection:
            return await passes.load(connection, self._mailbox_id)

    async def _known(self) -> list[KnownFolder]:
        async with self._pool.acquire() as connection:
            return await folders.all_of(connection, self._mailbox_id)


def _deletes(overview: Overview) -> bool:
    """Return whether the next pass deletes messages that are missing. A folder that cannot be looked at delays that."""
    return overview.misses_some and all(each.unseen_for is None for each in overview.folders)


def _next_look(token: str | None) -> str:
    number = 0 if token is None else int(token.removeprefix(_LOOKING))
    return f"{_LOOKING}{number + 1}"


def _listed(external_id: str) -> ListedId:
    return ListedId(external_id=external_id, thread_id=None)
