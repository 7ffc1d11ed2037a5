"""The labels of a mailbox: listed, renamed, missing, removed."""

from dataclasses import replace

import pytest

from services.mail.model import Label, Role
from services.mail.store import changes, labels
from services.mail.store.connection import Connection
from tests.support.mail.stored import rows_of, store

UNKNOWN = 10**15
INBOX = Label(label_id="INBOX", name="INBOX", type="system")
BILLS = Label(label_id="l1", name="bills", type="user")
TRIPS = Label(label_id="l2", name="Trips", type="user")


async def record(connection: Connection, mailbox_id: int, *listed: Label, confirm_seconds: float = 0) -> None:
    await labels.record(connection, mailbox_id, listed, confirm_seconds=confirm_seconds)


async def label_ids(connection: Connection, mailbox_id: int) -> list[str]:
    return [label.label_id for label in await labels.of_mailbox(connection, mailbox_id)]


async def remove(connection: Connection, mailbox_id: int, *others: Label) -> None:
    """Record two answers that list only these labels."""
    for _ in range(2):
        await record(connection, mailbox_id, *others)


async def seconds_until_due(connection: Connection, mailbox_id: int) -> float:
    seconds: float = await connection.fetchval(
        "SELECT extract(epoch FROM labels_due_at - now())::float8 FROM sync_states WHERE mailbox_id = $1", mailbox_id
    )
    return seconds


class TestRecord:
    async def test_stores_labels_in_the_order_of_their_names(self, connection: Connection, mailbox_id: int) -> None:
        await record(connection, mailbox_id, TRIPS, INBOX, BILLS)
        assert await labels.of_mailbox(connection, mailbox_id) == [BILLS, INBOX, TRIPS]
        assert await labels.names(connection, mailbox_id) == {"l1": "bills", "INBOX": "INBOX", "l2": "Trips"}

    async def test_renames_labels_and_records_only_changes(self, connection: Connection, mailbox_id: int) -> None:
        await record(connection, mailbox_id, INBOX, BILLS)
        before = (await changes.position(connection, mailbox_id)).seq
        await record(connection, mailbox_id, INBOX, BILLS)
        assert (await changes.position(connection, mailbox_id)).seq == before
        renamed = Label(label_id="l1", name="Invoices", type="user")
        await record(connection, mailbox_id, INBOX, renamed)
        assert await labels.of_mailbox(connection, mailbox_id) == [INBOX, renamed]
        assert (await changes.position(connection, mailbox_id)).seq == before + 1

    async def test_records_roles_and_their_changes(self, connection: Connection, mailbox_id: int) -> None:
        await record(connection, mailbox_id, INBOX, BILLS)
        before = (await changes.position(connection, mailbox_id)).seq
        inbox, archive = replace(INBOX, role=Role.INBOX), replace(BILLS, role=Role.ARCHIVE)
        await record(connection, mailbox_id, inbox, archive)
        assert await labels.of_mailbox(connection, mailbox_id) == [archive, inbox]
        assert (await changes.position(connection, mailbox_id)).seq == before + 2

    async def test_removes_a_label_that_two_answers_lack(self, connection: Connection, mailbox_id: int) -> None:
        await record(connection, mailbox_id, INBOX, BILLS)
        await record(connection, mailbox_id, INBOX)
        assert await label_ids(connection, mailbox_id) == ["l1", "INBOX"]
        before = (await changes.position(connection, mailbox_id)).seq
        await record(connection, mailbox_id, INBOX)
        assert await label_ids(connection, mailbox_id) == ["INBOX"]
        await record(connection, mailbox_id, INBOX)
        assert (await changes.position(connection, mailbox_id)).seq == before + 1

    async def test_needs_the_two_answers_to_be_apart(self, connection: Connection, mailbox_id: int) -> None:
        await record(connection, mailbox_id, INBOX, BILLS)
        for _ in range(3):
            await record(connection, mailbox_id, INBOX, confirm_seconds=60)
        assert await label_ids(connection, mailbox_id) == ["l1", "INBOX"]
        await connection.execute("UPDATE labels SET missing_since = missing_since - interval '61 seconds'")
        await record(connection, mailbox_id, INBOX, confirm_seconds=60)
        assert await label_ids(connection, mailbox_id) == ["INBOX"]

    async def test_forgets_one_answer_that_lacks_a_label_after_one_that_has_it(
        self, connection: Connection, mailbox_id: int
    ) -> None:
        for _ in range(2):
            await record(connection, mailbox_id, INBOX, BILLS)
            await record(connection, mailbox_id, INBOX)
        assert await label_ids(connection, mailbox_id) == ["l1", "INBOX"]

    @pytest.mark.parametrize("answer", [(), (BILLS,)])
    async def test_removes_nothing_for_answers_without_system_labels(
        self, connection: Connection, mailbox_id: int, answer: tuple[Label, ...]
    ) -> None:
        await record(connection, mailbox_id, INBOX, BILLS, TRIPS)
        for _ in range(3):
            await record(connection, mailbox_id, *answer)
        assert await label_ids(connection, mailbox_id) == ["l1", "INBOX", "l2"]

    async def test_removes_labels_of_a_provider_without_system_labels(
        self, connection: Connection, mailbox_id: int, other_id: int
    ) -> None:
        await record(connection, other_id, INBOX)
        await record(connection, mailbox_id, BILLS, TRIPS)
        await remove(connection, mailbox_id, TRIPS)
        assert await label_ids(connection, mailbox_id) == ["l2"]
        assert await labels.names(connection, other_id) == {"INBOX": "INBOX"}

    async def test_restores_a_removed_label_that_is_listed_again(
        self, connection: Connection, mailbox_id: int, other_id: int
    ) -> None:
        await record(connection, mailbox_id, INBOX, BILLS)
        await remove(connection, mailbox_id, INBOX)
        assert await labels.is_any_back(connection, mailbox_id, [INBOX, BILLS])
        assert not await labels.is_any_back(connection, mailbox_id, [INBOX])
        assert not await labels.is_any_back(connection, other_id, [BILLS])
        before = (await changes.position(connection, mailbox_id)).seq
        await record(connection, mailbox_id, INBOX, BILLS)
        assert await label_ids(connection, mailbox_id) == ["l1", "INBOX"]
        assert (await changes.position(connection, mailbox_id)).seq == before + 1
        assert not await labels.is_any_back(connection, mailbox_id, [INBOX, BILLS])


class TestTakeOffSome:
    async def test_takes_removed_labels_off_in_portions_and_then_deletes_them(
        self, connection: Connection, mailbox_id: int
    ) -> None:
        await record(connection, mailbox_id, INBOX, BILLS, TRIPS)
        await store(connection, mailbox_id, "a", "b", "c", labels=("l1", "l2", "INBOX"))
        assert not await labels.is_any_removed(connection, mailbox_id)
        assert not await labels.take_off_some(connection, mailbox_id, limit=2)
        await remove(connection, mailbox_id, INBOX)
        assert await labels.is_any_removed(connection, mailbox_id)
        assert await labels.names(connection, mailbox_id) == {"l1": "bills", "l2": "Trips", "INBOX": "INBOX"}
        left = []
        while await labels.take_off_some(connection, mailbox_id, limit=2):
            counts = await connection.fetchrow(
                "SELECT sum((label_ids @> '{l1}')::int), sum((label_ids @> '{l2}')::int) FROM messages"
            )
            left.append(tuple(counts or ()))
        assert left == [(1, 3), (0, 3), (0, 1), (0, 0)]
        assert not await labels.is_any_removed(connection, mailbox_id)
        assert await labels.names(connection, mailbox_id) == {"INBOX": "INBOX"}


class TestPlanNext:
    @pytest.mark.parametrize(("answers", "seconds"), [(0, 1000), (1, 100), (2, 0)])
    async def test_is_sooner_with_a_missing_label_and_now_with_a_removed_one(
        self, connection: Connection, mailbox_id: int, answers: int, seconds: float
    ) -> None:
        await record(connection, mailbox_id, INBOX, BILLS)
        for _ in range(answers):
            await record(connection, mailbox_id, INBOX)
        await labels.plan_next(connection, mailbox_id, every_seconds=1000, confirm_seconds=100)
        assert seconds - 50 < await seconds_until_due(connection, mailbox_id) <= seconds

    async def test_is_never_later_because_of_a_missing_label(self, connection: Connection, mailbox_id: int) -> None:
        await record(connection, mailbox_id, INBOX, BILLS)
        await record(connection, mailbox_id, INBOX)
        await labels.plan_next(connection, mailbox_id, every_seconds=100, confirm_seconds=1000)
        assert await seconds_until_due(connection, mailbox_id) <= 100


class TestPostpone:
    async def test_makes_labels_due_after_these_seconds(self, connection: Connection, mailbox_id: int) -> None:
        await labels.plan_next(connection, mailbox_id, every_seconds=5000, confirm_seconds=1)
        await labels.postpone(connection, mailbox_id, seconds=1000)
        assert 900 < await seconds_until_due(connection, mailbox_id) <= 1000


class TestMakeDue:
    async def test_makes_labels_due_now(self, connection: Connection, mailbox_id: int) -> None:
        await labels.plan_next(connection, mailbox_id, every_seconds=5000, confirm_seconds=1)
        await labels.make_due(connection, mailbox_id)
        assert await seconds_until_due(connection, mailbox_id) <= 0


class TestUnknown:
    async def test_returns_ids_without_a_label(self, connection: Connection, mailbox_id: int, other_id: int) -> None:
        await record(connection, mailbox_id, BILLS)
        await record(connection, other_id, TRIPS)
        assert await labels.unknown(connection, mailbox_id, {"l1", "l2"}) == {"l2"}
        assert await labels.unknown(connection, mailbox_id, set()) == set()
        assert await labels.unknown(connection, UNKNOWN, {"l1"}) == {"l1"}

    async def test_returns_removed_labels(self, connection: Connection, mailbox_id: int) -> None:
        await record(connection, mailbox_id, BILLS, TRIPS)
        await record(connection, mailbox_id, BILLS)
        assert await labels.unknown(connection, mailbox_id, {"l1", "l2"}) == set()
        await record(connection, mailbox_id, BILLS)
        assert await labels.unknown(connection, mailbox_id, {"l1", "l2"}) == {"l2"}


class TestCounted:
    async def test_counts_messages_and_unread_ones_of_each_label(
        self, connection: Connection, mailbox_id: int, other_id: int
    ) -> None:
        await record(connection, mailbox_id, INBOX, BILLS, TRIPS)
        await store(connection, mailbox_id, "a", "b", labels=("l1", "UNREAD", "INBOX"))
        await store(connection, mailbox_id, "c", labels=("l1",))
        await store(connection, other_id, "a", labels=("l2",))
        found = await labels.counted(connection, mailbox_id)
        assert [(each.label, each.message_count, each.unread_count) for each in found] == [
            (BILLS, 3, 2),
            (INBOX, 2, 2),
            (TRIPS, 0, 0),
        ]

    async def test_leaves_out_removed_labels(self, connection: Connection, mailbox_id: int) -> None:
        await record(connection, mailbox_id, INBOX, BILLS)
        await remove(connection, mailbox_id, INBOX)
        assert [each.label for each in await labels.counted(connection, mailbox_id)] == [INBOX]
        assert await labels.counted(connection, UNKNOWN) == []


class TestEveryFunction:
    async def test_leaves_other_mailboxes_alone(self, connection: Connection, mailbox_id: int, other_id: int) -> None:
        for each in (mailbox_id, other_id):
            await record(connection, each, INBOX, BILLS, TRIPS)
            await record(connection, each, INBOX, BILLS)
            await store(connection, each, "a", labels=("l1", "l2"))
        before = await rows_of(connection, other_id, "labels", "messages", "sync_states", "message_changes")
        await remove(connection, mailbox_id, INBOX)
        while await labels.take_off_some(connection, mailbox_id, limit=9):
            assert not await labels.is_any_removed(connection, other_id)
        assert not await labels.is_any_removed(connection, mailbox_id)
        await record(connection, mailbox_id, INBOX, TRIPS)
        await labels.plan_next(connection, mailbox_id, every_seconds=1, confirm_seconds=1)
        await labels.postpone(connection, mailbox_id, seconds=1)
        await labels.make_due(connection, mailbox_id)
        assert await rows_of(connection, other_id, "labels", "messages", "sync_states", "message_changes") == before
