"""Labels and marks of messages: a label for each folder and keyword, a mark for each flag that people see."""

import re
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Final

from services.mail.marks import Mark
from services.mail.model import Label, Role
from services.mail.providers.folder_history.model import FOLDER_LABELS, KnownFolder, folder_label
from services.mail.store.labels import SYSTEM

USER: Final = "user"
HIDING_ROLES: Final = frozenset({Role.SPAM, Role.TRASH})
"""The roles of folders whose messages listings leave out."""
PRINTABLE: Final = re.compile(r"[\x21-\x7e]{1,255}")
"""Keywords and ids that are kept."""
_KEYWORD: Final = "kw:"
_MARK_OF_FLAG: Final[Mapping[str, str]] = {
    "\\seen": "seen",
    "\\flagged": "flagged",
    "\\draft": "draft",
    "\\answered": "answered",
    "\\deleted": "deleted",
}
# A message that is marked as deleted is there until it is expunged.
_DELETED: Final = Label(label_id="deleted", name="Deleted", type=SYSTEM)
_MARKS: Final = {mark.value: mark for mark in (Mark.SEEN, Mark.FLAGGED, Mark.DRAFT)}


class FolderLabels:
    """The labels of a mailbox with these folders."""

    def __init__(self, folders: Iterable[KnownFolder] = ()) -> None:
        self._known = list(folders)
        # Records can still name a folder that is gone.
        self.hiding = frozenset(
            folder_label(each.folder_id) for each in self._known if each.folder.role in HIDING_ROLES
        )

    def all(self) -> list[Label]:
        """Return the labels of the mailbox, but for keywords, which no server lists."""
        return [*(_label(each) for each in self._known if not each.is_gone), _DELETED]


def _label(known: KnownFolder) -> Label:
    label_id, role = folder_label(known.folder_id), Role(known.folder.role or Role.NONE)
    return Label(
        label_id=label_id,
        name=known.folder.name or label_id,
        type=USER if role is Role.NONE else SYSTEM,
        role=role,
    )


def labels_in(given: Iterable[str]) -> frozenset[str]:
    """Return the labels among folders and marks of the history."""
    return frozenset(each for each in given if each.startswith((FOLDER_LABELS, _KEYWORD)) or each == _DELETED.label_id)


def marks_in(given: Iterable[str]) -> frozenset[Mark]:
    """Return the marks among folders and marks of the history."""
    return frozenset(_MARKS[each] for each in given if each in _MARKS)


def marks_of(flags: Iterable[str], *, hidden: AbstractSet[str]) -> frozenset[str]:
    """Return the marks of the history for a message's flags: names of the system's flags, and keywords as they are.

    `hidden` are keywords that the server sets for itself; names that end with `*` are prefixes.
    """
    return frozenset(_history_marks(flags, hidden))


def _history_marks(flags: Iterable[str], hidden: AbstractSet[str]) -> Iterator[str]:
    for flag in flags:
        if flag.startswith("\\"):
            if (mark := _MARK_OF_FLAG.get(flag.lower())) is not None:
                yield mark
        elif PRINTABLE.fullmatch(flag) and not _is_hidden(flag, hidden):
            yield f"{_KEYWORD}{flag}"


def _is_hidden(keyword: str, hidden: AbstractSet[str]) -> bool:
    return keyword in hidden or any(keyword.startswith(each[:-1]) for each in hidden if each.endswith("*"))
