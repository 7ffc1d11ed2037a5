"""Marks at servers that do not number their changes: by searches, and seldom where nothing happens."""

from dataclasses import replace

import pytest

from services.mail.providers.folder_history.model import HistoryState, Phase
from services.mail.providers.imap.client.folders import examine
from services.mail.providers.imap.client.messages import uids_of
from services.mail.providers.imap.marks import MarksCheck, search_marks
from services.mail.store.control import schedule
from services.mail.store.folder_history import folders
from services.mail.store.folder_history.folders import Overview
from tests.mail.providers.imap.test_history_with_sandbox import Mailbox, mailbox_at
from tests.mail.providers.imap.test_idling import until_polled
from tests.support.imap.mailbox_stage import open_imap_stage
from tests.support.imap.scripted_server import Step, conversation, hears
from tests.support.mail.servers import Servers
from tests.support.mail.stored import add_mailbox

HOUR = 3_600.0
KEYS = ("UNSEEN", "FLAGGED", "DRAFT", "ANSWERED", "DELETED")


def selected(flags: bytes = b"") -> Step:
    return hears(None, b"* FLAGS (\\Seen %s)\r\n* 2 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\nTAG OK\r\n" % flags)


def searched(*keys: str, answer: bytes = b"* SEARCH 4 5\r\nTAG OK\r\n") -> list[Step]:
    """Return steps of a server that hears these searches, and finds messages 4 and 5."""
    return [hears(f"UID SEARCH {key}".encode(), answer) for key in keys]


class TestSearchMarks:
    async def test_asks_for_flags_and_for_keywords_that_are_not_hidden(self) -> None:
        script = [selected(b"$Forwarded system_1"), *searched(*KEYS, "KEYWORD $Forwarded")]
        async with conversation(*script) as (connection, server):
            await examine(connection, b"INBOX")
            found = await search_marks(connection, hidden={"system_*"})
        assert found is not None
        assert found.keys() == {"seen", "flagged", "draft", "answered", "deleted", "kw:$Forwarded"}
        assert all(uids_of(each) == {4, 5} for each in found.values())
        assert len(server.heard) == 7

    async def test_is_for_the_last_messages_of_a_large_folder(self) -> None:
        async with conversation(selected(), *searched(*[f"UID 9:4294967295 {key}" for key in KEYS])) as (connection, _):
            await examine(connection, b"INBOX")
            assert await search_marks(connection, hidden=frozenset(), since=9) is not None

    @pytest.mark.parametrize(
        "answer",
        [b"TAG NO not now\r\n", b"TAG BAD what\r\n", b"TAG OK\r\n", b"* SEARCH\r\n* SEARCH\r\nTAG OK\r\n"],
    )
    async def test_tells_nothing_without_an_answer_for_each(self, answer: bytes) -> None:
        script = [selected(), *searched(*KEYS[:-1]), *searched("DELETED", answer=answer)]
        async with conversation(*script) as (connection, _):
            await examine(connection, b"INBOX")
            assert await search_marks(connection, hidden=frozenset()) is None

    async def test_tells_nothing_of_a_folder_with_hundreds_of_keywords(self) -> None:
        flags = b" ".join(b"word-%d" % number for number in range(300))
        async with conversation(selected(flags)) as (connection, server):
            await examine(connection, b"INBOX")
            assert await search_marks(connection, hidden=frozenset()) is None
        assert len(server.heard) == 1


async def overview_of(mailbox: Mailbox, *, passed: float = HOUR) -> Overview:
    """Return what the history knows of a mailbox, so many seconds after a pass."""
    async with mailbox.observed.pool.acquire() as connection:
        found = await folders.overview(connection, mailbox.observed.mailbox_id)
    state = HistoryState(
        revision=found.state.revision, pass_number=found.state.pass_number, phase=Phase.IDLE, ended_ago=passed
    )
    return Overview(state=state, folders=found.folders)


async def finds_nothing(mailbox: Mailbox, check: MarksCheck) -> bool:
    """Return whether the marks are those of the copy."""
    async with mailbox.observed.provider.session.connection() as connection:
        return await check.finds_nothing(connection, mailbox.observed.mailbox_id, await overview_of(mailbox))


async def doubted_in_sent(mailbox: Mailbox, check: MarksCheck) -> int:
    """Return how many messages of the folder of sent mail the next pass is to read."""
    overview = await overview_of(mailbox)
    [sent] = [each for each in overview.folders if each.folder.role == "sent"]
    async with mailbox.observed.provider.session.connection() as connection:
        await examine(connection, sent.folder.path.encode("latin-1"))
        return len(check.doubted(connection))


class TestMarksCheck:
    async def test_finds_what_changes_and_remembers_what_did_not(self, servers: Servers) -> None:
        async with mailbox_at(servers, "yandex") as mailbox:
            message = await mailbox.at_provider.deliver(subject="starred", labels=["SENT"])
            await mailbox.observed.settle()
            check = MarksCheck(mailbox.observed.pool, hidden_marks=frozenset())
            assert await finds_nothing(mailbox, check)
            # The answers after the second change are those of the beginning: the pass between them counts.
            for change in ({"add": ["STARRED"]}, {"remove": ["STARRED"]}, {"add": ["UNREAD"]}):
                await mailbox.at_provider.relabel(message, **change)
                assert [await finds_nothing(mailbox, check) for _ in range(2)] == [False, False]
                assert [await doubted_in_sent(mailbox, check) for _ in range(2)] == [1, 0]
                await mailbox.observed.pool.execute(
                    "UPDATE mail_folders SET state = jsonb_set(state::jsonb, '{marks_at}', '-1e9')::text"
                )
                await mailbox.observed.settle()
            assert [await finds_nothing(mailbox, check) for _ in range(2)] == [True, True]

    async def test_does_not_read_the_copy_again_while_the_answers_are_the_same(self, servers: Servers) -> None:
        async with mailbox_at(servers, "yandex") as mailbox:
            check = MarksCheck(mailbox.observed.pool, hidden_marks=frozenset())
            overview = await overview_of(mailbox)
            async with mailbox.observed.provider.session.connection() as connection:
                assert await check.finds_nothing(connection, mailbox.observed.mailbox_id, overview)
                # Of another mailbox nothing is known.
                assert await check.finds_nothing(connection, 0, overview)
                assert not await MarksCheck(mailbox.observed.pool, hidden_marks=frozenset()).finds_nothing(
                    connection, 0, overview
                )

    async def test_watches_no_other_folder_than_the_inbox(self, servers: Servers) -> None:
        async with mailbox_at(servers, "yandex") as mailbox:
            check, overview = MarksCheck(mailbox.observed.pool, hidden_marks=frozenset()), await overview_of(mailbox)
            others = [each for each in overview.folders if each.folder.role != "inbox"]
            for listed, is_watched in ((overview.folders, True), (others, False)):
                async with mailbox.observed.provider.session.connection() as connection:
                    assert await check.finds_nothing(
                        connection, mailbox.observed.mailbox_id, replace(overview, folders=listed)
                    )
                    assert connection.selected is not None
                    assert connection.selected.is_watched is is_watched

    @pytest.mark.parametrize(
        ("quiet_for", "passed", "is_due"),
        [
            (0.0, 899.0, False),
            (0.0, 900.0, True),
            (2 * HOUR, 1_790.0, False),
            (2 * HOUR, 1_860.0, True),
            (99 * HOUR, 3_599.0, False),
            (99 * HOUR, 3_600.0, True),
        ],
    )
    async def test_is_due_the_later_the_longer_a_mailbox_is_quiet(
        self, servers: Servers, quiet_for: float, passed: float, is_due: bool
    ) -> None:
        await servers.empty()
        async with servers.pool.acquire() as reading:
            mailbox_id = (await add_mailbox(reading)).mailbox_id
            await schedule.trigger(reading, mailbox_id)
            await reading.execute(
                "UPDATE mailbox_schedule SET active_at = now() - make_interval(secs => $1)", quiet_for
            )
        state = HistoryState(revision=1, pass_number=2, phase=Phase.IDLE, ended_ago=passed)
        async with conversation() as (connection, _):
            check = MarksCheck(servers.pool, hidden_marks=frozenset())
            assert await check.is_due(connection, mailbox_id, state) is is_due


def finds_too_much(line: bytes) -> bytes:
    """Have searches that find nothing name the first message."""
    return b"* SEARCH 1\r\n" if line == b"* SEARCH\r\n" else line


class TestServerWhoseSearchesAreWrong:
    async def test_has_no_turn_after_turn(self, servers: Servers) -> None:
        async with open_imap_stage(servers, "yandex", poll_seconds=0.1, alter=finds_too_much) as stage:
            await stage.imap.deliver(subject="first")
            await stage.sync(count=None)
            await until_polled(stage, times=5)
            passes = await stage.fetchval("SELECT pass_number FROM folder_histories")
            await until_polled(stage, times=10)
            assert await stage.fetchval("SELECT pass_number FROM folder_histories") == passes
