"""Checks idle mailboxes in groups: few round trips to the database, one small provider call for each mailbox."""

import asyncio
import time
from collections.abc import Collection, Mapping

import structlog

from services.kit.errors import AppError
from services.mail.provider_access.calls import ProviderAccess
from services.mail.providers.base import Provider, ProviderError
from services.mail.store.connection import Pool
from services.mail.store.control import idle_mailboxes
from services.mail.store.control.idle_mailboxes import IdleMailbox

GROUP_SIZE = 100
# Calls to providers at the same time.
_PARALLEL = 16
# Seconds to wait for the answers of a group; most come within one tenth.
_PATIENCE = 0.5
# A mailbox that must wait longer for quota gets a turn, which can wait.
_SHORT_WAIT = 0.25

log = structlog.get_logger()


class IdleCheck:
    """Finds the idle mailboxes that have changed and makes them due. It changes nothing else about them."""

    def __init__(
        self,
        *,
        pool: Pool,
        providers: Mapping[str, Provider],
        access: ProviderAccess,
        poll_seconds: float,
        group_size: int = GROUP_SIZE,
    ) -> None:
        self.group_size = group_size
        self._pool = pool
        self._providers = providers
        self._pushed = [name for name, provider in providers.items() if provider.can_push]
        self._access = access
        self._poll_seconds = poll_seconds
        self._slots = asyncio.Semaphore(_PARALLEL)
        self._calls: set[asyncio.Task[None]] = set()
        # The cursors of mailboxes to which nothing has happened since these times, still to be recorded.
        self._unchanged: dict[int, tuple[int, float]] = {}

    async def look(self) -> int:
        """Check the next group; return how many mailboxes were due. Raises what the database raises.

        It waits a moment for the answers. A provider that takes longer delays only the mailbox that was asked about:
        the next look records what has come by then.
        """
        await self._confirm()
        async with self._pool.acquire() as connection:
            group = await idle_mailboxes.claim(
                connection, limit=self.group_size, poll_seconds=self._poll_seconds, pushed=self._pushed
            )
        if not group:
            return 0
        paid = await self._pay([member for member in group if not member.needs_turn])
        await self._wake([member for member in group if member.mailbox.mailbox_id not in paid])
        asked = [await self._ask(member) for member in group if member.mailbox.mailbox_id in paid]
        if asked:
            await asyncio.wait(asked, timeout=_PATIENCE)
        await self._confirm()
        return len(group)

    async def close(self) -> None:
        """Give up the calls under way."""
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)

    async def _ask(self, member: IdleMailbox) -> asyncio.Task[None]:
        """Start to ask about a mailbox as soon as fewer than _PARALLEL calls are under way."""
        await self._slots.acquire()
        call = asyncio.create_task(self._check(member))
        self._calls.add(call)
        call.add_done_callback(self._answered)
        return call

    def _answered(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        self._slots.release()
        if not call.cancelled() and (error := call.exception()) is not None:
            log.error("idle check failed", exc_info=error)

    async def _check(self, member: IdleMailbox) -> None:
        began = time.monotonic()
        if await self._is_unchanged(member):
            self._unchanged[member.mailbox.mailbox_id] = (member.cursor, began)
        else:
            await self._wake([member])

    async def _wake(self, members: Collection[IdleMailbox]) -> None:
        if members:
            async with self._pool.acquire() as connection:
                await idle_mailboxes.wake(connection, [member.mailbox.mailbox_id for member in members])

    async def _confirm(self) -> None:
        """Record the mailboxes that were found unchanged since the last time."""
        found, self._unchanged = self._unchanged, {}
        if found:
            cursors = {mailbox_id: cursor for mailbox_id, (cursor, _) in found.items()}
            oldest = min(began for _, began in found.values())
            async with self._pool.acquire() as connection:
                await idle_mailboxes.confirm(connection, cursors, seconds_ago=time.monotonic() - oldest)

    async def _pay(self, members: Collection[IdleMailbox]) -> set[int]:
        """Take the units of a history page for each mailbox; return the ids of those that got them."""
        units = {
            member.mailbox.mailbox_id: self._providers[member.mailbox.provider].costs.history_page for member in members
        }
        waits = await self._access.quota.take_each(units)
        soon = {id_: units[id_] for id_, wait in waits.items() if 0 < wait <= _SHORT_WAIT}
        if soon:
            await asyncio.sleep(max(waits[id_] for id_ in soon))
            waits |= await self._access.quota.take_each(soon)
        return {id_ for id_, wait in waits.items() if not wait}

    async def _is_unchanged(self, member: IdleMailbox) -> bool:
        provider = self._providers[member.mailbox.provider]
        try:
            page = await self._access.calls(member.mailbox).call_prepaid(
                lambda token: provider.list_changes(token, cursor=member.cursor, page_token=None)
            )
        except (ProviderError, AppError) as error:
            # A turn of its own meets the error again and deals with it.
            log.info("idle check failed", mailbox_id=member.mailbox.mailbox_id, error=type(error).__name__)
            return False
        return page.last_record is None and page.next_page_token is None and page.latest <= member.cursor
