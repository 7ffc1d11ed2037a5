"""A mailbox of folders in memory, as a provider without a history shows it, with changes and faults."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from services.mail.providers.errors import ProviderUnavailableError, RejectedError
from services.mail.providers.folder_history.port import Folder, FolderListing, Item, KeyRange, LookedAt, Page

_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
_LAST_KEY = 10**9


@dataclass
class FakeMessage:
    """A message in a folder. `content` stands for its bytes: equal for copies of one message."""

    content: str
    marks: frozenset[str] = frozenset()
    delay: timedelta = timedelta()

    @property
    def size(self) -> int:
        """A size that many messages share."""
        return 100 + len(self.content)


@dataclass
class FakeFolder:
    """A folder: its messages by number, the next number, and what numbers belong to."""

    validity: int
    messages: dict[int, FakeMessage] = field(default_factory=dict)
    next_number: int = 1
    role: str = ""


def key_of(number: int) -> str:
    """Return a number as a key: keys are ordered as texts."""
    return f"{number:010d}"


def arrival_of(content: str) -> datetime:
    """Return when a message arrived; a copy keeps it."""
    return _BEGIN + timedelta(seconds=sum(content.encode()) % 5)


class FakeFolders:
    """Implements MailFolders. Pages show `window` numbers, newest first.

    `gives_ids` is a provider with ids of its own for messages. Methods fail for the folders in `failing`, and once
    after `cut_in` more calls. `lies` hides messages of a folder from its pages, not from a proof; the pages of `older`
    folders say that they are older than what is known. Listings say that `quiet` folders are unchanged. Folders have
    their names for keys, but for those in `keys`, whose numbers are not known.
    Pages of folders that are `identified_at_once` have ids by contents. The messages of `nameless` contents have none,
    and one answer has the ids up to the first of them.
    """

    def __init__(self, *, window: int = 3, gives_ids: bool = False) -> None:
        self.by_name: dict[str, FakeFolder] = {}
        self.window = window
        self.gives_ids = gives_ids
        self.identified_at_once: set[str] = set()
        self.nameless: set[str] = set()
        self.failing: set[str] = set()
        self.down: set[str] = set()
        self.lies: dict[str, set[int]] = {}
        self.older: set[str] = set()
        self.quiet: set[str] = set()
        self.keys: dict[str, str] = {}
        self.looked_at: list[str] = []
        self.blames: list[bool] = []
        self.cut_in: int | None = None
        self.identified: list[str] = []
        self.proofs = 0
        self.largest_page = 0
        self._validities = 0
        self.create("Inbox", role="inbox")

    # Changes at the provider.

    def create(self, name: str, *, role: str = "") -> FakeFolder:
        """Make an empty folder."""
        self._validities += 1
        self.by_name[name] = FakeFolder(validity=self._validities, role=role)
        return self.by_name[name]

    def add(
        self, name: str, content: str, marks: AbstractSet[str] = frozenset(), *, delay: timedelta = timedelta()
    ) -> int:
        """Put a message into a folder, as if it arrived with a `delay`; return its number."""
        folder = self.by_name[name]
        number = folder.next_number
        folder.messages[number] = FakeMessage(content, frozenset(marks), delay)
        folder.next_number += 1
        return number

    def remove(self, name: str, number: int) -> FakeMessage:
        """Take a message out of a folder."""
        return self.by_name[name].messages.pop(number)

    def move(self, name: str, number: int, to: str) -> int:
        """Move a message to another folder; return its new number."""
        message = self.remove(name, number)
        return self.add(to, message.content, message.marks)

    def rename(self, name: str, new_name: str) -> None:
        """Give a folder another name."""
        self.by_name[new_name] = self.by_name.pop(name)

    def reset(self, name: str) -> None:
        """Number the messages of a folder anew."""
        folder = self.by_name[name]
        self._validities += 1
        kept = [folder.messages[number] for number in sorted(folder.messages)]
        folder.validity = self._validities
        folder.messages = dict(enumerate(kept, start=1))
        folder.next_number = len(kept) + 1

    # What is true.

    def contents(self) -> dict[str, set[tuple[str, str]]]:
        """Return the labels of all messages by content: folders, as ("folder", name), and ("mark", mark)."""
        found: dict[str, set[tuple[str, str]]] = {}
        for name, folder in self.by_name.items():
            for message in folder.messages.values():
                labels = found.setdefault(message.content, set())
                labels.add(("folder", name))
                labels.update(("mark", mark) for mark in message.marks)
        return found

    # The port.

    async def folders(self) -> FolderListing:
        """List the folders."""
        self._call()
        return FolderListing(
            folders=[
                Folder(key=self.keys.get(name, name), path=name, name=name.title(), role=folder.role)
                for name, folder in self.by_name.items()
            ]
        )

    def unchanged(self, looked_at: Sequence[LookedAt]) -> AbstractSet[str]:
        """Name the quiet folders."""
        return self.quiet & {each.folder.key for each in looked_at}

    async def exists(self, folder: Folder) -> bool:
        """Tell whether a folder exists."""
        self._call()
        return folder.path in self.by_name

    async def continues(self, folder: Folder, *, state: str) -> bool:
        """Compare what the numbers belong to."""
        found = self._open(folder)
        validity, next_number = map(int, state.split(":"))
        return folder.path not in self.keys and found.validity == validity and found.next_number >= next_number

    async def page(
        self, folder: Folder, *, state: str | None, known: int, token: str | None, blames: bool = True
    ) -> Page:
        """Show a window of numbers; first the validity and the next number are noted."""
        del known
        self.looked_at.append(folder.key)
        self.blames.append(blames)
        found = self._open(folder)
        if state is not None and int(state.split(":")[0]) != found.validity:
            return Page(restarts=True)
        noted, top = token.rsplit(":", 1) if token else (f"{found.validity}:{found.next_number}", str(_LAST_KEY))
        if int(noted.split(":")[0]) != found.validity:
            return Page(token=None if state else f"{found.validity}:{found.next_number}:{_LAST_KEY}", restarts=True)
        shown = sorted(self._shown(folder.path), reverse=True)
        numbers = [number for number in shown if number <= int(top)][: self.window]
        last = numbers[-1] if len(numbers) == self.window else 0
        self.largest_page = max(self.largest_page, len(numbers))
        return Page(
            items=[self._item(number, found.messages[number], of=folder.key) for number in numbers],
            covers=KeyRange(key_of(last), key_of(int(top))),
            token=f"{noted}:{last - 1}" if last > 1 else None,
            state=noted,
            is_older=folder.key in self.older,
        )

    async def items(
        self, folder: Folder, keys: Sequence[str], *, numbering: str | None, blames: bool = True
    ) -> Sequence[Item]:
        """Show messages."""
        del blames
        messages = self._numbered(folder, numbering).messages
        return [self._item(int(key), messages[int(key)]) for key in keys if int(key) in messages]

    async def identify(self, folder: Folder, keys: Sequence[str], *, numbering: str | None) -> Mapping[str, str | None]:
        """Name messages by their contents."""
        messages = self._numbered(folder, numbering).messages
        self.identified += [f"{folder.key}/{int(key)}" for key in keys]
        found: dict[str, str | None] = {}
        for key in keys:
            message = messages.get(int(key))
            is_named = message is not None and message.content not in self.nameless
            found[key] = message.content if message is not None and is_named else None
            if not is_named:
                break
        return found

    async def still_there(self, folder: Folder, keys: Sequence[str], *, numbering: str | None) -> AbstractSet[str]:
        """Look for messages without any lie."""
        self.proofs += 1
        messages = self._numbered(folder, numbering).messages
        return {key for key in keys if int(key) in messages}

    def _item(self, number: int, message: FakeMessage, *, of: str = "") -> Item:
        return Item(
            key=key_of(number),
            size=message.size,
            arrived_at=arrival_of(message.content) + message.delay,
            marks=message.marks,
            external_id=message.content if self.gives_ids or of in self.identified_at_once else None,
        )

    def _shown(self, name: str) -> set[int]:
        return self.by_name[name].messages.keys() - self.lies.get(name, set())

    def _numbered(self, folder: Folder, numbering: str | None) -> FakeFolder:
        found = self._open(folder)
        if numbering is not None and int(numbering.split(":")[0]) != found.validity:
            raise RejectedError("the folder is numbered anew")
        return found

    def _open(self, folder: Folder) -> FakeFolder:
        self._call()
        if folder.key in self.failing:
            raise RejectedError("the folder cannot be opened")
        if folder.key in self.down:
            raise ProviderUnavailableError("the folder's server is down")
        if folder.path not in self.by_name:
            raise RejectedError("no such folder")
        return self.by_name[folder.path]

    def _call(self) -> None:
        if self.cut_in is not None:
            self.cut_in -= 1
            if self.cut_in < 0:
                self.cut_in = None
                raise ProviderUnavailableError("cut")
