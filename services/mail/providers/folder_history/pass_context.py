"""What the steps of a pass share: the provider's folders, and fenced transactions."""

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from services.mail.providers.folder_history.model import (
    HistoryState,
    KnownFolder,
    Location,
    labels_by_message,
    records_between,
)
from services.mail.providers.folder_history.port import MailFolders
from services.mail.store.connection import Connection
from services.mail.store.folder_history import locations, passes

_DAY: Final = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryLimits:
    """Rows of a transaction, and times in seconds.

    A folder that no listing has is asked for by name after `missing`. It delays deletions by `failing`, as a folder
    that fails does; the latter delays the listing of its messages by `listing`. A folder that is numbered anew again
    counts as failing for `restarts`, and for `restarts_message` per message, since each is listed and identified again;
    `restarts_longest` at most.
    """

    rows: int = 1_000
    missing: float = 120.0
    failing: float = _DAY
    listing: float = 300.0
    restarts: float = 60.0
    restarts_message: float = 0.1
    restarts_longest: float = _DAY / 4
    # Messages of a folder, and their share in it, whose loss needs a proof of its own.
    doubtful_count: int = 100
    doubtful_share: float = 0.2

    def between_restarts(self, messages: int) -> float:
        """Return the seconds for which a folder of so many messages keeps its numbering, or counts as failing."""
        return min(self.restarts_longest, self.restarts + self.restarts_message * messages)


@dataclass(frozen=True, slots=True, kw_only=True)
class PassContext:
    """The parts that a step needs. A transaction of `writing` commits only while the mailbox is held."""

    mailbox_id: int
    folders: MailFolders
    reading: Callable[[], AbstractAsyncContextManager[Connection]]
    writing: Callable[[], AbstractAsyncContextManager[Connection]]
    limits: HistoryLimits
    state: HistoryState

    @asynccontextmanager
    async def recording(
        self, connection: Connection, external_ids: Collection[str], *, adds: bool = True
    ) -> AsyncIterator[None]:
        """Append records of what the block changes for these messages; of new messages only if it `adds`."""
        ids = sorted(external_ids)
        before = labels_by_message(await locations.of_messages(connection, self.mailbox_id, ids))
        yield
        # What is not to be added has no records unless it was known.
        known = ids if adds else sorted(before)
        after = labels_by_message(await locations.of_messages(connection, self.mailbox_id, known)) if known else {}
        records = records_between(before, after)
        await passes.append(connection, self.mailbox_id, records)


def ids_of(listed: Collection[Location]) -> set[str]:
    """Return the ids of messages, as far as they are known."""
    return {location.external_id for location in listed if location.external_id is not None}


def own_id(folder: KnownFolder, key: str) -> str:
    """Return an id for a message that has no other one. It does not survive a move."""
    return f"{folder.folder_id}.{folder.generation}.{key}"
