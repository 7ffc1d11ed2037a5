"""Waits for the work of workers, observed in the database."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any

from services.mail.store.connection import Pool

# Default time limit of a wait in seconds: less than the 30 for which a test lets a provider hang.
PATIENCE = 20.0


async def eventually(condition: Callable[[], Awaitable[bool]], *, within: float = PATIENCE) -> None:
    """Return as soon as the condition holds. Raises TimeoutError."""
    async with asyncio.timeout(within):
        while not await condition():  # noqa: ASYNC110 - what is waited for happens in a database
            await asyncio.sleep(0.01)


class Waits(ABC):
    """Waits on a database with one mailbox."""

    @property
    @abstractmethod
    def pool(self) -> Pool:
        """The database."""

    async def until_idle(self, *, within: float = PATIENCE) -> None:
        """Wait until the worker has done all known work."""

        async def has_nothing_to_do() -> bool:
            return bool(
                await self.fetchval(
                    """
                    SELECT bool_and(s.caught_up_hint >= q.hint_seq AND s.listing IS NULL)
                        AND NOT EXISTS (SELECT FROM fetch_queue)
                    FROM sync_states s JOIN mailbox_schedule q USING (mailbox_id)
                    """
                )
            )

        await eventually(has_nothing_to_do, within=within)

    async def until_caught_up(self) -> None:
        """Wait until history was read after the last hint."""

        async def is_caught_up() -> bool:
            return bool(
                await self.fetchval(
                    """
                    SELECT bool_and(s.caught_up_hint >= q.hint_seq)
                    FROM sync_states s JOIN mailbox_schedule q USING (mailbox_id)
                    """
                )
            )

        await eventually(is_caught_up)

    async def until_turn_failed(self, times: int = 1, *, within: float = PATIENCE) -> None:
        """Wait until this many turns in a row have failed."""

        async def has_failed() -> bool:
            return bool(
                await self.fetchval(
                    "SELECT bool_and(attempts > $1 OR (attempts = $1 AND lease_owner IS NULL)) FROM mailbox_schedule",
                    times,
                )
            )

        await eventually(has_failed, within=within)

    async def until_healing(self) -> None:
        """Wait until a worker compares all messages after a lost cursor, or has done so."""

        async def is_healing() -> bool:
            return bool(
                await self.fetchval(
                    """
                    SELECT bool_and(s.listing IS NOT NULL OR s.caught_up_hint >= q.hint_seq)
                    FROM sync_states s JOIN mailbox_schedule q USING (mailbox_id)
                    """
                )
            )

        await eventually(is_healing)

    async def until_listing(self, condition: str) -> None:
        """Wait until the current listing fulfils an SQL condition on `sync_states`."""

        async def is_so() -> bool:
            return bool(await self.fetchval(f"SELECT bool_and({condition}) FROM sync_states"))  # noqa: S608 - the test's own

        await eventually(is_so)

    async def until_released(self) -> None:
        """Wait until no worker holds the mailbox and it is not due."""

        async def is_released() -> bool:
            return bool(
                await self.fetchval("SELECT bool_and(lease_owner IS NULL AND due_at > now()) FROM mailbox_schedule")
            )

        await eventually(is_released)

    async def until_listed(self) -> None:
        """Wait until the active sync has listed all its ids."""

        async def is_listed() -> bool:
            return bool(await self.fetchval("SELECT bool_and(listing_done) FROM syncs WHERE ended_at IS NULL"))

        await eventually(is_listed)

    async def until_stored(self, external_id: str) -> None:
        """Wait until a message is stored."""

        async def is_stored() -> bool:
            return bool(await self.fetchval("SELECT EXISTS (SELECT FROM messages WHERE external_id = $1)", external_id))

        await eventually(is_stored)

    async def until_stored_some(self, least: int = 1) -> None:
        """Wait until at least this many messages are stored."""

        async def are_stored() -> bool:
            return int(await self.fetchval("SELECT count(*) FROM messages")) >= least

        await eventually(are_stored)

    async def fetchval(self, query: str, *args: object) -> Any:
        """Query a single value that no use case shows."""
        return await self.pool.fetchval(query, *args)
