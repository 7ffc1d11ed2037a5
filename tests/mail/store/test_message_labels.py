"""Label changes of stored messages."""

import asyncio

import pytest

from services.mail.marks import Mark, MarkIds
from services.mail.model import LabelChange
from services.mail.store import changes, message_labels, messages
from services.mail.store.connection import Connection, Pool
from services.mail.store.sync import fetch_queue
from tests.support.mail.stored import rows_of, store
from tests.support.mail.waiting import eventually

UNKNOWN = 10**15


def added(*label_ids: str, version: int) -> LabelChange:
    return LabelChange(version=version, added=frozenset(label_ids))


def removed(*label_ids: str, version: int) -> LabelChange:
    return LabelChange(version=version, removed=frozenset(label_ids))


async def labels_of(connection: Connection, mailbox_id: int) -> dict[str, list[str]]:
    rows = await connection.fetch("SELECT external_id, label_ids FROM messages WHERE mailbox_id = $1", mailbox_id)
    return {row["external_id"]: sorted(row["label_ids"]) for row in rows}


class TestChange:
    async def test_applies_newer_changes_in_order(self, connection: Connection, mailbox_id: int) -> None:
        await store(connection, mailbox_id, "a", version=5, labels=("x", "y"))
        steps = [added("old", version=5), added("z", version=6), removed("z", "x", version=7), added("x", version=8)]
        assert await message_labels.change(connection, mailbox_id, {"a": steps}) == {"a"}
        assert await labels_of(connection, mailbox_id) == {"a": ["x", "y"]}
        assert await messages.versions(connection, mailbox_id, ["a"]) == {"a": 8}

    async def test_changes_several_messages_and_records_each_once(
        self, connection: Connection, mailbox_id: int
    ) -> None:
        await store(connection, mailbox_id, "a", "b", "c", labels=("x",))
        before = await changes.position(connection, mailbox_id)
        steps = {"a": [added("y", version=2), added("z", version=3)], "b": [removed("x", version=2)]}
        await message_labels.change(connection, mailbox_id, steps)
        assert await labels_of(connection, mailbox_id) == {"a": ["x", "y", "z"], "b": [], "c": ["x"]}
        assert (await changes.position(connection, mailbox_id)).seq == before.seq + 2

    async def test_applies_marks_as_the_label_ids_of_the_provider(
        self, connection: Connection, mailbox_id: int
    ) -> None:
        await store(connection, mailbox_id, "a", labels=("x",))
        seen, flagged = frozenset({Mark.SEEN}), frozenset({Mark.FLAGGED})
        ids = MarkIds(unseen="new", flagged="star")
        for change, expected in (
            (LabelChange(version=2, unmarked=seen, marked=flagged), ["new", "star", "x"]),
            (LabelChange(version=3, marked=seen, added=frozenset("y")), ["star", "x", "y"]),
            (LabelChange(version=4, unmarked=flagged, removed=frozenset("x")), ["y"]),
        ):
            await message_labels.change(connection, mailbox_id, {"a": [change]}, mark_ids=ids)
            assert await labels_of(connection, mailbox_id) == {"a": expected}

    async def test_repeated_changes_nothing(self, connection: Connection, mailbox_id: int) -> None:
        await store(connection, mailbox_id, "a")
        steps = {"a": [added("x", version=2)]}
        await message_labels.change(connection, mailbox_id, steps)
        before = await changes.position(connection, mailbox_id)
        assert await message_labels.change(connection, mailbox_id, steps) == {"a"}
        assert await changes.position(connection, mailbox_id) == before

    async def test_leaves_messages_to_a_get_that_are_missing_queued_or_dead(
        self, connection: Connection, mailbox_id: int
    ) -> None:
        await store(connection, mailbox_id, "queued", "dead", "free")
        await fetch_queue.queue_changed(connection, mailbox_id, {"dead": 2}, threads={})
        await fetch_queue.postpone(connection, mailbox_id, {"dead": "r"}, attempts_limit=1, base_seconds=0)
        await fetch_queue.queue_changed(connection, mailbox_id, {"queued": 2}, threads={})
        steps = {id_: [added("x", version=9)] for id_ in ("queued", "dead", "free", "missing")}
        assert await message_labels.change(connection, mailbox_id, steps) == {"free"}
        assert await labels_of(connection, mailbox_id) == {"queued": [], "dead": [], "free": ["x"]}

    async def test_of_nothing_changes_nothing(self, connection: Connection, mailbox_id: int) -> None:
        assert await message_labels.change(connection, mailbox_id, {}) == set()
        assert await message_labels.change(connection, UNKNOWN, {"a": [added("x", version=2)]}) == set()

    async def test_called_concurrently_loses_no_change(self, pool: Pool, mailbox_id: int) -> None:
        async def change(label_id: str, *, version: int) -> None:
            async with pool.acquire() as connection:
                await message_labels.change(connection, mailbox_id, {"a": [added(label_id, version=version)]})

        async def is_waiting() -> bool:
            return bool(await pool.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"))

        async with pool.acquire() as connection:
            await store(connection, mailbox_id, "a")
            async with connection.transaction():
                await message_labels.change(connection, mailbox_id, {"a": [added("first", version=2)]})
                second = asyncio.create_task(change("second", version=3))
                await eventually(is_waiting)
            await second
            assert await labels_of(connection, mailbox_id) == {"a": ["first", "second"]}


class TestTakeOff:
    async def test_removes_a_label_from_a_limited_number_of_messages(
        self, connection: Connection, mailbox_id: int
    ) -> None:
        await store(connection, mailbox_id, "a", "b", "c", labels=("x", "y"))
        await store(connection, mailbox_id, "d", labels=("y",))
        before = await changes.position(connection, mailbox_id)
        taken = [await message_labels.take_off(connection, mailbox_id, "x", limit=2) for _ in range(3)]
        assert taken == [2, 1, 0]
        assert await labels_of(connection, mailbox_id) == {id_: ["y"] for id_ in "abcd"}
        assert (await changes.position(connection, mailbox_id)).seq == before.seq + 3

    @pytest.mark.parametrize("label_id", ["unknown", ""])
    async def test_of_a_label_on_no_message_changes_nothing(
        self, connection: Connection, mailbox_id: int, label_id: str
    ) -> None:
        await store(connection, mailbox_id, "a", labels=("x",))
        assert await message_labels.take_off(connection, mailbox_id, label_id, limit=9) == 0


class TestEveryFunction:
    async def test_leaves_other_mailboxes_alone(self, connection: Connection, mailbox_id: int, other_id: int) -> None:
        for each in (mailbox_id, other_id):
            await store(connection, each, "a", "b", labels=("x",))
        await store(connection, other_id, "theirs")
        await fetch_queue.queue_changed(connection, other_id, {"a": 2}, threads={})
        before = await rows_of(connection, other_id, "messages", "message_changes")
        steps = {"a": [added("y", version=2)], "theirs": [added("y", version=2)]}
        assert await message_labels.change(connection, mailbox_id, steps) == {"a"}
        assert await message_labels.take_off(connection, mailbox_id, "x", limit=9) == 2
        assert await rows_of(connection, other_id, "messages", "message_changes") == before
