"""A mailbox of the sandbox as folders: which messages are where, under which UIDs.

A label is a folder, except for those that are flags or mere marks. A message with several such labels is in several
folders, with the same flags in each; one without any is in the archive. Folders follow the mailbox's history, whoever
changes it.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator

from services.sandbox.imap.flags import KEYWORD
from services.sandbox.mailboxes.history import Change
from services.sandbox.mailboxes.mailbox import Mailbox, Message

ARCHIVE = "ARCHIVE"
ROLES = ("INBOX", "SENT", "DRAFT", "SPAM", "TRASH", ARCHIVE)


class Folder:
    """The messages of one folder. UIDs rise and are never used again until UIDVALIDITY changes."""

    def __init__(self, folder_id: str, *, uidvalidity: int) -> None:
        self.id = folder_id
        self.uidvalidity = uidvalidity
        self.uidnext = 1
        self.modseq = 1
        """The highest mod-sequence of a change here (RFC 7162): it rises with removals, too."""
        self.uids: list[int] = []
        """Ascending."""
        self.messages: dict[int, Message] = {}
        self.version = 0
        """Grows with every change."""
        self._uid_by_id: dict[str, int] = {}
        # Those above 1 only: most messages of a large folder never change.
        self._modseqs: dict[int, int] = {}

    def uid_of(self, message_id: str) -> int | None:
        """Return the UID of a message, None if it is not here."""
        return self._uid_by_id.get(message_id)

    def modseq_of(self, uid: int) -> int:
        """Return the mod-sequence of a message (RFC 7162)."""
        return self._modseqs.get(uid, 1)

    def add(self, message: Message, *, modseq: int = 1) -> int:
        """Add a message under the next UID."""
        uid = self.uidnext
        self.uidnext += 1
        self.uids.append(uid)
        self.messages[uid] = message
        self._uid_by_id[message.id] = uid
        self.touch(uid, modseq)
        return uid

    def touch(self, uid: int, modseq: int) -> None:
        """Record a change of the message."""
        self.version += 1
        self.modseq = max(self.modseq, modseq)
        if modseq > 1:
            self._modseqs[uid] = modseq

    def remove(self, uid: int, modseq: int) -> None:
        """Remove a message."""
        self.version += 1
        self.modseq = max(self.modseq, modseq)
        del self.uids[bisect_left(self.uids, uid)]
        del self._uid_by_id[self.messages.pop(uid).id]
        self._modseqs.pop(uid, None)

    def renumber(self, *, uidvalidity: int) -> None:
        """Give every message another UID under another UIDVALIDITY."""
        messages = [self.messages[uid] for uid in self.uids]
        self.uidvalidity, self.uidnext = uidvalidity, 1
        for kept in (self.uids, self.messages, self._uid_by_id, self._modseqs):
            kept.clear()
        for message in messages:
            self.add(message)


class MailboxFolders:
    """All folders of a mailbox."""

    def __init__(self, mailbox: Mailbox, *, new_uidvalidity: Callable[[], int]) -> None:
        self.mailbox = mailbox
        self.modseq = 1
        """The last mod-sequence of any folder."""
        self.sizes: dict[str, int] = {}
        self.listeners: set[Callable[[], None]] = set()
        self._new_uidvalidity = new_uidvalidity
        self._folders: dict[str, Folder] = {}
        # The folders of each message by its id.
        self._where: dict[str, set[str]] = {}
        self._labels: list[str] = []

    def all(self) -> list[Folder]:
        """Return all folders, those with a role first, then by the age of their labels."""
        self._follow()
        return list(self._folders.values())

    def find(self, folder_id: str) -> Folder | None:
        """Return a folder, None for an unknown id."""
        self._follow()
        return self._folders.get(folder_id)

    def size_of(self, message: Message) -> int:
        """Return the exact length of a message in bytes."""
        if message.id not in self.sizes:
            self.sizes[message.id] = len(self.mailbox.content(message).raw())
        return self.sizes[message.id]

    def places_of(self, message: Message) -> set[str]:
        """Return the ids of the folders that hold the message."""
        return self._places(message.labels)

    def reset(self, folder: Folder) -> None:
        """Change the folder's UIDVALIDITY and all its UIDs."""
        folder.renumber(uidvalidity=self._new_uidvalidity())
        self._notify()

    def apply(self, change: Change) -> None:
        """Follow a change of the mailbox."""
        if not self._folders:
            return
        self.modseq += 1
        self._follow_labels()
        # The labels of before can be those of folders that are gone.
        old = self._where.get(change.message_id, set())
        new = set() if change.deleted else self._places(change.labels)
        for folder_id in sorted(old):
            folder = self._folders[folder_id]
            uid = folder.uid_of(change.message_id)
            if uid is not None and folder_id in new:
                folder.touch(uid, self.modseq)
            elif uid is not None:
                folder.remove(uid, self.modseq)
        self._where[change.message_id] = old & new
        self._arrive(change.message_id, new - old)
        if change.deleted:
            del self._where[change.message_id]
            self.sizes.pop(change.message_id, None)
        self._notify()

    def _arrive(self, message_id: str, folder_ids: set[str]) -> None:
        message = self.mailbox.messages.get(message_id)
        if message is None:
            return
        self._where.setdefault(message_id, set()).update(folder_ids)
        for folder_id in sorted(folder_ids):
            self._folder(folder_id).add(message, modseq=self.modseq)

    def _places(self, labels: frozenset[str]) -> set[str]:
        places = {label for label in labels if label in ROLES or label in self._folders or self._is_user_label(label)}
        return places or {ARCHIVE}

    def _is_user_label(self, label_id: str) -> bool:
        label = self.mailbox.labels.get(label_id)
        return label is not None and not label.is_system and not label_id.startswith((KEYWORD, "\\"))

    def _folder(self, folder_id: str) -> Folder:
        folder = self._folders.get(folder_id)
        if folder is None:
            folder = self._folders[folder_id] = Folder(folder_id, uidvalidity=self._new_uidvalidity())
        return folder

    def _follow(self) -> None:
        """Take over labels, and messages that were loaded without a change of their own."""
        self._follow_labels()
        if len(self._where) != len(self.mailbox.messages):
            for message in self._unknown():
                self._arrive(message.id, self._places(message.labels))

    def _follow_labels(self) -> None:
        """Make and delete folders; what was in a deleted one and nowhere else is in the archive."""
        if self._labels == list(self.mailbox.labels):
            return
        self._labels = list(self.mailbox.labels)
        for folder_id in (*ROLES, *(label for label in self.mailbox.labels if self._is_user_label(label))):
            self._folder(folder_id)
        gone = [name for name in self._folders if name not in ROLES and not self._is_user_label(name)]
        for deleted in [self._folders.pop(folder_id) for folder_id in gone]:
            for message in deleted.messages.values():
                self._where[message.id].discard(deleted.id)
                self._arrive(message.id, self._places(message.labels) - self._where[message.id])

    def _unknown(self) -> Iterator[Message]:
        return (message for message in list(self.mailbox.messages.values()) if message.id not in self._where)

    def _notify(self) -> None:
        for listener in list(self.listeners):
            listener()
