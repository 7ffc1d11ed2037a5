"""The protocol of a mailbox's folders, which a provider without a history of its own implements."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A folder of the provider.

    `key` identifies it for as long as the provider can tell; `path` is its name in requests, `name` the one for people.
    `role` is inbox, sent, drafts, spam, trash, archive or empty.
    """

    key: str
    path: str
    name: str
    role: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderListing:
    """The folders of a mailbox. Where `is_complete` is false, folders can exist that are not listed."""

    folders: Sequence[Folder]
    is_complete: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A message in a folder, under a key of the folder's. Keys are texts in code point order, and never used again.

    `external_id` is the provider's id of the message in whatever folder it is; None where it has none.
    """

    key: str
    size: int
    arrived_at: datetime
    marks: frozenset[str] = frozenset()
    external_id: str | None = None


@dataclass(frozen=True, slots=True)
class KeyRange:
    """The keys from `first` to `last`, both included."""

    first: str
    last: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A part of a look at a folder.

    `items` are there, with these marks. `vanished` are gone. Within `covers` only the keys in `present` are there; the
    keys of `items` are among them. `is_older` says that the answer is older than what is known, as that of a replica
    that lags: what it lacks needs a proof. `restarts` says that the provider numbers the folder anew: no known key
    means anything, and the look begins again. `token` continues the look; None ends it, and the folder is then in
    `state`.
    """

    items: Sequence[Item] = ()
    vanished: Sequence[KeyRange] = ()
    covers: KeyRange | None = None
    present: Sequence[str] = ()
    is_older: bool = False
    restarts: bool = False
    token: str | None = None
    state: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LookedAt:
    """A folder after its last look: the state of its end, and the number of known messages."""

    folder: Folder
    state: str
    known: int


class MailFolders(Protocol):
    """The folders of one mailbox. Methods raise ProviderError; RejectedError is of the one folder only.

    Where keys are given, `numbering` is a state or a token of the folder that they come from. The methods raise
    RejectedError if the provider has numbered the folder anew since: the keys would be those of other messages.
    """

    async def folders(self) -> FolderListing:
        """Return the folders that hold mail."""
        ...

    def unchanged(self, looked_at: Sequence[LookedAt]) -> AbstractSet[str]:
        """Return the keys of folders whose look would find nothing, as far as the last listing told."""
        ...

    async def exists(self, folder: Folder) -> bool:
        """Return whether the folder exists; false only if the provider says so."""
        ...

    async def continues(self, folder: Folder, *, state: str) -> bool:
        """Return whether a folder may be the one that was in this state, under another name."""
        ...

    async def page(
        self, folder: Folder, *, state: str | None, known: int, token: str | None, blames: bool = True
    ) -> Page:
        """Return the next page of a look at a folder, the first one for a `token` of None.

        `state` is that of the last look's end, None for a new folder; `known` is the number of known messages in it.
        A repeated call may return another page that continues at the same place. Unless it `blames` single
        messages for a failure, it is an outage: the look fails, and is repeated later.
        """
        ...

    async def items(
        self, folder: Folder, keys: Sequence[str], *, numbering: str | None, blames: bool = True
    ) -> Sequence[Item]:
        """Return these messages of a folder, as far as they are there; `blames` as in `page`."""
        ...

    async def identify(self, folder: Folder, keys: Sequence[str], *, numbering: str | None) -> Mapping[str, str | None]:
        """Return ids of some of these messages, equal for equal messages in any folder; None for one that has none.

        The other messages are to be asked for again when these are stored; an empty answer says that none has an id.
        What the provider does not tell of a message is no error: errors are those of the folder, as its looks meet.
        """
        ...

    async def still_there(self, folder: Folder, keys: Sequence[str], *, numbering: str | None) -> AbstractSet[str]:
        """Return which of these messages are there by a proof that does not depend on earlier answers."""
        ...
