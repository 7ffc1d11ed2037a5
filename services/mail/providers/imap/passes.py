"""Steps of passes within a turn, and the look of an idle mailbox, which writes nothing."""

import time
from enum import StrEnum
from typing import Final
from weakref import WeakKeyDictionary

from services.mail.providers.folder_history.history import FolderHistory
from services.mail.providers.folder_history.model import HistoryState, KnownFolder, Phase
from services.mail.providers.imap.client.connection import Connection
from services.mail.providers.imap.client.folders import FolderStatus
from services.mail.providers.imap.folders import ImapFolders, Polled
from services.mail.providers.imap.look_plan import MARKS_SECONDS, FolderState
from services.mail.store.folder_history.folders import Overview

_DAY: Final = 86_400.0
STEP_SECONDS: Final = 0.5
"""Seconds for the steps of one call of the engine, which looks at the time between its calls."""


async def run_steps(history: FolderHistory, *, seconds: float) -> bool:
    """Go on with the pass, or begin one; return whether it has ended."""
    end = time.monotonic() + seconds
    while True:
        if await history.step():
            return True
        if time.monotonic() >= end:
            return False


class News(StrEnum):
    """What a look shows of a pass: it would find nothing as far as is known, it is its turn, or it finds changes."""

    NONE = "none"
    DUE = "due"
    CHANGED = "changed"


class QuietPolls:
    """Remembers the answers to polls that told of nothing. What it remembers ends with the connection."""

    def __init__(self) -> None:
        self._answers = WeakKeyDictionary[Connection, tuple[int, bytes]]()

    def knows(self, polled: Polled, state: HistoryState) -> bool:
        """Return whether such answers told of nothing before, since the last pass."""
        return polled.digest is not None and self._answers.get(polled.connection) == (state.pass_number, polled.digest)

    def remember(self, polled: Polled, state: HistoryState) -> None:
        """Remember answers that tell of nothing."""
        if polled.digest is not None and state.phase is Phase.IDLE:
            self._answers[polled.connection] = state.pass_number, polled.digest


async def look_for_news(folders: ImapFolders, overview: Overview, *, quiet: QuietPolls) -> News:
    """Return whether a pass would find anything, as far as the numbers of folders tell."""
    there = {each.folder.key: each for each in overview.folders if not each.is_gone}
    polled = await folders.poll([each.folder for each in there.values()])
    passed = overview.state.ended_ago
    if polled is None or passed is None:
        return News.CHANGED
    if passed < _DAY and quiet.knows(polled, overview.state):
        return News.NONE
    listed = folders.listing_of(polled)
    if {folder.key for folder in listed.folders} != there.keys():
        return News.CHANGED
    pairs = [(there[folder.key], folders.status_of(folder)) for folder in listed.folders]
    if any(_has_changed(each, status) for each, status in pairs):
        return News.CHANGED
    if any(_is_due(each, status, passed=passed) for each, status in pairs):
        return News.DUE
    if not any(each.failing_for is not None or status is None for each, status in pairs):
        quiet.remember(polled, overview.state)
    return News.NONE


def _has_changed(known: KnownFolder, status: FolderStatus | None) -> bool:
    if known.failing_for is not None or status is None:
        return False
    if known.state is None or known.token is not None:
        return True
    before = FolderState.of(known.state)
    if not before.is_like(status, known=known.known):
        return True
    # The numbers of the inbox come from its selection, which does not count unseen messages.
    return before.modseq is None and known.known > 0 and status.unseen is not None and status.unseen != before.unseen


def _is_due(known: KnownFolder, status: FolderStatus | None, *, passed: float) -> bool:
    """Return whether a folder is to be looked at from time to time, whatever its numbers say."""
    if known.failing_for is not None:
        # A pass looks at it, and comes after as long as it had failed at the last one.
        return passed >= min(MARKS_SECONDS, known.failing_for - passed)
    if status is None:
        return passed >= MARKS_SECONDS
    # Comparisons of marks do not see everything: see marks.py.
    return known.known > 0 and status.modseq is None and passed >= _DAY
