"""Merged threads in turns of workers: what users see of them, and which worker moves their messages."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace

import pytest

from services.kit.errors import AppError
from services.mail.model import Label, Role, SyncState
from services.mail.read_model import MessageFilter
from services.mail.reading.page_tokens import PageTokens
from services.mail.reading.threads import Threads
from services.mail.reading.user_connections import UserConnections
from services.mail.store.control.leases import LeaseLostError
from services.mail.store.sync import sync_state
from services.mail.sync.threads.merges import MOVED_AT_ONCE, move_messages
from tests.mail.conftest import OpenStage
from tests.support.mail.folder_provider import LIMITS, FolderMailbox, FolderProvider
from tests.support.mail.scripted_history import ScriptedHistory
from tests.support.mail.stage import Stage
from tests.support.mail.threaded_mailbox import Letter, ThreadedMailbox
from tests.support.mail.turns import begin_turn

PROVIDER = "made-up"
INBOX = Label(label_id="f1", name="Inbox", type="system", role=Role.INBOX)


@asynccontextmanager
async def connected(stage: OpenStage, mailbox: FolderMailbox) -> AsyncIterator[Stage]:
    """Yield a stage whose user has this mailbox and a worker."""
    async with stage(
        further=lambda *_: nullcontext({PROVIDER: FolderProvider(mailbox)}), further_limits={PROVIDER: LIMITS}
    ) as s:
        yield replace(s, account=s.auth.add_account(PROVIDER, "ada@made-up.example"))


def threads_of(s: Stage) -> Threads:
    return Threads(UserConnections(s.servers.mail_pool), tokens=PageTokens(bytes(16)))


async def shown(s: Stage, thread_id: str) -> tuple[str, list[str]]:
    """Return the thread that answers for an id, and its messages, as users see them."""
    thread, members = await threads_of(s).find([await s.mailbox()], thread_id)
    assert [each.external_id for each in await s.listed(MessageFilter(thread_id=thread_id))] == [
        each.external_id for each in reversed(members)
    ]
    return thread.thread_id, [each.external_id for each in members]


class TestLateLink:
    async def test_merges_the_threads_that_it_joins(self, stage: OpenStage) -> None:
        mailbox = FolderMailbox({"f1": INBOX})
        mailbox.deliver("first", "f1", headers=("Message-ID: <a@x>",))
        async with connected(stage, mailbox) as s:
            await s.sync(count=None)
            mailbox.deliver("second", "f1", headers=("Message-ID: <b@x>",))
            assert (await s.sync(count=None)).sync.state is SyncState.COMPLETED
            second, first = [message.thread_id for message in await s.listed()]
            mailbox.deliver("link", "f1", headers=("Message-ID: <c@x>", "References: <a@x> <b@x>"))
            assert (await s.sync(count=None)).sync.state is SyncState.COMPLETED
            # A sync has ended only when the messages have moved.
            assert await shown(s, first) == await shown(s, second) == (first, ["first", "second", "link"])
            page = await threads_of(s).page(await s.mailbox(), page_size=10, page_token="")
            assert [(each.thread_id, each.message_count) for each in page.threads] == [(first, 3)]
            with pytest.raises(AppError, match="no such thread"):
                await shown(s, "T0")


@asynccontextmanager
async def merging(stage: OpenStage, messages: int) -> AsyncIterator[tuple[Stage, ThreadedMailbox]]:
    """Yield a mailbox without a worker in which so many messages are to move, to a thread of as many."""
    async with stage(workers=0) as s:
        await s.request(count=None)
        mailbox = ThreadedMailbox(s.pool, (await s.mailbox()).mailbox_id)
        for own in "ab":
            await mailbox.store([Letter(f"{own}{number}", own=own) for number in range(messages)])
        await mailbox.store([Letter("link", references=("a", "b"))])
        yield s, mailbox


class TestMove:
    async def test_goes_on_in_another_worker_and_no_more_in_one_that_lost_the_mailbox(self, stage: OpenStage) -> None:
        async with merging(stage, MOVED_AT_ONCE + 1) as (s, mailbox):
            older, newer = await mailbox.threads()
            dead = await begin_turn(s, ScriptedHistory())
            async with dead.reading() as connection:
                state = await sync_state.load(connection, dead.mailbox_id)
            assert state.has_merged_threads
            await s.pool.execute("UPDATE mailbox_schedule SET lease_until = now() - interval '1 second'")
            turn = await begin_turn(s, ScriptedHistory())
            with pytest.raises(LeaseLostError):
                await move_messages(dead, state)
            assert len((await mailbox.threads())[newer]) == MOVED_AT_ONCE + 1
            assert not await move_messages(turn, state)
            assert (await mailbox.threads()).keys() == {older}
            async with turn.reading() as connection:
                assert not (await sync_state.load(connection, turn.mailbox_id)).has_merged_threads

    async def test_is_done_by_the_next_turn_after_a_crash(self, stage: OpenStage) -> None:
        async with merging(stage, 3) as (s, mailbox):
            older, newer = await mailbox.threads()
            # What a worker leaves that dies after the transaction that has merged: nothing else is to do.
            async with s.another_worker():
                await s.until_idle()
            assert await mailbox.thread_of(newer) == older
