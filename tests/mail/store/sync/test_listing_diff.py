"""What a listing says of stored messages: nothing of those that have changed since it began."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from services.mail.model import Account, Listing, Mailbox, MailboxStatus
from services.mail.store import messages
from services.mail.store.connection import Connection
from services.mail.store.control import mailboxes
from services.mail.store.sync import listing_diff, sync_state
from services.mail.store.sync.listing_diff import IdRange
from tests.support.mail.servers import Servers
from tests.support.mail.stored import stored_message

ALL_IDS = IdRange("", "\U0010ffff")
FLOOR = 10


@pytest.fixture
async def connection(servers: Servers) -> AsyncIterator[Connection]:
    await servers.empty()
    async with servers.pool.acquire() as connection:
        yield connection


@pytest.fixture
async def mailbox(connection: Connection) -> Mailbox:
    """A mailbox with a message as old as the listing, `old`, and one that has changed since then, `new`."""
    user_id = uuid4()
    account = Account(
        account_id=uuid4(), user_id=user_id, provider="google", email="ada@example.com", status=MailboxStatus.ACTIVE
    )
    await mailboxes.upsert(connection, [account])
    [mailbox] = await mailboxes.of_user(connection, user_id)
    await sync_state.ensure(connection, mailbox.mailbox_id)
    await sync_state.move_cursor(connection, mailbox.mailbox_id, previous=None, cursor=FLOOR)
    await sync_state.start_listing(connection, mailbox.mailbox_id, Listing.VERIFY_IDS, target=None)
    made = [
        stored_message(id_, version=version, labels=("STARRED",))
        for id_, version in {"old": FLOOR, "new": FLOOR + 1}.items()
    ]
    await messages.upsert(connection, mailbox.mailbox_id, made)
    return mailbox


async def queued(connection: Connection) -> list[str]:
    """The ids of the queued messages."""
    return [row["external_id"] for row in await connection.fetch("SELECT external_id FROM fetch_queue")]


class TestUnlisted:
    async def test_are_doubted_unless_they_have_changed_since(self, connection: Connection, mailbox: Mailbox) -> None:
        assert await listing_diff.suspect_unlisted(connection, mailbox.mailbox_id, ALL_IDS) == 1
        assert await queued(connection) == ["old"]

    async def test_that_were_given_up_on_are_doubted_likewise(self, connection: Connection, mailbox: Mailbox) -> None:
        await connection.execute("DELETE FROM messages")
        await connection.executemany(
            "INSERT INTO dead_letters (mailbox_id, external_id, wanted_version, reason, attempts) "
            "VALUES ($1, $2, $3, 'any', 1)",
            [(mailbox.mailbox_id, "old", FLOOR), (mailbox.mailbox_id, "new", FLOOR + 1)],
        )
        assert await listing_diff.suspect_unlisted(connection, mailbox.mailbox_id, ALL_IDS) == 1
        assert await queued(connection) == ["old"]


class TestMislabelled:
    async def test_are_doubted_unless_they_have_changed_since(self, connection: Connection, mailbox: Mailbox) -> None:
        found = await listing_diff.suspect_mislabelled(connection, mailbox.mailbox_id, "STARRED", ALL_IDS)
        assert (found, await queued(connection)) == (1, ["old"])

    async def test_are_not_those_that_the_listing_shows(self, connection: Connection, mailbox: Mailbox) -> None:
        await listing_diff.note(connection, mailbox.mailbox_id, ["old"], round_=1, offset=0, label_id="STARRED")
        found = await listing_diff.suspect_mislabelled(connection, mailbox.mailbox_id, "STARRED", ALL_IDS)
        assert (found, await queued(connection)) == (0, [])
