"""Steps of passes within a turn, and the look of an idle mailbox, which writes nothing."""

import time
from collections.abc import Sequence
from typing import Final

from services.mail.providers.folder_history.history import FolderHistory
from services.mail.providers.folder_history.model import KnownFolder
from services.mail.providers.imap.client.folders import FolderStatus
from services.mail.providers.imap.folders import ImapFolders
from services.mail.providers.imap.look_plan import MARKS_SECONDS, FolderState

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


async def has_news(folders: ImapFolders, known: Sequence[KnownFolder], *, passed: float | None) -> bool:
    """Return whether a pass would find anything, as far as the numbers of folders tell.

    `passed` are the seconds since the last pass ended.
    """
    if await folders.announced():
        return True
    there = {each.folder.key: each for each in known if not each.is_gone}
    listed = await folders.folders_now()
    if passed is None or {folder.key for folder in listed.folders} != there.keys():
        return True
    return any(_may_have_news(there[folder.key], folders.status_of(folder), passed=passed) for folder in listed.folders)


def _may_have_news(known: KnownFolder, status: FolderStatus | None, *, passed: float) -> bool:
    if known.failing_for is not None:
        # A pass looks at it, and comes after as long as it had failed at the last one.
        return passed >= min(MARKS_SECONDS, known.failing_for - passed)
    if status is None:
        return passed >= MARKS_SECONDS
    if known.state is None or known.token is not None:
        return True
    before = FolderState.of(known.state)
    if not before.is_like(status, known=known.known):
        return True
    if before.modseq is not None or not known.known:
        return False
    # The numbers of the inbox come from its selection, which does not count unseen messages.
    return (status.unseen is not None and status.unseen != before.unseen) or passed >= MARKS_SECONDS
