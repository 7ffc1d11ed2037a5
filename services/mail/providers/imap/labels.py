"""Labels of messages: their folders, and the flags that people see. Those with a role have Gmail's ids."""

from collections.abc import Iterable, Sequence
from typing import Final

from services.mail.model import Label
from services.mail.providers.folder_history.model import KnownFolder, folder_label
from services.mail.store.labels import SYSTEM

USER: Final = "user"
_OF_ROLES: Final = {"inbox": "INBOX", "sent": "SENT", "drafts": "DRAFT", "spam": "SPAM", "trash": "TRASH"}
_UNREAD: Final = "UNREAD"
_OF_MARKS: Final = {"flagged": "STARRED", "deleted": "DELETED"}
_SEEN: Final = "seen"
_KEYWORD: Final = "kw:"
_FLAGS: Final = (
    Label(label_id=_UNREAD, name=_UNREAD, type=SYSTEM),
    *(Label(label_id=label_id, name=label_id, type=SYSTEM) for label_id in _OF_MARKS.values()),
)
HIDING: Final = frozenset({"SPAM", "TRASH"})
"""The labels whose messages listings leave out."""
HIDING_ROLES: Final = frozenset({"spam", "trash"})


class FolderLabels:
    """The labels of a mailbox with these folders. Of several folders with one role the oldest has its label."""

    def __init__(self, folders: Iterable[KnownFolder]) -> None:
        known = sorted(folders, key=lambda each: (each.is_gone, each.folder_id))
        self._listed = [each for each in known if not each.is_gone]
        self._ids: dict[str, str] = {}
        taken: set[str] = set()
        for each in known:
            role = _OF_ROLES.get(each.folder.role)
            # Records can still name a folder that is gone.
            if role is not None and (each.is_gone or role not in taken):
                taken.add(role)
                self._ids[folder_label(each.folder_id)] = role

    def all(self) -> list[Label]:
        """Return the labels of the mailbox, but for keywords, which no server lists."""
        return [*(self._label(known) for known in self._listed), *_FLAGS]

    def _label(self, known: KnownFolder) -> Label:
        own = folder_label(known.folder_id)
        role = self._ids.get(own)
        if role is not None:
            return Label(label_id=role, name=role, type=SYSTEM)
        return Label(label_id=own, name=known.folder.name or own, type=USER)

    def of_message(self, places_and_marks: Iterable[str]) -> tuple[str, ...]:
        """Return the labels of a message with these folders and marks."""
        given = frozenset(places_and_marks)
        unread = () if _SEEN in given else (_UNREAD,)
        return tuple(sorted((*self._translated(given), *unread)))

    def change(self, added: Iterable[str], removed: Iterable[str]) -> tuple[frozenset[str], frozenset[str]]:
        """Return the labels that are added and removed with these folders and marks."""
        more, less = frozenset(added), frozenset(removed)
        return (
            frozenset(self._translated(more)) | (frozenset({_UNREAD}) if _SEEN in less else frozenset()),
            frozenset(self._translated(less)) | (frozenset({_UNREAD}) if _SEEN in more else frozenset()),
        )

    def _translated(self, given: Iterable[str]) -> Sequence[str]:
        found = []
        for each in given:
            if each in _OF_MARKS:
                found.append(_OF_MARKS[each])
            elif each.startswith(_KEYWORD):
                found.append(each)
            elif each.startswith("folder:"):
                found.append(self._ids.get(each, each))
        return found
