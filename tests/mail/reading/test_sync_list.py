"""Lists of syncs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from services.kit.errors import AppError
from services.mail.model import OpenMailbox, SyncState
from services.mail.reading.page_tokens import PageTokens
from services.mail.reading.sync_list import SyncList, SyncPage
from services.mail.reading.user_connections import UserConnections
from tests.mail.conftest import OpenStage
from tests.support.mail.stage import Stage, connect_user, id_of


@dataclass
class Lists:
    """A user with two mailboxes, whose syncs no worker runs."""

    s: Stage
    syncs: SyncList
    mailboxes: list[OpenMailbox]

    async def start(self, which: int) -> int:
        """Start a sync of a mailbox and end it, so that the next request starts another one."""
        report = await self.s.syncs.start(self.mailboxes[which], newest_count=10)
        await self.s.syncs.cancel(self.s.user_id, id_of(report))
        return report.sync.sync_id

    async def page(self, mailboxes: list[OpenMailbox] | None = None, *, size: int = 50, token: str = "") -> SyncPage:
        """Return a page of the syncs of these mailboxes, else of all."""
        return await self.syncs.page(
            self.mailboxes if mailboxes is None else mailboxes, page_size=size, page_token=token
        )


@asynccontextmanager
async def two_mailboxes(stage: OpenStage) -> AsyncIterator[Lists]:
    async with stage(workers=0) as s:
        other, _ = await connect_user(s.servers.sandbox, s.auth, user_id=s.user_id)
        mailboxes = [await s.mailbox(), await s.mailboxes.find(s.user_id, account_id=other.account_id)]
        yield Lists(s, SyncList(UserConnections(s.pool), tokens=PageTokens(bytes(16))), mailboxes)


def ids(page: SyncPage) -> list[int]:
    return [report.sync.sync_id for report in page.reports]


class TestPage:
    async def test_merges_mailboxes_newest_first(self, stage: OpenStage) -> None:
        async with two_mailboxes(stage) as lists:
            started = [await lists.start(which) for which in (0, 1, 1, 0, 1)]
            assert ids(await lists.page()) == started[::-1]
            assert ids(await lists.page(lists.mailboxes[:1])) == [started[3], started[0]]
            assert ids(await lists.page([])) == []

    @pytest.mark.parametrize("size", [1, 2, 3, 5])
    async def test_has_every_sync_once_over_its_pages(self, stage: OpenStage, size: int) -> None:
        async with two_mailboxes(stage) as lists:
            started = [await lists.start(which) for which in (0, 1, 1, 0, 1)]
            page = await lists.page(size=size)
            found = ids(page)
            while page.next_page_token:
                page = await lists.page(size=size, token=page.next_page_token)
                assert 1 <= len(page.reports) <= size
                found += ids(page)
            assert found == started[::-1]

    async def test_shows_the_state_of_each(self, stage: OpenStage) -> None:
        async with two_mailboxes(stage) as lists:
            await lists.start(0)
            active = await lists.s.syncs.start(lists.mailboxes[0], newest_count=None)
            mailbox_id = active.sync.mailbox_id
            async with lists.s.pool.acquire() as connection:
                await connection.execute(
                    "INSERT INTO fetch_queue (mailbox_id, external_id, lane, ordinal) VALUES ($1, 'a', 1, 1)",
                    mailbox_id,
                )
                await connection.execute(
                    "INSERT INTO dead_letters (mailbox_id, external_id, wanted_version, reason, attempts)"
                    " VALUES ($1, 'b', 1, 'invalid_answer', 5)",
                    mailbox_id,
                )
            newer, older = (await lists.page()).reports
            assert (newer.sync.state, newer.pending_count, newer.dead_letter_count) == (SyncState.QUEUED, 1, 1)
            assert (older.sync.state, older.pending_count, older.dead_letter_count) == (SyncState.CANCELLED, 0, 1)
            assert newer.wait is not None
            assert older.wait is None
            assert [report.dead_letters for report in (newer, older)] == [[], []]
            assert newer.mailbox == lists.mailboxes[0]

    async def test_refuses_the_token_of_another_list(self, stage: OpenStage) -> None:
        async with two_mailboxes(stage) as lists:
            for _ in range(2):
                await lists.start(0)
            token = (await lists.page(size=1)).next_page_token
            for token_of_another, mailboxes in ((token, lists.mailboxes[:1]), ("made up", None)):
                with pytest.raises(AppError, match="invalid_page_token"):
                    await lists.page(mailboxes, token=token_of_another)
