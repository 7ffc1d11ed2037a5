"""Connections are kept by one worker, and the server announces news of the inbox over them."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from services.mail.providers.imap.client.connection import Connection, SelectedFolder
from services.mail.providers.imap.idling import Announcer, Inbox, wait_for_news
from services.mail.store.control import schedule
from tests.support.imap.mailbox_stage import ImapStage, open_imap_stage
from tests.support.imap.scripted_server import CUT, conversation, hears
from tests.support.mail.lost_pool import LOST
from tests.support.mail.servers import Servers
from tests.support.mail.stored import add_mailbox
from tests.support.mail.waiting import PATIENCE, eventually
from tests.support.sandbox.imap_servers import EMAIL

PROFILES = ["yandex", "modern"]


async def until_subjects(stage: ImapStage, *subjects: str, within: float = PATIENCE) -> None:
    """Wait until these are the subjects of the copy, without telling the worker anything."""

    async def are_there() -> bool:
        return {message.subject for message in await stage.listed()} == set(subjects)

    await eventually(are_there, within=within)


async def until_held(stage: ImapStage) -> None:
    """Wait until a worker holds the connection."""

    async def is_held() -> bool:
        return bool(await stage.fetchval("SELECT bool_and(held_until > now()) FROM mailbox_schedule"))

    await eventually(is_held)


async def calls(stage: ImapStage) -> dict[str, int]:
    """Return the commands that the server has had."""
    return dict((await stage.imap.control("GET", "calls"))["users"].get(EMAIL, {}))


async def until_polled(stage: ImapStage, *, times: int) -> None:
    """Wait for so many further polls: each lists the folders."""
    enough = (await calls(stage)).get("imap.list", 0) + times

    async def are_made() -> bool:
        return (await calls(stage)).get("imap.list", 0) >= enough

    await eventually(are_made)


class UnusedConnection(Connection):
    """Fails when it is used."""

    def __init__(self) -> None:
        self.selected = None


async def make_due(servers: Servers, mailbox_id: int, seconds: float) -> None:
    """Let the next turn be due in so many seconds."""
    async with servers.pool.acquire() as connection:
        await connection.execute(
            "UPDATE mailbox_schedule SET due_at = now() + make_interval(secs => $2) WHERE mailbox_id = $1",
            mailbox_id,
            seconds,
        )


class TestDueTurns:
    async def test_come_before_idling(self, servers: Servers) -> None:
        await servers.empty()
        async with servers.pool.acquire() as connection:
            mailbox_id = (await add_mailbox(connection)).mailbox_id
            await schedule.trigger(connection, mailbox_id)
        inbox = Inbox(mailbox_id=mailbox_id, pool=servers.pool, hidden_marks=frozenset())
        waiting = asyncio.create_task(inbox.rests(stop=asyncio.Event()))
        await asyncio.wait([waiting], timeout=0.5)
        assert not waiting.done()
        await make_due(servers, mailbox_id, 3600)
        await asyncio.wait_for(waiting, 20)

    async def test_have_the_connection_at_once(self, servers: Servers) -> None:
        await servers.empty()
        async with servers.pool.acquire() as connection:
            mailbox_id = (await add_mailbox(connection)).mailbox_id
            await schedule.trigger(connection, mailbox_id)
        inbox = Inbox(mailbox_id=mailbox_id, pool=servers.pool, hidden_marks=frozenset())
        announced: list[int] = []

        async def announce(mailbox_id: int) -> bool:
            announced.append(mailbox_id)
            return True

        async def look(mailbox_id: int) -> None:
            announced.append(mailbox_id)

        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(0.1, stop.set)
        announcer = Announcer(announce=announce, look=look, generator=random.Random(1))
        await asyncio.wait_for(wait_for_news(inbox, UnusedConnection(), announcer=announcer, stop=stop), 20)
        assert announced == []


@pytest.mark.parametrize("profile", PROFILES)
class TestIdling:
    async def test_brings_new_mail_without_a_poll(self, servers: Servers, profile: str) -> None:
        async with open_imap_stage(servers, profile) as stage:
            await stage.imap.deliver(subject="first")
            await stage.sync(count=None)
            for number in range(3):
                await until_held(stage)
                await stage.imap.deliver(subject=f"new {number}")
                await until_subjects(stage, "first", *(f"new {each}" for each in range(number + 1)))
            assert (await stage.imap.account())["logins"] == 1

    async def test_brings_marks_and_deletions_of_the_inbox(self, servers: Servers, profile: str) -> None:
        async with open_imap_stage(servers, profile) as stage:
            read = await stage.imap.deliver(subject="read")
            await stage.sync(count=None)
            await until_held(stage)
            # A star shows in no number that polls ask for.
            await stage.imap.relabel(read, add=["STARRED"], remove=["UNREAD"])

            async def is_read() -> bool:
                return all(message.is_read and "flagged" in message.marks for message in await stage.listed())

            await eventually(is_read)


@pytest.mark.parametrize("profile", PROFILES)
class TestPoll:
    async def test_of_a_quiet_mailbox_asks_for_numbers_only(self, servers: Servers, profile: str) -> None:
        async with open_imap_stage(servers, profile, poll_seconds=0.1) as stage:
            await stage.imap.deliver(subject="first")
            await stage.sync(count=None)
            # Passes have ended, and the inbox is watched.
            await until_polled(stage, times=10)
            before = await calls(stage)
            await until_polled(stage, times=10)
            asked = {name for name, count in (await calls(stage)).items() if count > before.get(name, 0)}
            assert asked == {"imap.noop", "imap.list", "imap.status", "imap.idle"}


@asynccontextmanager
async def quiet_mailbox(servers: Servers) -> AsyncIterator[tuple[ImapStage, str]]:
    """Yield a mailbox that has been quiet for long at a server without numbers of marks, and a message of a folder."""
    async with open_imap_stage(servers, "yandex", poll_seconds=0.3) as stage:
        work = await stage.create_folder("Work")
        await stage.imap.deliver(subject="first")
        message = await stage.imap.deliver(subject="in Work", labels=[work])
        await stage.sync(count=None)
        await until_polled(stage, times=5)
        await stage.pool.execute("UPDATE mailbox_schedule SET active_at = 'epoch'")
        yield stage, message


async def pass_time(stage: ImapStage, *, hours: int) -> None:
    """Let the last pass be so many hours earlier, once it has ended: polls come after it."""
    await until_polled(stage, times=2)
    await stage.pool.execute("UPDATE mail_folders SET state = jsonb_set(state::jsonb, '{marks_at}', '0')::text")
    await stage.pool.execute("UPDATE folder_histories SET ended_at = ended_at - make_interval(hours => $1::int)", hours)


class TestPollOfAQuietMailboxWhoseMarksHaveNoNumbers:
    async def test_searches_for_marks_from_time_to_time_and_brings_no_turn(self, servers: Servers) -> None:
        async with quiet_mailbox(servers) as (stage, _):
            passes = await stage.fetchval("SELECT pass_number FROM folder_histories")
            for _ in range(2):
                before = (await calls(stage))["imap.search"]
                await until_polled(stage, times=2)
                assert (await calls(stage))["imap.search"] == before
                await pass_time(stage, hours=2)
                await until_polled(stage, times=3)
                # Five marks and a keyword of either folder; afterwards the inbox is watched, and not selected again.
                assert (await calls(stage))["imap.search"] == before + 2 * 6
            assert await stage.fetchval("SELECT pass_number FROM folder_histories") == passes
            assert await stage.fetchval("SELECT active_at = 'epoch' FROM mailbox_schedule")

    async def test_finds_a_mark_that_shows_in_no_number(self, servers: Servers) -> None:
        async with quiet_mailbox(servers) as (stage, message):
            for starred in (True, False):
                change = {"add": ["STARRED"]} if starred else {"remove": ["STARRED"]}
                await stage.imap.relabel(message, **change)
                await pass_time(stage, hours=2)

                async def shows(expected: bool = starred) -> bool:
                    return any("flagged" in each.marks for each in await stage.listed()) is expected

                await eventually(shows)
            assert await stage.fetchval("SELECT active_at = 'epoch' FROM mailbox_schedule")

    async def test_brings_a_turn_that_reads_messages_once_a_day(self, servers: Servers) -> None:
        async with quiet_mailbox(servers) as (stage, _):
            await pass_time(stage, hours=25)

            async def has_passed() -> bool:
                return bool(await stage.fetchval("SELECT ended_at > now() - interval '1 day' FROM folder_histories"))

            await eventually(has_passed)
            assert await stage.fetchval("SELECT active_at = 'epoch' FROM mailbox_schedule")


class TestPollWithAnswersOfAReplicaThatLags:
    @pytest.mark.parametrize("profile", PROFILES)
    async def test_finds_new_mail_with_the_first_one_that_is_current(self, servers: Servers, profile: str) -> None:
        async with open_imap_stage(servers, profile, poll_seconds=0.3) as stage:
            work = await stage.create_folder("Work")
            await stage.imap.deliver(subject="old", labels=[work])
            await stage.sync(count=None)
            await until_held(stage)
            await stage.imap.plan(method="imap.status", kind="stale_status", path="Work", count=2)
            await stage.imap.deliver(subject="new", labels=[work])
            await until_subjects(stage, "old", "new")
            [rule] = (await stage.imap.control("GET", "faults"))["rules"]
            assert rule["fired"] == 2


class TestToken:
    async def test_that_ends_while_the_connection_idles_is_replaced(self, servers: Servers) -> None:
        async with open_imap_stage(servers, "yandex", poll_seconds=0.3) as stage:
            assert stage.accounts is not None
            stage.accounts.refreshes = True
            await stage.imap.deliver(subject="first")
            await stage.sync(count=None)
            await until_held(stage)
            await stage.imap.control("POST", f"users/{EMAIL}/tokens/expire")
            await stage.imap.control("DELETE", f"users/{EMAIL}/connections")
            await stage.imap.deliver(subject="second")
            await until_subjects(stage, "first", "second")
            account = await stage.imap.account()
            # The one with the old token, and those of the old and the new connection.
            assert (account["refused_logins"], account["logins"], account["connections"]) == (1, 2, 1)
            assert stage.accounts.refusals == 1


class Pause(random.Random):
    """Chooses a time."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def uniform(self, a: float, b: float) -> float:  # noqa: ARG002 - the bounds
        """Return the time."""
        return self.seconds


@dataclass
class Heard:
    """What a connection has told the schedule, which is away for `lost` announcements."""

    news: list[int] = field(default_factory=list)
    looks: list[int] = field(default_factory=list)
    lost: int = 0

    def announcer(self, *, waits: float = 0.0, **seconds: float) -> Announcer:
        """Return what a connection tells. Random times are `waits` seconds; a turn has `pause` seconds to come."""

        async def announce(mailbox_id: int) -> bool:
            self.news.append(mailbox_id)
            return len(self.news) > self.lost

        async def look(mailbox_id: int) -> None:
            self.looks.append(mailbox_id)

        return Announcer(announce=announce, look=look, generator=Pause(waits), **seconds)


class TestConnectionThatIdles:
    async def test_tells_of_news_once_until_the_turn_takes_it(self, servers: Servers) -> None:
        inbox = Inbox(mailbox_id=7, pool=servers.pool, hidden_marks=frozenset())
        script = [hears(b"IDLE", b"+ idling\r\n", b"* 4 EXISTS\r\n"), hears(b"DONE", b"* 5 EXISTS\r\nTAG OK\r\n")]
        heard, stop = Heard(), asyncio.Event()
        async with conversation(*script) as (connection, server):
            connection.selected = SelectedFolder(b"INBOX", is_watched=True)
            idling = asyncio.create_task(
                wait_for_news(inbox, connection, announcer=heard.announcer(pause=60), stop=stop)
            )
            await server.until_heard(2)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(server.until_heard(3), 0.3)
            stop.set()
            await asyncio.wait_for(idling, 20)
        assert (heard.news, heard.looks) == ([7], [])

    @pytest.mark.parametrize(("stable", "looks"), [(0.0, [7]), (60.0, [])])
    async def test_is_looked_for_after_its_loss_if_the_server_keeps_connections(
        self, servers: Servers, stable: float, looks: list[int]
    ) -> None:
        inbox = Inbox(mailbox_id=7, pool=servers.pool, hidden_marks=frozenset())
        heard = Heard()
        async with conversation(hears(b"IDLE", b"+ idling\r\n", CUT)) as (connection, _):
            connection.selected = SelectedFolder(b"INBOX", is_watched=True)
            announcer = heard.announcer(stable=stable)
            await asyncio.wait_for(wait_for_news(inbox, connection, announcer=announcer, stop=asyncio.Event()), 20)
        assert (heard.news, heard.looks) == ([], looks)

    async def test_is_left_to_polls_by_a_server_that_ends_idle_at_once(self, servers: Servers) -> None:
        inbox = Inbox(mailbox_id=7, pool=servers.pool, hidden_marks=frozenset())
        heard = Heard()
        async with conversation(hears(b"IDLE", b"+ idling\r\nTAG OK\r\n")) as (connection, _):
            connection.selected = SelectedFolder(b"INBOX", is_watched=True)
            await asyncio.wait_for(
                wait_for_news(inbox, connection, announcer=heard.announcer(), stop=asyncio.Event()), 20
            )
            assert connection.is_open
        assert (heard.news, heard.looks) == ([], [])

    async def test_tells_of_news_until_the_database_has_them(self, servers: Servers) -> None:
        """The server announces them once; a poll of a quiet mailbox comes after a quarter of an hour."""
        inbox = Inbox(mailbox_id=7, pool=servers.pool, hidden_marks=frozenset())
        script = [hears(b"IDLE", b"+ idling\r\n* 4 EXISTS\r\n"), hears(b"DONE", b"TAG OK\r\n")]
        heard, stop = Heard(lost=2), asyncio.Event()
        async with conversation(*script, hears(b"IDLE", b"+ idling\r\n")) as (connection, server):
            connection.selected = SelectedFolder(b"INBOX", is_watched=True)
            announcer = heard.announcer(waits=60, pause=0.01)
            idling = asyncio.create_task(wait_for_news(inbox, connection, announcer=announcer, stop=stop))
            await asyncio.wait_for(server.until_heard(3), 20)
            stop.set()
            await asyncio.gather(idling, return_exceptions=True)
        assert heard.news == [7] * 3

    async def test_leaves_its_mailbox_to_the_polls_while_the_database_is_away(self) -> None:
        inbox = Inbox(mailbox_id=7, pool=LOST, hidden_marks=frozenset())
        announcer, stop = Heard().announcer(stable=60), asyncio.Event()
        await asyncio.wait_for(wait_for_news(inbox, UnusedConnection(), announcer=announcer, stop=stop), 20)

    async def test_gives_way_at_once_after_its_loss(self, servers: Servers) -> None:
        inbox = Inbox(mailbox_id=7, pool=servers.pool, hidden_marks=frozenset())
        heard, stop = Heard(), asyncio.Event()
        async with conversation(hears(b"IDLE", b"+ idling\r\n", CUT)) as (connection, server):
            connection.selected = SelectedFolder(b"INBOX", is_watched=True)
            announcer = heard.announcer(waits=3_600, stable=0)
            idling = asyncio.create_task(wait_for_news(inbox, connection, announcer=announcer, stop=stop))
            await asyncio.wait_for(server.ended.wait(), 20)
            await eventually(lambda: _is_closed(connection))
            stop.set()
            await asyncio.wait_for(idling, 20)
        assert heard.looks == []


async def _is_closed(connection: Connection) -> bool:
    return not connection.is_open


class TestDeletion:
    async def test_shows_though_nothing_else_changes(self, servers: Servers) -> None:
        async with open_imap_stage(servers, "modern", poll_seconds=0.3) as stage:
            deleted = await stage.imap.deliver(subject="deleted")
            await stage.imap.deliver(subject="kept")
            await stage.sync(count=None)
            await until_held(stage)
            await stage.imap.control("DELETE", f"users/{EMAIL}/messages/{deleted}")
            await until_subjects(stage, "kept")


class TestFolderThatFailed:
    async def test_is_looked_at_again_before_long(self, servers: Servers) -> None:
        async with open_imap_stage(servers, "yandex", poll_seconds=0.3) as stage:
            work = await stage.create_folder("Work")
            await stage.sync(count=None)
            await stage.imap.plan(method="imap.examine", kind="error", reason="UNAVAILABLE", path="Work", count=6)
            await stage.imap.deliver(subject="in Work", labels=[work])
            # The pauses between six failures take ten seconds.
            await until_subjects(stage, "in Work", within=3 * PATIENCE)


class TestKeptConnections:
    async def test_are_those_of_one_worker(self, servers: Servers) -> None:
        async with open_imap_stage(servers, "yandex", workers=3) as stage:
            await stage.imap.deliver(subject="first")
            await stage.sync(count=None)
            subjects = ["first"]
            for number in range(6):
                await until_held(stage)
                subjects.append(f"new {number}")
                await stage.imap.deliver(subject=subjects[-1])
                await until_subjects(stage, *subjects)
            account = await stage.imap.account()
            assert (account["logins"], account["connections"]) == (1, 1)

    async def test_are_taken_over_from_a_worker_that_has_ended(self, servers: Servers) -> None:
        async with open_imap_stage(servers, "yandex", workers=2) as stage:
            await stage.imap.deliver(subject="first")
            await stage.sync(count=None)
            await until_held(stage)
            holder = await stage.fetchval("SELECT held_by FROM mailbox_schedule")
            assert holder is not None
            [ended] = [worker for worker in stage.workers if worker.worker._holder == holder]
            await ended.drain()
            await stage.imap.deliver(subject="second")
            await stage.hint()
            await until_subjects(stage, "first", "second")

    async def test_that_the_server_has_dropped_are_opened_again(self, servers: Servers) -> None:
        async with open_imap_stage(servers, "yandex") as stage:
            await stage.imap.deliver(subject="first")
            await stage.sync(count=None)
            await until_held(stage)
            await stage.imap.control("DELETE", f"users/{EMAIL}/connections")
            await stage.imap.deliver(subject="second")
            await stage.hint()
            await until_subjects(stage, "first", "second")
            assert (await stage.imap.account())["logins"] == 2

    @pytest.mark.long
    async def test_that_the_server_closes_again_and_again_are_opened_by_themselves(self, servers: Servers) -> None:
        with capture_logs() as logs:
            await self._see_connections_closed(servers)
        assert "a mailbox idles no more" in {each["event"] for each in logs}

    async def _see_connections_closed(self, servers: Servers) -> None:
        async with open_imap_stage(servers, "yandex", stable=0) as stage:
            subjects = ["first"]
            await stage.imap.deliver(subject="first")
            await stage.sync(count=None)
            for number in range(3):
                await until_held(stage)
                await stage.imap.control("DELETE", f"users/{EMAIL}/connections")
                subjects.append(f"new {number}")
                await stage.imap.deliver(subject=subjects[-1])
                await until_subjects(stage, *subjects)
            account = await stage.imap.account()
            assert (account["logins"], account["connections"]) == (4, 1)

    async def test_that_die_without_a_word_are_noticed_by_the_next_turn(self, servers: Servers) -> None:
        with capture_logs() as logs:
            await self._see_a_connection_die(servers)
        [error] = [each["error"] for each in logs if each["event"] == "a mailbox idles no more"]
        assert error == "SilenceError"

    async def _see_a_connection_die(self, servers: Servers) -> None:
        async with open_imap_stage(servers, "yandex", alter=bytes) as stage:
            await stage.imap.deliver(subject="first")
            await stage.sync(count=None)
            await until_held(stage)
            assert stage.altered is not None
            stage.altered.lose_connections()
            await stage.imap.deliver(subject="second")
            await stage.hint()
            await until_subjects(stage, "first", "second")
            assert (await stage.imap.account())["logins"] == 2
