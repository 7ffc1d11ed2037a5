"""Merged threads: their messages move to the kept thread, some in each transaction."""

import time
from typing import Final

from services.mail.model import SyncProgress
from services.mail.store import threads
from services.mail.sync.turn_context import TurnContext

# Messages per transaction, and seconds after which a turn continues with other work.
MOVED_AT_ONCE: Final = 500
_SECONDS_TOGETHER: Final = 0.5


async def move_messages(turn: TurnContext, state: SyncProgress) -> bool:
    """Move messages of merged threads, if there are any; return whether more may be left.

    A transaction moves messages and records them as updated, so that one that is cut is repeated by the next turn.
    """
    if not state.has_merged_threads:
        return False
    end = time.monotonic() + _SECONDS_TOGETHER
    while time.monotonic() < end:
        async with turn.writing() as connection:
            if not await threads.move_some(connection, turn.mailbox_id, limit=MOVED_AT_ONCE):
                return False
    return True
