"""Steps of passes within a turn, and the look of an idle mailbox, which writes nothing."""

import time
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from services.mail.providers.folder_history.history import FolderHistory
from services.mail.providers.folder_history.model import KnownFolder
from services.mail.providers.imap.client.folders import FolderStatus
from services.mail.providers.imap.folders import ImapFolders
from services.mail.providers.imap.look_plan import MARKS_SECONDS, FolderState

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


async def look_for_news(folders: ImapFolders, known: Sequence[KnownFolder], *, passed: float | None) -> News:
    """Return whether a pass would find anything, as far as the numbers of folders tell.

    `passed` are the seconds since the last pass ended.
    """
    if await folders.announced():
        return News.CHANGED
    there = {each.folder.key: each for each in known if not each.is_gone}
    listed = await folders.folders_now()
    if passed is None or {folder.key for folder in listed.folders} != there.keys():
        return News.CHANGED
    pairs = [(there[folder.key], folders.status_of(folder)) for folder in listed.folders]
    if any(_has_changed(each, status) for each, status in pairs):
        return News.CHANGED
    return News.DUE if any(_is_due(each, status, passed=passed) for each, status in pairs) else News.NONE


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
