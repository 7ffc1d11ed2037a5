"""The label ids that stand for marks and categories in copies. A provider that has ids of its own is entered here.

Readers look for the ids of all providers: a message has those of its own provider only.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from services.mail.marks import NEUTRAL_MARK_IDS, Mark, MarkIds
from services.mail.providers.gmail import labels as gmail

_OWN: Final[Mapping[str, MarkIds]] = {"google": gmail.MARK_IDS}
_CATEGORIES: Final = (gmail.CATEGORY_IDS,)
_ALL: Final = (*_OWN.values(), NEUTRAL_MARK_IDS)
_FOUND_BY: Final[Mapping[Mark, Sequence[str]]] = {
    Mark.FLAGGED: [each.flagged for each in _ALL],
    Mark.DRAFT: [each.draft for each in _ALL],
    Mark.IMPORTANT: [each.important for each in _ALL],
}

UNSEEN: Final = tuple(each.unseen for each in _ALL)
"""The ids of messages that lack Mark.SEEN."""
_MARKS: Final[Mapping[str, Mark]] = {id_: mark for mark, ids in _FOUND_BY.items() for id_ in ids}
NOT_SHOWN: Final = frozenset(NEUTRAL_MARK_IDS.all())
"""The ids of marks that are not labels at the provider."""


def mark_ids(provider: str) -> MarkIds:
    """Return the ids under which copies of this provider's mailboxes keep marks."""
    return _OWN.get(provider, NEUTRAL_MARK_IDS)


def ids_of_mark(mark: Mark) -> Sequence[str]:
    """Return the ids of which a message with this mark has one. SEEN has none: it is the lack of UNSEEN."""
    return _FOUND_BY[mark]


def marks_of(label_ids: Iterable[str], *, is_read: bool) -> list[Mark]:
    """Return the marks of a message with these label ids: SEEN first, the others as their ids stand."""
    marks = [_MARKS[id_] for id_ in label_ids if id_ in _MARKS]
    return [Mark.SEEN, *marks] if is_read else marks


def ids_of_category(name: str) -> Sequence[str]:
    """Return the ids of which a message of this category has one; none where no provider has the category."""
    return [ids[name] for ids in _CATEGORIES if name in ids]
