"""Connections of an account at a server that allows few: workers, replicas that download, and mailboxes share them."""

import asyncio
import random
from collections.abc import Collection
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from services.kit.errors import AppError
from services.mail.mailboxes import Mailboxes
from services.mail.model import Lane
from services.mail.providers.imap.client.commands import command
from services.mail.providers.imap.client.connection import Connection
from services.mail.providers.imap.connections import Connections
from services.mail.providers.imap.keeping import HeldMailboxes
from services.mail.store.control import holds, idle_mailboxes, schedule
from services.mail.syncs import Syncs
from tests.support.imap.accounts import ImapAccounts
from tests.support.imap.mailbox_stage import ImapStage, open_imap_stage
from tests.support.imap.scripted_server import CUT, SILENCE, connect, conversation, hears, scripted_server
from tests.support.mail.lost_pool import LOST
from tests.support.mail.servers import Servers
from tests.support.mail.stored import add_mailbox
from tests.support.mail.waiting import eventually


async def until_listed(stage: ImapStage, *subjects: str) -> None:
    """Wait until the copy has these messages, without telling the workers anything."""

    async def are_there() -> bool:
        return {message.subject for message in await stage.listed()} >= set(subjects)

    await eventually(are_there)


def of_another_user(stage: ImapStage) -> ImapStage:
    """Return the stage of a second user, who connects the same account."""
    assert stage.accounts is not None
    other = ImapAccounts(at_provider=stage.imap)
    mailboxes = Mailboxes(stage.servers.mail_pool, other)
    return replace(
        stage,
        account=other.account,
        mailboxes=mailboxes,
        syncs=Syncs(stage.servers.mail_pool, mailboxes, stop=asyncio.Event()),
    )


class TestAccountWithTwoConnections:
    async def test_serves_two_workers_and_two_replicas_that_download(self, servers: Servers, tmp_path: Path) -> None:
        async with open_imap_stage(servers, "yandex", workers=2) as stage, AsyncExitStack() as stack:
            await stage.imap.control("PATCH", "imap", {"connections": 2})
            raws = [await stage.imap.raw(await stage.imap.deliver(subject=f"old {each}")) for each in range(4)]
            await stage.sync(count=None)
            replicas = [
                await stack.enter_async_context(stage.downloads(tmp_path / name, keep_seconds=0.2)) for name in "ab"
            ]
            details = [await stage.detail(message.external_id) for message in await stage.listed()]
            await stage.imap.deliver(subject="new")
            asked = [replicas[number % 2].raw(detail) for number, detail in enumerate(details)]
            assert sorted(await asyncio.gather(*asked)) == sorted(raws)
            await until_listed(stage, "new")
            account = await stage.imap.account()
            assert (account["most_connections"], account["refused_logins"]) == (2, 0)

    async def test_has_the_mail_of_two_users_while_downloads_of_both_are_refused(
        self, servers: Servers, tmp_path: Path
    ) -> None:
        async with open_imap_stage(servers, "yandex") as stage, stage.downloads(tmp_path) as downloads:
            await stage.imap.control("PATCH", "imap", {"connections": 2})
            await stage.imap.deliver(subject="first")
            other = of_another_user(stage)
            for each in (stage, other):
                await each.sync(count=None)

            async def are_both_held() -> bool:
                return bool((await stage.imap.account())["connections"] == 2)

            await eventually(are_both_held)
            with pytest.raises(AppError) as refused:
                await downloads.raw(await stage.detail((await stage.listed())[0].external_id))
            assert (refused.value.reason, refused.value.metadata) == ("provider_unavailable", {"retry_after": "5"})
            await stage.imap.deliver(subject="second")
            for each in (stage, other):
                await until_listed(each, "first", "second")
            account = await stage.imap.account()
            # The attempts of one download, each for itself.
            assert (account["logins"], account["refused_logins"]) == (2, 3)


class TestAccountThatIsFull:
    async def test_waits_and_goes_on_when_a_connection_is_free(self, servers: Servers) -> None:
        async with open_imap_stage(servers, "modern", login_window=1.0) as stage:
            await stage.imap.control("PATCH", "imap", {"connections": 1})
            await stage.imap.deliver(subject="first")
            async with stage.imap.connection("modern"):
                report = await stage.request(count=None)

                async def has_failed_thrice() -> bool:
                    return bool((await stage.imap.account())["refused_logins"] >= 3)

                await eventually(has_failed_thrice)
            await stage.ended(report)
            await until_listed(stage, "first")


class TestHeldMailbox:
    @pytest.fixture
    async def mailbox_id(self, servers: Servers) -> int:
        """A mailbox that is due."""
        await servers.empty()
        async with servers.pool.acquire() as connection:
            added = (await add_mailbox(connection)).mailbox_id
            await schedule.trigger(connection, added)
        return added

    async def test_is_asked_for_once_and_lost_to_another_worker(self, servers: Servers, mailbox_id: int) -> None:
        keeper, other = (HeldMailboxes(servers.pool, holder=uuid4()) for _ in range(2))
        assert await keeper.keeps(mailbox_id)
        assert not await other.keeps(mailbox_id)
        assert await other.is_held_by_another(mailbox_id)
        # The hold stands for a minute: nothing is asked, and nothing written, until it is renewed.
        async with servers.pool.acquire() as connection:
            await connection.execute("UPDATE mailbox_schedule SET held_until = now() WHERE mailbox_id = $1", mailbox_id)
            assert await keeper.keeps(mailbox_id)
            assert not await keeper.is_held_by_another(mailbox_id)
            assert await holds.hold(connection, [mailbox_id], holder=uuid4(), seconds=60)
        assert set(await keeper.renew([mailbox_id])) == {mailbox_id}
        assert not await keeper.keeps(mailbox_id)

    async def test_is_looked_at_by_itself_when_its_connection_is_lost(self, servers: Servers, mailbox_id: int) -> None:
        announcer = HeldMailboxes(servers.pool, holder=uuid4()).announcer(random.Random(1))
        idle = "UPDATE mailbox_schedule SET lane = $2, active_at = 'epoch' WHERE mailbox_id = $1"
        async with servers.pool.acquire() as connection:
            await connection.execute(idle, mailbox_id, Lane.IDLE)
            await announcer.look(mailbox_id)
            assert await idle_mailboxes.claim(connection, limit=1, within_seconds=None) == [mailbox_id]
            # It stays as quiet as it was, and idle.
            assert await connection.fetchval("SELECT bool_and(active_at = 'epoch') FROM mailbox_schedule")

    async def test_is_not_told_of_news_while_the_database_is_away(self, servers: Servers, mailbox_id: int) -> None:
        announcers = [HeldMailboxes(pool, holder=uuid4()).announcer(random.Random(1)) for pool in (LOST, servers.pool)]
        assert [await each.announce(mailbox_id) for each in announcers] == [False, True]


class Losing:
    """A keeper that keeps each mailbox until it is to be renewed."""

    async def keeps(self, mailbox_id: int) -> bool:  # noqa: ARG002 - all
        """Return True."""
        return True

    async def renew(self, mailbox_ids: list[int]) -> Collection[int]:
        """Return all."""
        return mailbox_ids

    async def gives_up(self, mailbox_ids: list[int]) -> None:
        """Do nothing."""


class LosingLater(Losing):
    """A keeper that fails before it loses mailboxes."""

    def __init__(self) -> None:
        self.failures = 0

    async def renew(self, mailbox_ids: list[int]) -> Collection[int]:
        """Fail once."""
        if not self.failures:
            self.failures += 1
            raise RuntimeError("once")
        return await super().renew(mailbox_ids)


class TestUnusedConnection:
    async def test_that_a_session_takes_while_others_end_stays_open(self) -> None:
        """A server that does not answer to LOGOUT takes two seconds."""
        connections = Connections(keep_seconds=0, sweep_seconds=0.01)
        answers = [hears(None, b"TAG OK\r\n")] * 10
        async with (
            scripted_server([hears(b"LOGOUT", SILENCE)]) as silent,
            scripted_server(answers) as server,
            connections.sweeping(),
        ):
            async with AsyncExitStack() as stack:
                for mailbox_id, each in enumerate([silent, server]):
                    opened = connections.session(mailbox_id, partial(connect, each))
                    await (await stack.enter_async_context(opened)).ensure_open()
            await asyncio.wait_for(silent.until_heard(1), 20)
            async with connections.session(1, partial(connect, server)) as session, session.connection() as connection:
                await asyncio.wait_for(silent.ended.wait(), 20)
                for _ in range(5):
                    await connection.run(command("NOOP"))


class Keeping(Losing):
    """A keeper that keeps all mailboxes."""

    async def renew(self, mailbox_ids: list[int]) -> Collection[int]:
        """Lose none."""
        del mailbox_ids
        return ()


class TestConnectionWhoseCommandDoesNotEnd:
    async def test_holds_up_no_session(self) -> None:
        """A server can send something now and then for ever, while it answers nothing."""
        connections = Connections(keep_seconds=60, keeper=Keeping(), most_idling=1, stop_seconds=0.05)
        began = asyncio.Event()

        async def hang(_mailbox_id: int, connection: Connection, _stop: asyncio.Event) -> None:
            with connection.exchange():
                began.set()
                await asyncio.Event().wait()

        async with scripted_server([]) as server, connections.sweeping():
            async with connections.session(1, partial(connect, server), between=hang) as session:
                await session.ensure_open()
            await asyncio.wait_for(began.wait(), 20)
            async with asyncio.timeout(20), connections.session(1, partial(connect, server)) as session:
                await session.ensure_open()
            assert server.connections == 2


class TestConnectionOfALostMailbox:
    @pytest.mark.parametrize("keeper", [Losing, LosingLater])
    async def test_ends(self, keeper: type[Losing]) -> None:
        connections = Connections(keep_seconds=60, keeper=keeper(), most_idling=1, sweep_seconds=0.01)
        async with conversation(hears(b"LOGOUT", b"* BYE\r\n", CUT)) as (kept, server):

            async def idle(_mailbox_id: int, _connection: Connection, stop: asyncio.Event) -> None:
                await stop.wait()

            async def dial() -> Connection:
                return kept

            async with connections.sweeping():
                async with connections.session(1, dial, between=idle) as session:
                    await session.ensure_open()
                await asyncio.wait_for(server.ended.wait(), 20)
            assert not kept.is_open
