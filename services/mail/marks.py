"""Marks of messages, and the label ids that stand for them in a copy: one index finds labels and marks."""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple


class Mark(StrEnum):
    """A state of a message, which a provider keeps as a flag or as a label."""

    SEEN = "seen"
    FLAGGED = "flagged"
    DRAFT = "draft"
    IMPORTANT = "important"


class MarksRead(NamedTuple):
    """Label ids by their meaning: those of no mark, in their order, and the marks that the others set or remove."""

    label_ids: tuple[str, ...]
    marked: frozenset[Mark]
    unmarked: frozenset[Mark]


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkIds:
    """The label ids under which a copy keeps marks.

    `unseen` stands for the lack of SEEN: few messages of a mailbox lack it. The defaults are for providers whose marks
    are not labels; none of their labels may have such an id.
    """

    unseen: str = "mark:unseen"
    flagged: str = "mark:flagged"
    draft: str = "mark:draft"
    important: str = "mark:important"

    def all(self) -> tuple[str, ...]:
        """Return the ids of all marks."""
        return self.unseen, self.flagged, self.draft, self.important

    def of(self, marks: AbstractSet[Mark]) -> list[str]:
        """Return the ids of a message with these marks."""
        kept = [id_ for mark, id_ in self._set_by().items() if mark in marks]
        return kept if Mark.SEEN in marks else [self.unseen, *kept]

    def of_changes(
        self, *, marked: AbstractSet[Mark], unmarked: AbstractSet[Mark]
    ) -> tuple[AbstractSet[str], AbstractSet[str]]:
        """Return the ids that a message gains and loses as its marks change."""
        ids = self._set_by()
        gained = {ids[mark] for mark in marked & ids.keys()} | ({self.unseen} if Mark.SEEN in unmarked else set())
        lost = {ids[mark] for mark in unmarked & ids.keys()} | ({self.unseen} if Mark.SEEN in marked else set())
        return gained, lost

    def read(self, label_ids: Iterable[str]) -> MarksRead:
        """Return what a message's label ids say. A message whose ids do not remove SEEN is seen."""
        marks = {id_: mark for mark, id_ in self._set_by().items()}
        listed = tuple(label_ids)
        return MarksRead(
            label_ids=tuple([id_ for id_ in listed if id_ not in marks and id_ != self.unseen]),
            marked=frozenset([marks[id_] for id_ in listed if id_ in marks]),
            unmarked=frozenset([Mark.SEEN] if self.unseen in listed else ()),
        )

    def _set_by(self) -> Mapping[Mark, str]:
        return {Mark.FLAGGED: self.flagged, Mark.DRAFT: self.draft, Mark.IMPORTANT: self.important}


NEUTRAL_MARK_IDS: Final = MarkIds()
