"""Repeats of migrations that met the locks of running processes.

A statement that waits for a strong lock makes all later ones of the table wait behind it, and one that holds a lock
while it waits for another can meet a transaction that does the reverse. So a migration waits for locks shorter than
anyone would notice, gives up all that it holds, and tries again. Those before it stay applied.
Source: PostgreSQL documentation, section 13.3.4, "Deadlocks".
"""

import random
import sys
import time
from collections.abc import Callable

from sqlalchemy.exc import DBAPIError

# lock_not_available and deadlock_detected.
_MET_LOCKS = frozenset({"55P03", "40P01"})
# Seconds for all tries: as long as the longest transaction of a process, and more than one that has just begun.
PATIENCE = 300.0
_PAUSE = 0.5


def retried(
    run: Callable[[], None],
    *,
    patience: float = PATIENCE,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    draw: Callable[[], float] = random.random,
) -> None:
    """Call `run` until it meets no locks, for `patience` seconds; then raise its DBAPIError."""
    give_up_at = clock() + patience
    while True:
        try:
            return run()
        except DBAPIError as error:
            if _sqlstate(error) not in _MET_LOCKS or clock() >= give_up_at:
                raise
            sys.stdout.write("a table is in use: trying again\n")
            sys.stdout.flush()
        sleep(_PAUSE * (1 + draw()))


def _sqlstate(error: DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None)
