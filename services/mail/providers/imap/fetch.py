"""Messages by their ids: where they are, what is in them, and their labels as of the history's last record."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from services.mail.content.model import ParsedMessage
from services.mail.providers.base import FetchResult
from services.mail.providers.errors import (
    LimitError,
    MessageGoneError,
    PostponedError,
    ProviderError,
    ProviderUnavailableError,
    RejectedError,
)
from services.mail.providers.folder_history.model import KnownFolder, Location, labels_by_message
from services.mail.providers.imap.content.contents import ImapContents
from services.mail.providers.imap.content.messages import message_of
from services.mail.providers.imap.folders import UNKNOWN_TIME
from services.mail.providers.imap.look_plan import FolderState, LookPlan
from services.mail.store.connection import Pool
from services.mail.store.folder_history import folders, locations
from services.mail.store.folder_history.folders import Overview

# Seconds until a message is asked for again whose folder listings lack, and for how long: passes take two minutes to
# take a folder for gone, and for ever where the server says that it is there.
_MISSING_SECONDS: Final = 20.0
_LONGEST_MISSING: Final = 300.0


class Snapshot:
    """What the history knows of some messages, as of its last record."""

    def __init__(self, *, revision: int, known: Sequence[KnownFolder], places: Iterable[Location]) -> None:
        self.revision = revision
        self.folders = {each.folder_id: each for each in known}
        self._places: dict[str, list[Location]] = {}
        for place in places:
            self._places.setdefault(place.external_id or "", []).append(place)

    def knows(self, external_id: str) -> bool:
        """Return whether the message is not deleted, as far as the history knows."""
        return external_id in self._places

    def place_of(self, external_id: str) -> Location | None:
        """Return a place from which a message can be fetched; None while it is in no folder.

        A folder that listings lack, or that fails, is the last choice: it may be gone, or another name of one. Else it
        is the folder by which listings order the message.
        """
        places = [each for each in self._places.get(external_id, ()) if self._is_known(each)]
        return max(
            places,
            key=lambda each: (self.folders[each.folder_id].is_there, each.arrived_at, each.folder_id),
            default=None,
        )

    def _is_known(self, place: Location) -> bool:
        folder = self.folders.get(place.folder_id)
        return place.gone_in is None and folder is not None and folder.generation == place.generation

    def arrival_of(self, external_id: str) -> datetime | None:
        """Return when the message arrived: the earliest time that a folder has for it."""
        times = [each.arrived_at for each in self._places[external_id] if each.arrived_at != UNKNOWN_TIME]
        return min(times, default=None)

    def labels_of(self, external_id: str) -> frozenset[str]:
        """Return the folders and marks of a message."""
        return labels_by_message(self._places[external_id])[external_id]


class Snapshots:
    """Snapshots of a mailbox's history. During a turn nothing but its own session changes it."""

    def __init__(self, pool: Pool, mailbox_id: int) -> None:
        self._pool = pool
        self._mailbox_id = mailbox_id
        self._frame: Overview | None = None

    def outdate(self) -> None:
        """Read the history's state and folders again with the next snapshot: they are about to change."""
        self._frame = None

    async def take(self, external_ids: Sequence[str]) -> Snapshot:
        """Return what the history knows of these messages."""
        async with self._pool.acquire() as connection:
            if self._frame is None:
                self._frame = await folders.overview(connection, self._mailbox_id)
            places = await locations.of_messages(connection, self._mailbox_id, external_ids)
        return Snapshot(revision=self._frame.state.revision, known=self._frame.folders, places=places)


class MovedError(ProviderUnavailableError):
    """The message is not where the last pass has found it. A later pass tells where it is, or that it is deleted."""


async def fetch(
    found: Snapshot, external_ids: Sequence[str], contents: ImapContents, *, singly: bool = False
) -> dict[str, FetchResult]:
    """Return messages by id, each asked for by itself if `singly`, with an error for each that failed.

    MessageGoneError says that the history does not know the message, MovedError that it is not at its place,
    PostponedError that its folder is missing, LimitError that it was not asked for, or in vain: the results of other
    messages are not lost by it.
    """
    by_folder: dict[int, dict[str, Location]] = {}
    results: dict[str, FetchResult] = {}
    for external_id in external_ids:
        place = found.place_of(external_id)
        if place is None:
            known = found.knows(external_id)
            results[external_id] = MovedError(external_id) if known else MessageGoneError(external_id)
        else:
            by_folder.setdefault(place.folder_id, {})[external_id] = place
    limit: LimitError | None = None
    for folder_id, places in by_folder.items():
        given = {} if limit else await _contents(found.folders[folder_id], places, contents, singly=singly)
        limit = limit or next((each for each in given.values() if isinstance(each, LimitError)), None)
        for external_id, place in places.items():
            results[external_id] = _result(found, external_id, place, given.get(place.key, limit))
    return results


async def _contents(
    folder: KnownFolder, places: Mapping[str, Location], contents: ImapContents, *, singly: bool
) -> Mapping[str, ParsedMessage | ProviderError]:
    sizes = {place.key: place.size for place in places.values()}
    try:
        return await contents.fetch(folder.folder, sizes, state=state_of(folder), singly=singly)
    except RejectedError as error:
        # A folder that is gone stops no messages of others; the next passes tell.
        return dict.fromkeys(sizes, MessageGoneError(error.detail))


def _result(
    found: Snapshot, external_id: str, place: Location, content: ParsedMessage | ProviderError | None
) -> FetchResult:
    if content is None:
        return ProviderUnavailableError("the server gave no answer for a message")
    if isinstance(content, MessageGoneError):
        if _is_missing_lately(found.folders[place.folder_id]):
            return PostponedError(content.detail, retry_after=_MISSING_SECONDS)
        return MovedError(content.detail)
    if isinstance(content, ProviderError):
        return content
    return message_of(
        external_id,
        content,
        version=found.revision,
        arrived_at=found.arrival_of(external_id),
        labels=found.labels_of(external_id),
        size=place.size,
    )


def _is_missing_lately(folder: KnownFolder) -> bool:
    return folder.missing_for is not None and folder.missing_for < _LONGEST_MISSING


def state_of(folder: KnownFolder) -> str:
    """Return the state of a folder with its present numbering, also during the first look at it."""
    if folder.state is not None:
        return folder.state
    if folder.token is None:
        return FolderState(validity=0, uid_next=1).text()
    return LookPlan.of(folder.token).end.text()


def not_at_their_places(results: Mapping[str, FetchResult]) -> list[str]:
    """Return the messages that were not where the history has them."""
    return [external_id for external_id, result in results.items() if isinstance(result, MovedError)]
