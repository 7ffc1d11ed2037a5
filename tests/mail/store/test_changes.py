"""The change feed: numbers, incarnations and expiry."""

from collections.abc import Sequence
from uuid import uuid4

import pytest

from services.mail.model import Label, Mailbox
from services.mail.store import changes, labels, messages
from services.mail.store.changes import Change, ChangeKind, Position
from services.mail.store.connection import Connection
from tests.support.mail.stored import store

UNKNOWN = 10**15


async def between(
    connection: Connection, mailbox: Mailbox, *, seq: int = 0, last: int = 100, limit: int = 100
) -> list[Change]:
    names = await labels.names(connection, mailbox.mailbox_id)
    return await changes.between(
        connection, mailbox.user_id, mailbox.mailbox_id, seq, last, limit=limit, label_names=names
    )


def shown(found: Sequence[Change]) -> list[tuple[int, str, str | None]]:
    """Return number, kind and message id of each change."""
    return [(each.seq, each.kind.value, each.message.external_id if each.message else None) for each in found]


async def age(connection: Connection, mailbox_id: int, *, days: float, up_to: int) -> None:
    """Make the changes up to this number older."""
    await connection.execute(
        "UPDATE message_changes SET changed_at = now() - make_interval(days => $2) WHERE mailbox_id = $1 AND seq <= $3",
        mailbox_id,
        days,
        up_to,
    )


async def numbers(connection: Connection, mailbox_id: int) -> list[int]:
    rows = await connection.fetch("SELECT seq FROM message_changes WHERE mailbox_id = $1 ORDER BY seq", mailbox_id)
    return [row["seq"] for row in rows]


class TestPosition:
    async def test_is_zero_without_changes(self, connection: Connection, mailbox_id: int, other_id: int) -> None:
        await store(connection, other_id, "a")
        nothing = Position(incarnation=0, seq=0)
        assert await changes.position(connection, mailbox_id) == nothing
        assert await changes.position(connection, UNKNOWN) == nothing

    async def test_is_the_number_of_the_last_change(self, connection: Connection, mailbox_id: int) -> None:
        await store(connection, mailbox_id, "a", "b")
        first = await changes.position(connection, mailbox_id)
        await messages.delete(connection, mailbox_id, ["a"])
        second = await changes.position(connection, mailbox_id)
        assert (first.seq, second.seq) == (2, 3)
        assert first.incarnation == second.incarnation != 0

    async def test_does_not_move_with_a_rolled_back_change(self, connection: Connection, mailbox_id: int) -> None:
        await store(connection, mailbox_id, "a")
        before = await changes.position(connection, mailbox_id)
        transaction = connection.transaction()
        await transaction.start()
        await store(connection, mailbox_id, "b")
        await transaction.rollback()
        assert await changes.position(connection, mailbox_id) == before
        await store(connection, mailbox_id, "c")
        assert await numbers(connection, mailbox_id) == [1, 2]


class TestPositions:
    async def test_has_the_mailboxes_with_changes(self, connection: Connection, mailbox_id: int, other_id: int) -> None:
        assert await changes.positions(connection, [mailbox_id, UNKNOWN]) == {}
        await store(connection, mailbox_id, "a", "b")
        await store(connection, other_id, "a")
        assert await changes.positions(connection, [mailbox_id, UNKNOWN]) == {mailbox_id: 2}
        assert await changes.positions(connection, [mailbox_id, other_id]) == {mailbox_id: 2, other_id: 1}
        assert await changes.positions(connection, []) == {}


class TestIsInFeed:
    @pytest.mark.parametrize(
        ("incarnation", "seq", "known"), [(7, 5, True), (7, 6, False), (8, 0, True), (8, 1, False)]
    )
    async def test_needs_the_current_incarnation_or_no_change(
        self, connection: Connection, mailbox_id: int, incarnation: int, seq: int, *, known: bool
    ) -> None:
        seen, latest = Position(incarnation=incarnation, seq=seq), Position(incarnation=7, seq=5)
        assert await changes.is_in_feed(connection, mailbox_id, seen, latest=latest) is known

    @pytest.mark.parametrize(("seq", "known"), [(3, True), (4, False)])
    async def test_includes_the_kept_changes_of_an_ended_incarnation(
        self, connection: Connection, mailbox_id: int, other_id: int, seq: int, *, known: bool
    ) -> None:
        for each, last_seq in ((mailbox_id, 3), (other_id, 9)):
            await connection.execute(
                "INSERT INTO feed_incarnations (mailbox_id, incarnation, last_seq) VALUES ($1, 6, $2)", each, last_seq
            )
        seen, latest = Position(incarnation=6, seq=seq), Position(incarnation=7, seq=5)
        assert await changes.is_in_feed(connection, mailbox_id, seen, latest=latest) is known


class TestBetween:
    async def test_returns_changes_in_order_within_the_bounds(self, connection: Connection, mailbox: Mailbox) -> None:
        await store(connection, mailbox.mailbox_id, "a", "b")
        await store(connection, mailbox.mailbox_id, "a", version=2)
        await messages.delete(connection, mailbox.mailbox_id, ["b"])
        assert shown(await between(connection, mailbox)) == [
            (1, "created", "a"),
            (2, "created", None),
            (3, "updated", "a"),
            (4, "deleted", None),
        ]
        assert [each.seq for each in await between(connection, mailbox, seq=1, last=3)] == [2, 3]
        assert [each.seq for each in await between(connection, mailbox, limit=3)] == [1, 2, 3]
        assert await between(connection, mailbox, seq=4) == []

    async def test_has_labels_in_their_current_state(self, connection: Connection, mailbox: Mailbox) -> None:
        listed = [Label(label_id=id_, name=id_.upper(), type="user") for id_ in ("l1", "l2")]
        await labels.record(connection, mailbox.mailbox_id, listed, confirm_seconds=0)
        for _ in range(2):
            await labels.record(connection, mailbox.mailbox_id, listed[:1], confirm_seconds=0)
        found = await between(connection, mailbox)
        assert [(each.kind, each.label_id, each.label) for each in found] == [
            (ChangeKind.LABEL_UPDATED, "l1", listed[0]),
            (ChangeKind.LABEL_UPDATED, "l2", None),
            (ChangeKind.LABEL_DELETED, "l2", None),
        ]
        assert {(each.message_id, each.message) for each in found} == {(None, None)}

    async def test_shows_a_feed_to_its_user_only(self, connection: Connection, mailbox: Mailbox, other_id: int) -> None:
        await store(connection, mailbox.mailbox_id, "a")
        await store(connection, other_id, "b")
        stranger = await changes.between(connection, uuid4(), mailbox.mailbox_id, 0, 9, limit=9, label_names={})
        assert stranger == []
        other = await changes.between(connection, mailbox.user_id, other_id, 0, 9, limit=9, label_names={})
        assert other == []
        assert shown(await between(connection, mailbox)) == [(1, "created", "a")]

    async def test_leaves_out_expired_changes(self, connection: Connection, mailbox: Mailbox) -> None:
        await store(connection, mailbox.mailbox_id, "a", "b", "c")
        await age(connection, mailbox.mailbox_id, days=31, up_to=1)
        assert [each.seq for each in await between(connection, mailbox)] == [2, 3]


class TestExpiry:
    async def test_deletes_expired_changes_with_the_next_write(
        self, connection: Connection, mailbox_id: int, other_id: int
    ) -> None:
        for each in (mailbox_id, other_id):
            await store(connection, each, "a", "b", "c")
            await age(connection, each, days=31, up_to=2)
        await age(connection, mailbox_id, days=29, up_to=1)
        await store(connection, mailbox_id, "d")
        # The oldest one decides whether there is anything to delete.
        assert await numbers(connection, mailbox_id) == [1, 2, 3, 4]
        await age(connection, mailbox_id, days=31, up_to=2)
        await store(connection, mailbox_id, "e")
        assert await numbers(connection, mailbox_id) == [3, 4, 5]
        assert await numbers(connection, other_id) == [1, 2, 3]

    async def test_deletes_500_changes_at_a_time(self, connection: Connection, mailbox_id: int) -> None:
        await store(connection, mailbox_id, *(f"m{number}" for number in range(600)))
        await age(connection, mailbox_id, days=31, up_to=550)
        await store(connection, mailbox_id, "new")
        assert len(await numbers(connection, mailbox_id)) == 101
        await store(connection, mailbox_id, "newer")
        assert len(await numbers(connection, mailbox_id)) == 52
