"""The plan of a look at a folder, and the state that a look leaves: small texts that outlive a process."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any, Final, Self

from services.mail.providers.imap.client.folders import FolderStatus
from services.mail.providers.imap.client.uids import HIGHEST_UID

MARKS_SECONDS: Final = 900.0
"""Seconds between two looks at the marks of a quiet folder whose server does not number their changes."""


def key_of(uid: int) -> str:
    """Return a UID as a key: keys are in the order of texts."""
    return f"{uid:010d}"


def _of_fields(kind: type[Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a class's fields: a later release, before a rollback, may have stored further ones."""
    return {each.name: given[each.name] for each in fields(kind) if each.name in given}


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderState:
    """What is known of a folder after a look: all messages below `uid_next`, and marks as of `modseq`.

    Where the server has no modseq, `swept` is the UID down to which marks were looked at in turn, `unseen` the count of
    unseen messages before that look, and `marks_at` its time (Unix). `unreadable` are messages whose attributes end the
    connection, or are refused.
    """

    validity: int
    uid_next: int
    modseq: int | None = None
    swept: int = 1
    unseen: int | None = None
    marks_at: float = 0.0
    unreadable: tuple[int, ...] = ()

    def text(self) -> str:
        """Return the state as a text."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def of(cls, text: str) -> Self:
        """Return the state that a text holds."""
        return cls.of_values(json.loads(text))

    @classmethod
    def of_values(cls, given: Mapping[str, Any]) -> Self:
        """Return the state with these values."""
        return cls(**{**_of_fields(cls, given), "unreadable": tuple(given.get("unreadable", ()))})

    def is_final(self, status: FolderStatus, *, known: int, now: float) -> bool:
        """Return whether a look would find nothing. Without a modseq marks are looked at when `unseen` has changed,
        and from time to time."""
        if not self.is_like(status, known=known):
            return False
        if known == 0 or self.modseq is not None:
            return True
        return self.unseen is not None and self.unseen == status.unseen and now - self.marks_at < MARKS_SECONDS

    def is_like(self, status: FolderStatus, *, known: int) -> bool:
        """Return whether a folder of `known` messages has the same numbers; only a modseq tells of marks."""
        same = (status.uid_validity or 0, status.uid_next, status.exists) == (self.validity, self.uid_next, known)
        return same and (self.modseq is None or status.modseq == self.modseq)


class Stage(StrEnum):
    """The stages of a look, in their order. The first look at a folder has the first stage only."""

    ALL = "all"
    NEW = "new"
    COUNT = "count"
    COMPARE = "compare"
    CHANGED = "changed"
    RECENT = "recent"
    SWEEP = "sweep"


@dataclass(frozen=True, slots=True, kw_only=True)
class LookPlan:
    """How far a look has come: its stage, the UID to go on at, the UIDs of a window, and the state at its end.

    `since` is the modseq of the last look. The state's numbers are those of the begin of this one: what comes later is
    the next look's.
    """

    stage: Stage
    at: int
    width: int
    end: FolderState
    since: int | None = None

    def text(self) -> str:
        """Return the plan as a text."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def of(cls, text: str) -> Self:
        """Return the plan that a text holds."""
        given = _of_fields(cls, json.loads(text))
        end = FolderState.of_values(given["end"])
        return cls(**{**given, "stage": Stage(given["stage"]), "end": end})

    def next(self, stage: Stage, *, at: int, width: int | None = None) -> Self:
        """Return the plan with its next window."""
        return replace(self, stage=stage, at=at, width=self.width if width is None else width)


def state_at(status: FolderStatus, *, swept: int = 1) -> FolderState:
    """Return the state of a folder that is selected now. Without UIDNEXT any UID may be there already."""
    return FolderState(
        validity=status.uid_validity or 0,
        uid_next=HIGHEST_UID if status.uid_next is None else status.uid_next,
        modseq=status.modseq,
        swept=swept,
    )


def width_for(messages: int, *, status: FolderStatus) -> int:
    """Return the UIDs of a window that has about so many messages, if they are spread evenly."""
    top = max(1, (status.uid_next or HIGHEST_UID) - 1)
    return max(messages, min(HIGHEST_UID, top * messages // max(1, status.exists or 1)))


def state_in(numbering: str | None) -> FolderState | None:
    """Return the state in the text of a state or of a plan; None for None."""
    if numbering is None:
        return None
    given = json.loads(numbering)
    return FolderState.of_values(given.get("end", given))


def validity_in(numbering: str | None) -> int | None:
    """Return the UIDVALIDITY in the text of a state or of a plan; None for None."""
    state = state_in(numbering)
    return None if state is None else state.validity
