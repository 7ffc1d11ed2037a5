"""Writes of messages: of two versions the newer wins."""

import asyncio
from dataclasses import replace

import asyncpg
import pytest

from services.mail.content.model import Address
from services.mail.marks import Mark, MarkIds
from services.mail.model import Mailbox, ProviderMessage
from services.mail.store import messages
from services.mail.store.connection import Connection, Pool
from services.mail.store.messages import LISTED_RECIPIENTS, LISTED_TEXT
from services.mail.store.reading import message_rows
from services.mail.store.sync import fetch_queue, sync_state
from tests.support.mail.stored import rows_of, store, stored_message

UNKNOWN = 10**15


async def upsert(connection: Connection, mailbox_id: int, *wanted: ProviderMessage) -> int:
    return await messages.upsert(connection, mailbox_id, wanted)


def titled(subject: str, *, version: int | None) -> ProviderMessage:
    made = stored_message("a", version=version)
    return replace(made, content=replace(made.content, subject=subject, text=f"text of {subject}"))


async def stored(connection: Connection, mailbox_id: int) -> list[tuple[str, int, str]]:
    """Return subject, version and text of the stored messages."""
    rows = await connection.fetch(
        """
        SELECT m.subject, m.version, c.text FROM messages m JOIN message_contents c USING (mailbox_id, message_id)
        WHERE m.mailbox_id = $1
        """,
        mailbox_id,
    )
    return [(row["subject"], int(row["version"]), row["text"]) for row in rows]


class TestUpsert:
    async def test_writes_list_contents_and_search_entry(self, connection: Connection, mailbox_id: int) -> None:
        assert await upsert(connection, mailbox_id, stored_message("a"), stored_message("b")) == 2
        found = await rows_of(connection, mailbox_id, "messages", "message_contents", "message_search")
        assert [len(rows) for rows in found] == [2, 2, 2]
        assert [{row["message_id"] for row in rows} for rows in found] == [{row["message_id"] for row in found[0]}] * 3

    @pytest.mark.parametrize(("version", "written"), [(4, 0), (5, 1), (6, 1), (2**70, 1)])
    async def test_changes_nothing_if_a_newer_version_is_stored(
        self, connection: Connection, mailbox_id: int, version: int, written: int
    ) -> None:
        await upsert(connection, mailbox_id, titled("first", version=5))
        assert await upsert(connection, mailbox_id, titled("second", version=version)) == written
        expected = ("second", version, "text of second") if written else ("first", 5, "text of first")
        assert await stored(connection, mailbox_id) == [expected]

    async def test_keeps_marks_as_the_label_ids_of_the_provider(self, connection: Connection, mailbox_id: int) -> None:
        made = replace(stored_message("a", labels=("x",)), marks=frozenset({Mark.FLAGGED}))
        await messages.upsert(connection, mailbox_id, [made], mark_ids=MarkIds(unseen="new", flagged="star"))
        assert await connection.fetchval("SELECT label_ids FROM messages") == ["x", "new", "star"]

    async def test_keeps_the_id_of_a_message(self, connection: Connection, mailbox_id: int) -> None:
        await upsert(connection, mailbox_id, titled("first", version=5))
        before = await connection.fetchval("SELECT message_id FROM messages")
        await upsert(connection, mailbox_id, titled("second", version=6))
        assert await connection.fetchval("SELECT message_id FROM messages") == before

    async def test_takes_the_cursor_for_an_unknown_version(self, connection: Connection, mailbox_id: int) -> None:
        await upsert(connection, mailbox_id, titled("first", version=None))
        assert await messages.versions(connection, mailbox_id, ["a"]) == {"a": 0}
        await sync_state.move_cursor(connection, mailbox_id, previous=None, cursor=7)
        await upsert(connection, mailbox_id, titled("second", version=None))
        assert await messages.versions(connection, mailbox_id, ["a"]) == {"a": 7}

    async def test_cuts_long_texts_of_lists_only(self, connection: Connection, mailbox: Mailbox) -> None:
        made = stored_message("a")
        crowd = tuple(Address("n" * 99, f"{number}@example.com") for number in range(LISTED_RECIPIENTS // 100))
        author = Address("f" * 9000, "e" * 9000)
        long = replace(made.content, subject="s" * 9000, from_=author, to=crowd, cc=crowd)
        await upsert(connection, mailbox.mailbox_id, replace(made, snippet="p" * 9000, content=long))
        row = await connection.fetchrow("SELECT message_id, subject, snippet, from_name, from_email FROM messages")
        assert row is not None
        assert {len(row[name]) for name in ("subject", "snippet", "from_name", "from_email")} == {LISTED_TEXT}
        assert 0 < await connection.fetchval("SELECT jsonb_array_length(to_addresses) FROM messages") < len(crowd)
        [whole] = await message_rows.details(
            connection, mailbox.user_id, mailbox.mailbox_id, [row["message_id"]], label_names={}
        )
        assert (whole.summary.to, whole.summary.cc) == (list(crowd), list(crowd))

    async def test_splits_large_messages_into_several_statements(self, connection: Connection, mailbox_id: int) -> None:
        made = [stored_message(f"m{number}") for number in range(5)]
        large = [replace(each, content=replace(each.content, text="x " * 300_000)) for each in made]
        assert await upsert(connection, mailbox_id, *large) == 5
        # Each statement is a transaction of its own here.
        assert await connection.fetchval("SELECT count(DISTINCT xmin::text) FROM messages") == 5
        assert await connection.fetchval("SELECT min(length(text)) FROM message_contents") == 600_000

    async def test_of_nothing_writes_nothing(self, connection: Connection) -> None:
        assert await upsert(connection, UNKNOWN) == 0

    async def test_refuses_an_unknown_mailbox(self, connection: Connection) -> None:
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await upsert(connection, UNKNOWN, stored_message("a"))

    async def test_called_concurrently_keeps_the_newest_version(self, pool: Pool, mailbox_id: int) -> None:
        async def write(version: int) -> None:
            async with pool.acquire() as connection:
                await upsert(connection, mailbox_id, titled(f"v{version}", version=version))

        await asyncio.gather(*(write(version) for version in (3, 8, 1, 5, 7, 2)))
        async with pool.acquire() as connection:
            assert await stored(connection, mailbox_id) == [("v8", 8, "text of v8")]


class TestDelete:
    async def test_deletes_messages_with_their_contents(self, connection: Connection, mailbox_id: int) -> None:
        await store(connection, mailbox_id, "a", "b")
        assert await messages.delete(connection, mailbox_id, ["a", "unknown"]) == 1
        found = await rows_of(connection, mailbox_id, "messages", "message_contents", "message_search")
        assert [len(rows) for rows in found] == [1, 1, 1]
        assert await messages.delete(connection, mailbox_id, ["a"]) == 0
        assert await messages.delete(connection, mailbox_id, []) == 0


class TestNewestIds:
    async def test_are_those_stored_last_without_those_to_fetch_again(
        self, connection: Connection, mailbox_id: int, other_id: int
    ) -> None:
        await store(connection, mailbox_id, "a", "b", "c", "d")
        await store(connection, other_id, "e")
        await fetch_queue.queue_changed(connection, mailbox_id, {"c": 2}, threads={})
        assert await messages.newest_ids(connection, mailbox_id, limit=2) == ["d", "b"]
        assert await messages.newest_ids(connection, other_id, limit=2) == ["e"]


class TestVersions:
    async def test_has_stored_messages_only(self, connection: Connection, mailbox_id: int) -> None:
        await store(connection, mailbox_id, "a", version=2**70)
        await store(connection, mailbox_id, "b")
        assert await messages.versions(connection, mailbox_id, ["a", "unknown"]) == {"a": 2**70}
        assert await messages.versions(connection, mailbox_id, []) == {}
        assert await messages.versions(connection, UNKNOWN, ["a"]) == {}


class TestCapVersions:
    async def test_lowers_newer_versions_portion_by_portion(
        self, connection: Connection, mailbox_id: int, other_id: int
    ) -> None:
        await store(connection, other_id, "a1", "b1", "z", version=9)
        await store(connection, mailbox_id, "a", "c", "d", version=9)
        await store(connection, mailbox_id, "b", version=3)
        after: str | None = ""
        ends = []
        while after is not None:
            after = await messages.cap_versions(connection, mailbox_id, 5, after=after, limit=2)
            ends.append(after)
            if after == "b":
                assert await messages.versions(connection, mailbox_id, list("abcd")) == {"a": 5, "b": 3, "c": 9, "d": 9}
        assert ends == ["b", "d", None]
        assert await messages.versions(connection, mailbox_id, list("abcd")) == {"a": 5, "b": 3, "c": 5, "d": 5}


class TestEveryFunction:
    async def test_leaves_other_mailboxes_alone(self, connection: Connection, mailbox_id: int, other_id: int) -> None:
        for each in (mailbox_id, other_id):
            await store(connection, each, "a", "b", version=9)
        tables = ("messages", "message_contents", "message_search", "message_changes")
        before = await rows_of(connection, other_id, *tables)
        await upsert(connection, mailbox_id, titled("new", version=10))
        await messages.cap_versions(connection, mailbox_id, 5, after="", limit=9)
        assert await messages.delete(connection, mailbox_id, ["a", "b"]) == 2
        assert await messages.versions(connection, mailbox_id, ["a", "b"]) == {}
        assert await rows_of(connection, other_id, *tables) == before
