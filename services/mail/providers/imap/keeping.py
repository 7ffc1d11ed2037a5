"""The connections that a worker keeps, among all workers: the one that holds a mailbox has its turns."""

import random
import time
from collections.abc import Collection
from contextlib import suppress
from typing import Final
from uuid import UUID

from services.mail.providers.imap.idling import Announcer
from services.mail.store.connection import DATABASE_LOST, Pool
from services.mail.store.control import holds, idle_mailboxes, schedule

# Seconds for which a worker holds mailboxes, and after which it renews that: others take them over after its death.
_HELD_SECONDS: Final = 60.0
_RENEW_SECONDS: Final = 20.0


class HeldMailboxes:
    """The `Keeper` of a worker. While the database is away it keeps what it has."""

    def __init__(self, pool: Pool, *, holder: UUID) -> None:
        self._pool = pool
        self._holder = holder
        self._renewed_at = 0.0
        # Monotonic times until which no other worker can hold a mailbox: within them nothing has to be asked.
        self._held_until: dict[int, float] = {}

    async def keeps(self, mailbox_id: int) -> bool:
        """Hold the mailbox, unless another worker does."""
        return self._holds(mailbox_id) or not await self._hold([mailbox_id])

    async def renew(self, mailbox_ids: list[int]) -> Collection[int]:
        """Go on holding mailboxes; return those that another worker holds."""
        if not mailbox_ids or time.monotonic() - self._renewed_at < _RENEW_SECONDS:
            return ()
        self._renewed_at = time.monotonic()
        return await self._hold(mailbox_ids)

    def _holds(self, mailbox_id: int) -> bool:
        return self._held_until.get(mailbox_id, 0.0) > time.monotonic()

    async def _hold(self, mailbox_ids: list[int]) -> Collection[int]:
        """Hold mailboxes; return those that another worker holds."""
        until = time.monotonic() + _HELD_SECONDS
        with suppress(*DATABASE_LOST):
            async with self._pool.acquire() as connection:
                held = await holds.hold(connection, mailbox_ids, holder=self._holder, seconds=_HELD_SECONDS)
            self._held_until |= dict.fromkeys(held, until)
            lost = set(mailbox_ids) - held
            self._forget(lost)
            return lost
        return ()

    def _forget(self, mailbox_ids: Collection[int]) -> None:
        for mailbox_id in mailbox_ids:
            self._held_until.pop(mailbox_id, None)

    async def gives_up(self, mailbox_ids: list[int]) -> None:
        """Let other workers have the mailboxes."""
        self._forget(mailbox_ids)
        if mailbox_ids:
            with suppress(*DATABASE_LOST):
                async with self._pool.acquire() as connection:
                    await holds.release(connection, mailbox_ids, holder=self._holder)

    async def is_held_by_another(self, mailbox_id: int) -> bool:
        """Return whether another worker has the mailbox's connection."""
        if self._holds(mailbox_id):
            return False
        async with self._pool.acquire() as connection:
            return await holds.is_held_by_another(connection, mailbox_id, holder=self._holder)

    def announcer(self, generator: random.Random) -> Announcer:
        """Return what tells the schedule of announced news, and of lost connections."""
        return Announcer(announce=self._announce, look=self._look, generator=generator)

    async def _announce(self, mailbox_id: int) -> bool:
        with suppress(*DATABASE_LOST):
            async with self._pool.acquire() as connection, connection.transaction():
                await schedule.announce(connection, mailbox_id)
            return True
        return False

    async def _look(self, mailbox_id: int) -> None:
        # A look opens the connection again, and costs less than a turn, which may have nothing to do.
        with suppress(*DATABASE_LOST):
            async with self._pool.acquire() as connection:
                await idle_mailboxes.look_again(connection, [mailbox_id], seconds=0.0)
