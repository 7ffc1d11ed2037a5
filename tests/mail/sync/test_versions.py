"""Version rules: which of two states of a message, or of the cursor, wins."""

from collections.abc import AsyncIterator, Mapping, Sequence
from uuid import uuid4

import pytest

from services.mail.model import Account, LabelChange, Mailbox, MailboxStatus
from services.mail.store import message_labels, messages
from services.mail.store.connection import Connection
from services.mail.store.control import mailboxes
from services.mail.store.sync import fetch_queue, sync_state
from services.mail.sync.store_fetched import Retries
from tests.support.mail.servers import Servers
from tests.support.mail.stored import stored_message


@pytest.fixture
async def connection(servers: Servers) -> AsyncIterator[Connection]:
    await servers.empty()
    async with servers.pool.acquire() as connection:
        yield connection


@pytest.fixture
async def mailbox(connection: Connection) -> Mailbox:
    user_id = uuid4()
    account = Account(
        account_id=uuid4(), user_id=user_id, provider="google", email="ada@example.com", status=MailboxStatus.ACTIVE
    )
    await mailboxes.upsert(connection, [account])
    [mailbox] = await mailboxes.of_user(connection, user_id)
    await sync_state.ensure(connection, mailbox.mailbox_id)
    return mailbox


async def store(connection: Connection, mailbox: Mailbox, *, version: int, labels: Sequence[str] = ()) -> None:
    """Store the message m1."""
    made = stored_message("m1", version=version, labels=tuple(labels))
    await messages.upsert(connection, mailbox.mailbox_id, [made])


async def stored(connection: Connection, mailbox: Mailbox) -> tuple[int, set[str]]:
    """Return version and labels of m1."""
    row = await connection.fetchrow("SELECT version, label_ids FROM messages WHERE mailbox_id = $1", mailbox.mailbox_id)
    assert row is not None
    return int(row["version"]), set(row["label_ids"])


def starred(version: int) -> Mapping[str, Sequence[LabelChange]]:
    return {"m1": [LabelChange(version=version, added=frozenset({"STARRED"}))]}


class TestCursor:
    async def test_moves_only_from_the_expected_value(self, connection: Connection, mailbox: Mailbox) -> None:
        id_ = mailbox.mailbox_id
        assert await sync_state.move_cursor(connection, id_, previous=None, cursor=10)
        assert not await sync_state.move_cursor(connection, id_, previous=None, cursor=20)
        assert not await sync_state.move_cursor(connection, id_, previous=9, cursor=20)
        assert (await sync_state.load(connection, id_)).cursor == 10
        assert await sync_state.move_cursor(connection, id_, previous=10, cursor=2**70)
        assert (await sync_state.load(connection, id_)).cursor == 2**70


class TestLabelChange:
    async def test_newer_than_the_message_is_applied_with_its_version(
        self, connection: Connection, mailbox: Mailbox
    ) -> None:
        await store(connection, mailbox, version=5, labels=["INBOX"])
        assert await message_labels.change(connection, mailbox.mailbox_id, starred(7)) == {"m1"}
        assert await stored(connection, mailbox) == (7, {"INBOX", "STARRED"})

    @pytest.mark.parametrize("version", [4, 5])
    async def test_not_newer_than_the_message_is_ignored(
        self, connection: Connection, mailbox: Mailbox, version: int
    ) -> None:
        await store(connection, mailbox, version=5, labels=["INBOX"])
        await message_labels.change(connection, mailbox.mailbox_id, starred(version))
        assert await stored(connection, mailbox) == (5, {"INBOX"})

    async def test_is_not_undone_by_a_get_that_began_earlier(self, connection: Connection, mailbox: Mailbox) -> None:
        await store(connection, mailbox, version=5, labels=["INBOX"])
        await message_labels.change(connection, mailbox.mailbox_id, starred(7))
        await store(connection, mailbox, version=6, labels=["INBOX"])
        assert await stored(connection, mailbox) == (7, {"INBOX", "STARRED"})


class TestWantedVersion:
    async def test_raised_during_a_get_keeps_the_message_queued(self, connection: Connection, mailbox: Mailbox) -> None:
        id_ = mailbox.mailbox_id
        for version in (5, 9, 7):
            await fetch_queue.queue_changed(connection, id_, {"m1": version}, threads={})
        for got, left in ((5, {"m1"}), (9, set())):
            assert await fetch_queue.finish(connection, id_, {"m1": got}, pauses=[0]) == []
            assert await fetch_queue.queued_ids(connection, id_, ["m1"]) == left

    async def test_that_never_arrives_is_abandoned_after_growing_pauses(
        self, connection: Connection, mailbox: Mailbox
    ) -> None:
        id_ = mailbox.mailbox_id
        await fetch_queue.queue_changed(connection, id_, {"m1": 9}, threads={})
        for pause in Retries().stale_pauses:
            assert await fetch_queue.finish(connection, id_, {"m1": 5}, pauses=Retries().stale_pauses) == []
            assert await fetch_queue.seconds_until_next(connection, id_) == pytest.approx(pause, abs=0.9)
        assert await fetch_queue.finish(connection, id_, {"m1": 5}, pauses=Retries().stale_pauses) == ["m1"]
        assert await fetch_queue.seconds_until_next(connection, id_) is None

    async def test_of_a_suspected_message_is_at_least_the_stored_one(
        self, connection: Connection, mailbox: Mailbox
    ) -> None:
        id_ = mailbox.mailbox_id
        await store(connection, mailbox, version=7, labels=["INBOX"])
        await fetch_queue.queue_changed(connection, id_, {"m1": 0}, threads={})
        for got, left in ((6, {"m1"}), (7, set())):
            assert await fetch_queue.finish(connection, id_, {"m1": got}, pauses=[0]) == []
            assert await fetch_queue.queued_ids(connection, id_, ["m1"]) == left

    async def test_that_cannot_be_compared_removes_the_message_from_the_queue(
        self, connection: Connection, mailbox: Mailbox
    ) -> None:
        id_ = mailbox.mailbox_id
        await fetch_queue.queue_changed(connection, id_, {"m1": 9}, threads={})
        assert await fetch_queue.finish(connection, id_, {"m1": None}, pauses=[0]) == []
        assert await fetch_queue.queued_ids(connection, id_, ["m1"]) == set()
