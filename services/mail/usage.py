"""What mailboxes use, counted in memory and added to the database every few seconds, however much there is."""

from collections import Counter, defaultdict
from functools import partial

from services.kit.periodic import PeriodicTask
from services.mail.model import Measure
from services.mail.store.connection import DATABASE_LOST, Pool
from services.mail.store.control import usage

# Seconds. A process that is killed loses what it has counted since.
_INTERVAL = 15.0


class UsageCounter:
    """The counts of a process by mailbox that the database does not have yet."""

    def __init__(self) -> None:
        self._counted: defaultdict[int, Counter[Measure]] = defaultdict(Counter)

    def count(self, mailbox_id: int, measure: Measure, amount: int = 1) -> None:
        """Count; a negative amount takes back what was counted before."""
        if amount:
            self._counted[mailbox_id][measure] += amount

    async def flush(self, pool: Pool) -> None:
        """Add the counts to the database. Those that it did not take wait for the next time."""
        if not self._counted:
            return
        counted, self._counted = self._counted, defaultdict(Counter)
        try:
            async with pool.acquire() as connection:
                await usage.add(connection, counted)
        except BaseException:
            for mailbox_id, counts in counted.items():
                self._counted[mailbox_id].update(counts)
            raise

    async def close(self, pool: Pool) -> None:
        """Add the last counts to the database, if it can be reached."""
        try:
            await self.flush(pool)
        except DATABASE_LOST:
            return

    def task(self, pool: Pool) -> PeriodicTask:
        """Return the task that adds the counts to the database."""
        return PeriodicTask("add usage", _INTERVAL, partial(self.flush, pool))
