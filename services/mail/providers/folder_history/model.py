"""What the history knows of a mailbox: folders, locations of messages, and numbered records."""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Self

from services.mail.providers.folder_history.port import Folder

FOLDER_LABELS: Final = "folder:"
"""Begins the ids of labels that are folders."""


class Phase(StrEnum):
    """The phase of a pass: looking at the folders, then deciding what is deleted; or no pass is under way."""

    IDLE = "idle"
    LOOK = "look"
    SETTLE = "settle"


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryState:
    """The history's last record and the present pass. The first pass is the baseline: what it finds is not new.

    `ended_ago` are the seconds since the last pass ended, None before that.
    """

    revision: int
    pass_number: int
    phase: Phase
    ended_ago: float | None = None

    @classmethod
    def before_first_pass(cls) -> Self:
        """Return the state of a mailbox that has no history yet."""
        return cls(revision=0, pass_number=0, phase=Phase.IDLE)

    @property
    def is_baseline(self) -> bool:
        """Whether no pass has ended yet, but for the end of this one."""
        return self.pass_number <= 1

    @property
    def has_baseline(self) -> bool:
        """Whether the first pass has ended."""
        return self.pass_number > 1 or (self.pass_number == 1 and self.phase is Phase.IDLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFolder:
    """A folder as the history knows it.

    `generation` grows when the provider numbers the folder's messages anew, `is_retiring` says that some of earlier
    generations are not marked as gone yet. Times are seconds ago.
    """

    folder_id: int
    folder: Folder
    state: str | None
    token: str | None
    generation: int
    known: int
    looked_pass: int
    is_retiring: bool
    is_gone: bool
    missing_for: float | None
    failing_for: float | None
    restarted_ago: float | None
    failures: int
    # The pass in which it loses so many messages that each loss needs a proof.
    doubtful_in: int | None

    @property
    def is_there(self) -> bool:
        """Whether listings have the folder, and it does not fail."""
        return not self.is_gone and not self.is_retiring and self.missing_for is None and self.failing_for is None

    @property
    def numbering(self) -> str | None:
        """The state or token that tells by what its messages are numbered; None before the first page of a look."""
        return self.token or self.state

    @property
    def unseen_for(self) -> float | None:
        """The seconds for which a folder cannot be looked at: it fails, or listings lack it. None while it can."""
        if self.is_gone:
            return None
        return max((each for each in (self.failing_for, self.missing_for) if each is not None), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """A message in a folder. `gone_in` is the pass that missed it, None while it is there."""

    folder_id: int
    generation: int
    key: str
    external_id: str | None
    size: int
    arrived_at: datetime
    marks: frozenset[str]
    gone_in: int | None


class RecordKind(StrEnum):
    """The kind of a record."""

    ADDED = "added"
    LABELS = "labels"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A change of a message. `added` and `removed` are labels; an added message has all of its labels in `added`."""

    external_id: str
    kind: RecordKind
    added: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()
    revision: int = 0


def folder_label(folder_id: int) -> str:
    """Return the label of a folder's messages. Marks are labels by themselves."""
    return f"{FOLDER_LABELS}{folder_id}"


def labels_by_message(locations: Iterable[Location]) -> dict[str, frozenset[str]]:
    """Return the labels of messages from all of their locations.

    Folders and marks of a message's locations add up. Locations that are gone count while a message has no other ones:
    it may turn up elsewhere.
    """
    found: dict[str, list[Location]] = {}
    for location in locations:
        if location.external_id is not None:
            found.setdefault(location.external_id, []).append(location)
    return {external_id: _labels(listed) for external_id, listed in found.items()}


def _labels(locations: Iterable[Location]) -> frozenset[str]:
    listed = list(locations)
    counting = [each for each in listed if each.gone_in is None] or listed
    return frozenset(label for each in counting for label in (folder_label(each.folder_id), *each.marks))


def records_between(before: Mapping[str, AbstractSet[str]], after: Mapping[str, AbstractSet[str]]) -> list[Record]:
    """Return the records that lead from one state of messages to another one, in the order of ids."""
    records: list[Record] = []
    for external_id in sorted(before.keys() | after.keys()):
        old, new = before.get(external_id), after.get(external_id)
        if old is None:
            records.append(Record(external_id=external_id, kind=RecordKind.ADDED, added=frozenset(new or ())))
        elif new is None:
            records.append(Record(external_id=external_id, kind=RecordKind.DELETED))
        elif old != new:
            added, removed = frozenset(new - old), frozenset(old - new)
            records.append(Record(external_id=external_id, kind=RecordKind.LABELS, added=added, removed=removed))
    return records
