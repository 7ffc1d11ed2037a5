"""Counts of a mailbox's messages, which the statements keep that change them."""

import asyncio
import random

import pytest

from services.mail.model import LabelChange, Mailbox, MailboxOverview, MailboxQuery
from services.mail.providers.label_ids import UNSEEN
from services.mail.store import labels, message_labels, messages
from services.mail.store.connection import Connection, Pool
from services.mail.store.control import mailbox_overviews
from tests.support.mail.stored import store, stored_message

NEW = UNSEEN[0]
IDS = ("a", "b", "c", "d", "e")
SETS = ((), (NEW,), ("x",), ("x", NEW), UNSEEN)


async def kept(connection: Connection, mailbox_id: int) -> tuple[int, int] | None:
    """Return the counts that were kept; None if they were not."""
    row = await connection.fetchrow(
        """
        SELECT message_count, unread_count FROM change_feeds WHERE mailbox_id = $1 AND counted_seq = last_seq
        """,
        mailbox_id,
    )
    return None if row is None else (row["message_count"], row["unread_count"])


async def counted(connection: Connection, mailbox_id: int) -> tuple[int, int]:
    """Count the messages."""
    row = await connection.fetchrow(
        "SELECT count(*), count(*) FILTER (WHERE label_ids && $2) AS unread FROM messages WHERE mailbox_id = $1",
        mailbox_id,
        UNSEEN,
    )
    assert row is not None
    return row["count"], row["unread"]


async def overview(connection: Connection, mailbox: Mailbox) -> MailboxOverview:
    """List the mailbox."""
    [found] = await mailbox_overviews.overviews(connection, MailboxQuery(user_id=mailbox.user_id))
    return found


async def change_anything(connection: Connection, mailbox_id: int, *, draw: random.Random, version: int) -> None:
    """Carry out any statement that changes messages, also with old versions and unknown ids."""
    some = draw.sample(IDS, draw.randint(1, 4))
    # Half of them are older than what is stored.
    at = version - draw.choice((0, 5))
    match draw.randrange(5):
        case 0 | 1:
            made = [stored_message(id_, version=at, labels=draw.choice(SETS)) for id_ in some]
            await messages.upsert(connection, mailbox_id, made)
        case 2:
            await messages.delete(connection, mailbox_id, some[:2])
        case 3:
            added, removed = (frozenset(draw.choice(SETS)) for _ in range(2))
            steps = [LabelChange(version=at, added=added, removed=removed)]
            await message_labels.change(connection, mailbox_id, dict.fromkeys(some, steps))
        case _:
            await message_labels.take_off(connection, mailbox_id, draw.choice(("x", NEW)), limit=draw.randint(1, 3))


class TestCounts:
    @pytest.mark.parametrize("seed", range(3))
    async def test_are_kept_by_every_change(self, connection: Connection, mailbox_id: int, seed: int) -> None:
        draw = random.Random(seed)
        await store(connection, mailbox_id, "first")
        for step in range(60):
            await change_anything(connection, mailbox_id, draw=draw, version=step)
            assert await kept(connection, mailbox_id) == await counted(connection, mailbox_id), (seed, step)

    async def test_outlive_changes_of_labels(self, connection: Connection, mailbox_id: int) -> None:
        await store(connection, mailbox_id, "a", "b", labels=(NEW,))
        await labels.record(connection, mailbox_id, [], confirm_seconds=0)
        assert await kept(connection, mailbox_id) == (2, 2)

    async def test_are_shown_without_counting_again(self, connection: Connection, mailbox: Mailbox) -> None:
        await store(connection, mailbox.mailbox_id, "a", "b")
        await connection.execute("UPDATE change_feeds SET message_count = 1000, unread_count = 10")
        found = await overview(connection, mailbox)
        assert (found.message_count, found.unread_count) == (1000, 10)

    async def test_of_a_release_that_did_not_count_are_made_once(
        self, connection: Connection, mailbox: Mailbox
    ) -> None:
        mailbox_id = mailbox.mailbox_id
        await store(connection, mailbox_id, "a", "b", labels=(NEW,))
        for statement in (
            "UPDATE change_feeds SET message_count = NULL, unread_count = NULL, counted_seq = NULL",
            "UPDATE change_feeds SET last_seq = last_seq + 1, message_count = 7",
        ):
            await connection.execute(statement)
            assert await kept(connection, mailbox_id) is None
            found = await overview(connection, mailbox)
            assert (found.message_count, found.unread_count) == (2, 2)
            assert await kept(connection, mailbox_id) == (2, 2)
        await messages.delete(connection, mailbox_id, ["a"])
        assert await kept(connection, mailbox_id) == (1, 1)

    async def test_are_made_beside_a_writer_without_waiting_for_it(
        self, connection: Connection, mailbox: Mailbox, pool: Pool
    ) -> None:
        mailbox_id = mailbox.mailbox_id
        await store(connection, mailbox_id, "a")
        await connection.execute("UPDATE change_feeds SET counted_seq = NULL")
        async with pool.acquire() as writer, writer.transaction():
            await messages.upsert(writer, mailbox_id, [stored_message("b")])
            found = await asyncio.wait_for(overview(connection, mailbox), 30)
            assert found.message_count == 1
        assert await kept(connection, mailbox_id) is None
        assert (await overview(connection, mailbox)).message_count == 2
        assert await kept(connection, mailbox_id) == (2, 0)

    async def test_of_a_mailbox_without_changes_are_none(self, connection: Connection, mailbox: Mailbox) -> None:
        found = await overview(connection, mailbox)
        assert (found.message_count, found.unread_count) == (0, 0)
