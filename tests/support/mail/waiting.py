"""Waiting for what workers do: it is seen in the database, and never assumed."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any

from services.mail.store.connection import Pool

# How long a test waits for what must come.
PATIENCE = 20.0


async def eventually(condition: Callable[[], Awaitable[bool]], *, within: float = PATIENCE) -> None:
    """Returns as soon as the condition holds. Raises TimeoutError."""
    async with asyncio.timeout(within):
        while not await condition():  # noqa: ASYNC110 - what is waited for happens in a database
            await asyncio.sleep(0.01)


class Waits(ABC):
    """What can be waited for in a database that holds one mailbox."""

    @property
    @abstractmethod
    def pool(self) -> Pool:
        """The database."""

    async def until_idle(self) -> None:
        """Waits until the worker has done all it was told of."""

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

        await eventually(has_nothing_to_do)

    async def until_caught_up(self) -> None:
        """Waits until history has been read after the last hint."""

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

    async def until_turn_failed(self, times: int = 1) -> None:
        """Waits until so many turns in a row have failed."""

        async def has_failed() -> bool:
            return bool(
                await self.fetchval(
                    "SELECT bool_and(attempts > $1 OR (attempts = $1 AND lease_owner IS NULL)) FROM mailbox_schedule",
                    times,
                )
            )

        await eventually(has_failed)

    async def until_healing(self) -> None:
        """Waits until a worker compares everything after a lost cursor, or has done so."""

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
        """Waits until the listing under way is as an SQL condition on `sync_states` says."""

        async def is_so() -> bool:
            return bool(await self.fetchval(f"SELECT bool_and({condition}) FROM sync_states"))  # noqa: S608 - the test's own

        await eventually(is_so)

    async def until_released(self) -> None:
        """Waits until no worker holds the mailbox or has a reason to take it now."""

        async def is_released() -> bool:
            return bool(
                await self.fetchval("SELECT bool_and(lease_owner IS NULL AND due_at > now()) FROM mailbox_schedule")
            )

        await eventually(is_released)

    async def until_listed(self) -> None:
        """Waits until the active sync knows all ids that it wants."""

        async def is_listed() -> bool:
            return bool(await self.fetchval("SELECT bool_and(listing_done) FROM syncs WHERE ended_at IS NULL"))

        await eventually(is_listed)

    async def until_stored(self, external_id: str) -> None:
        """Waits until a message is stored."""

        async def is_stored() -> bool:
            return bool(await self.fetchval("SELECT EXISTS (SELECT FROM messages WHERE external_id = $1)", external_id))

        await eventually(is_stored)

    async def until_stored_some(self, least: int = 1) -> None:
        """Waits until so many messages are stored."""

        async def are_stored() -> bool:
            return int(await self.fetchval("SELECT count(*) FROM messages")) >= least

        await eventually(are_stored)

    async def fetchval(self, query: str, *args: object) -> Any:
        """One value of the database, for what no use case shows."""
        return await self.pool.fetchval(query, *args)
