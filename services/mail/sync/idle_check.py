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
# An idle bucket fills in no time; who has to wait for longer gets a turn of its own, which knows how to.
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

    async def look(self) -> int:
        """Looks at the next group; returns how many were due. Raises what the database raises."""
        async with self._pool.acquire() as connection:
            group = await idle_mailboxes.claim(
                connection, limit=self.group_size, poll_seconds=self._poll_seconds, pushed=self._pushed
            )
        if not group:
            return 0
        began = time.monotonic()
        unchanged = await self._unchanged([member for member in group if not member.needs_turn])
        woken = [member.mailbox.mailbox_id for member in group if member.mailbox.mailbox_id not in unchanged]
        async with self._pool.acquire() as connection:
            if unchanged:
                await idle_mailboxes.confirm(connection, unchanged, seconds_ago=time.monotonic() - began)
            if woken:
                await idle_mailboxes.wake(connection, woken)
        return len(group)

    async def _unchanged(self, members: Collection[IdleMailbox]) -> dict[int, int]:
        """The cursors of those mailboxes to which nothing has happened. Who cannot be asked is not among them."""
        paid = await self._pay(members)
        asked = [member for member in members if member.mailbox.mailbox_id in paid]
        answers = await asyncio.gather(*map(self._is_unchanged, asked))
        return {member.mailbox.mailbox_id: member.cursor for member, same in zip(asked, answers, strict=True) if same}

    async def _pay(self, members: Collection[IdleMailbox]) -> set[int]:
        """Takes the units of one history page each; returns for whom that worked."""
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
        async with self._slots:
            try:
                page = await self._access.calls(member.mailbox).call_prepaid(
                    lambda token: provider.list_changes(token, cursor=member.cursor, page_token=None)
                )
            except (ProviderError, AppError) as error:
                # The mailbox's own turn will meet it again and deal with it.
                log.info("look failed", mailbox_id=member.mailbox.mailbox_id, error=type(error).__name__)
                return False
        return page.last_record is None and page.next_page_token is None and page.latest <= member.cursor
