"""The change feed loses no change, with concurrent writers and readers too."""

import asyncio
import io
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from deploy.local.postgres import Database
from services.kit.errors import AppError, Kind
from services.kit.settings import Postgres
from services.kit.stores.postgres import create_pool
from services.mail.ids import FeedPosition
from services.mail.model import Account, FeedEvent, Label, LabelChange, Mailbox, MailboxStatus, ProviderMessage
from services.mail.reading.change_feed import ChangeFeed, ChangePage
from services.mail.store import changes, labels, message_labels, messages
from services.mail.store.changes import ChangeKind
from services.mail.store.connection import Connection, Pool
from services.mail.store.control import mailboxes
from tests.mail.conftest import migrate, settings_of
from tests.support.mail.generated_mail import some_message
from tests.support.mail.waiting import eventually


def message(number: int, *, version: int = 1) -> ProviderMessage:
    """Return a small message."""
    made = some_message(number, random.Random(number))
    return replace(made, version=version, received_at=datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture(scope="module")
async def pool(mail_database: Postgres) -> AsyncIterator[Pool]:
    pool = await create_pool(mail_database, application_name="change-tests", size=8)
    yield pool
    await pool.close()


@pytest.fixture
async def mailbox(pool: Pool) -> Mailbox:
    """Return an empty mailbox."""
    user_id = uuid4()
    account = Account(
        account_id=uuid4(), user_id=user_id, provider="google", email="ada@example.com", status=MailboxStatus.ACTIVE
    )
    async with pool.acquire() as connection:
        await mailboxes.upsert(connection, [account])
        [mailbox] = await mailboxes.of_user(connection, user_id)
    return mailbox


async def store(pool: Pool, mailbox: Mailbox, *numbers: int, version: int = 1) -> None:
    async with pool.acquire() as connection:
        wanted = [message(number, version=version) for number in numbers]
        await messages.upsert(connection, mailbox.mailbox_id, wanted)


async def delete(pool: Pool, mailbox: Mailbox, *numbers: int) -> None:
    async with pool.acquire() as connection:
        await messages.delete(connection, mailbox.mailbox_id, [f"m{number}" for number in numbers])


async def read(
    pool: Pool, mailbox: Mailbox, since: FeedPosition | None, *, size: int = 0, wait: float = 0
) -> ChangePage:
    return await ChangeFeed(pool, stop=asyncio.Event()).page(mailbox, since=since, page_size=size, wait_seconds=wait)


async def present(pool: Pool, mailbox: Mailbox) -> FeedPosition:
    return (await read(pool, mailbox, None)).position


def shown(page: ChangePage) -> list[tuple[str, str | None]]:
    """Return kind and subject of each change: a message's external id or a label's name, None if it is deleted."""
    return [
        (
            change.kind.value,
            change.message.external_id if change.message else change.label.name if change.label else None,
        )
        for change in page.changes
    ]


async def set_labels(pool: Pool, mailbox: Mailbox, **names: str) -> None:
    """Replace the mailbox's labels; `names` maps label ids to names."""
    wanted = [Label(label_id=label_id, name=name, type="user") for label_id, name in names.items()]
    async with pool.acquire() as connection:
        # A label that two answers lack is gone.
        for _ in range(2):
            await labels.record(connection, mailbox.mailbox_id, wanted, confirm_seconds=0)


class TestPage:
    async def test_shows_creations_updates_and_deletions_in_order(self, pool: Pool, mailbox: Mailbox) -> None:
        await store(pool, mailbox, 1, 2)
        since = await present(pool, mailbox)
        await store(pool, mailbox, 3)
        await store(pool, mailbox, 1, version=2)
        await delete(pool, mailbox, 2)
        page = await read(pool, mailbox, since)
        assert shown(page) == [("created", "m3"), ("updated", "m1"), ("deleted", None)]
        assert not page.has_more
        assert shown(await read(pool, mailbox, page.position)) == []

    async def test_shows_label_changes_of_messages_as_updates(self, pool: Pool, mailbox: Mailbox) -> None:
        await store(pool, mailbox, 1)
        since = await present(pool, mailbox)
        change = LabelChange(version=7, added=frozenset({"STARRED"}))
        async with pool.acquire() as connection:
            await message_labels.change(connection, mailbox.mailbox_id, {"m1": [change]})
        [found] = (await read(pool, mailbox, since)).changes
        assert found.kind is ChangeKind.UPDATED
        assert found.message
        assert "STARRED" in found.message.labels

    async def test_shows_an_update_of_each_message_of_a_deleted_label(self, pool: Pool, mailbox: Mailbox) -> None:
        known = [Label(label_id=label_id, name=label_id, type="user") for label_id in ("L1", "L2")]
        async with pool.acquire() as connection:
            await labels.record(connection, mailbox.mailbox_id, known, confirm_seconds=0)
            wanted = [replace(message(number), label_ids=("L1", "L2")[:number]) for number in range(3)]
            await messages.upsert(connection, mailbox.mailbox_id, wanted)
            since = await present(pool, mailbox)
            for _ in range(2):
                await labels.record(connection, mailbox.mailbox_id, known[1:], confirm_seconds=0)
            while await labels.take_off_some(connection, mailbox.mailbox_id, limit=10):
                pass
        page = await read(pool, mailbox, since)
        assert shown(page) == [("label_deleted", None), ("updated", "m1"), ("updated", "m2")]
        assert [change.message.labels for change in page.changes if change.message] == [[], ["L2"]]

    async def test_shows_created_renamed_and_deleted_labels(self, pool: Pool, mailbox: Mailbox) -> None:
        await set_labels(pool, mailbox, L1="Bills", L2="Trips")
        since = await present(pool, mailbox)
        await set_labels(pool, mailbox, L1="Invoices", L3="Friends")
        page = await read(pool, mailbox, since)
        assert shown(page) == [("label_updated", "Invoices"), ("label_updated", "Friends"), ("label_deleted", None)]
        assert [change.label_id for change in page.changes] == ["L1", "L3", "L2"]
        assert [change.message_id for change in page.changes] == [None] * 3

    async def test_does_not_show_unchanged_labels(self, pool: Pool, mailbox: Mailbox) -> None:
        await set_labels(pool, mailbox, L1="Bills", L2="Trips")
        since = await present(pool, mailbox)
        await set_labels(pool, mailbox, L2="Trips", L1="Bills")
        assert await present(pool, mailbox) == since

    async def test_shows_a_label_once_in_its_latest_state(self, pool: Pool, mailbox: Mailbox) -> None:
        since = await present(pool, mailbox)
        await set_labels(pool, mailbox, L1="Bills", L2="Trips")
        await set_labels(pool, mailbox, L1="Invoices")
        assert shown(await read(pool, mailbox, since)) == [("label_updated", "Invoices"), ("label_deleted", None)]

    async def test_without_labels_moves_the_position_past_label_changes(self, pool: Pool, mailbox: Mailbox) -> None:
        since = await present(pool, mailbox)
        await set_labels(pool, mailbox, L1="Bills")
        feed = ChangeFeed(pool, stop=asyncio.Event())
        page = await feed.page(mailbox, since=since, page_size=0, wait_seconds=0, include_labels=False)
        assert (page.changes, page.position) == ([], await present(pool, mailbox))

    async def test_an_older_version_changes_nothing(self, pool: Pool, mailbox: Mailbox) -> None:
        await store(pool, mailbox, 1, version=5)
        since = await present(pool, mailbox)
        await store(pool, mailbox, 1, version=4)
        await delete(pool, mailbox, 99)
        assert await present(pool, mailbox) == since

    async def test_shows_a_message_once_in_its_latest_state(self, pool: Pool, mailbox: Mailbox) -> None:
        since = await present(pool, mailbox)
        await store(pool, mailbox, 1, 2)
        await store(pool, mailbox, 1, version=2)
        await delete(pool, mailbox, 2)
        assert shown(await read(pool, mailbox, since)) == [("created", "m1"), ("deleted", None)]

    async def test_pages_through_all_changes(self, pool: Pool, mailbox: Mailbox) -> None:
        since = await present(pool, mailbox)
        await store(pool, mailbox, *range(5))
        await delete(pool, mailbox, 0)
        pages = []
        more = True
        while more:
            page = await read(pool, mailbox, since, size=2)
            pages.append(shown(page))
            since, more = page.position, page.has_more
        # m0 is deleted before its creation is read.
        assert pages == [
            [("created", "m1")],
            [("created", "m2"), ("created", "m3")],
            [("created", "m4"), ("deleted", None)],
        ]

    async def test_waits_for_a_change(self, pool: Pool, mailbox: Mailbox) -> None:
        since = await present(pool, mailbox)
        waiting = asyncio.create_task(read(pool, mailbox, since, wait=20))
        await store(pool, mailbox, 1)
        assert shown(await waiting) == [("created", "m1")]

    async def test_waits_on_while_the_feed_moves_by_what_is_not_shown(self, pool: Pool, mailbox: Mailbox) -> None:
        since = await present(pool, mailbox)
        feed = ChangeFeed(pool, stop=asyncio.Event())
        waiting = asyncio.create_task(
            feed.page(mailbox, since=since, page_size=0, wait_seconds=20, include_labels=False)
        )
        async with pool.acquire() as connection:
            await changes.record_event(connection, mailbox.mailbox_id, FeedEvent.MAILBOX_CONNECTED)

        async def has_looked() -> bool:
            return feed._watch._latest.get(mailbox.mailbox_id, 0) > since.seq

        await eventually(has_looked)
        await set_labels(pool, mailbox, L1="Bills")
        await store(pool, mailbox, 1)
        assert shown(await waiting) == [("created", "m1")]

    async def test_returns_when_the_process_stops(self, pool: Pool, mailbox: Mailbox) -> None:
        stop = asyncio.Event()
        since = await present(pool, mailbox)
        changes = ChangeFeed(pool, stop=stop)
        waiting = asyncio.create_task(changes.page(mailbox, since=since, page_size=0, wait_seconds=60))

        async def is_waiting() -> bool:
            return mailbox.mailbox_id in changes._watch._waiting

        await eventually(is_waiting)
        stop.set()
        async with asyncio.timeout(30):
            assert shown(await waiting) == []

    async def test_returns_no_changes_after_the_wait(self, pool: Pool, mailbox: Mailbox) -> None:
        since = await present(pool, mailbox)
        page = await read(pool, mailbox, since, wait=0.3)
        assert (page.changes, page.position) == ([], since)


class TestPositions:
    async def test_one_older_than_30_days_requires_a_resync(self, pool: Pool, mailbox: Mailbox) -> None:
        since = await present(pool, mailbox)
        await store(pool, mailbox, 1, 2)
        later = await present(pool, mailbox)
        await pool.execute(
            "UPDATE message_changes SET changed_at = now() - interval '31 days' WHERE mailbox_id = $1",
            mailbox.mailbox_id,
        )
        await store(pool, mailbox, 3)
        await self._refused(pool, mailbox, since)
        assert shown(await read(pool, mailbox, later)) == [("created", "m3")]
        left = await pool.fetchval("SELECT count(*) FROM message_changes WHERE mailbox_id = $1", mailbox.mailbox_id)
        assert left == 1

    async def test_one_before_an_expired_change_requires_a_resync(self, pool: Pool, mailbox: Mailbox) -> None:
        since = await present(pool, mailbox)
        await store(pool, mailbox, 1)
        await store(pool, mailbox, 2)
        await store(pool, mailbox, 3)
        # This change's transaction began first and committed second.
        await pool.execute(
            "UPDATE message_changes SET changed_at = now() - interval '31 days' WHERE mailbox_id = $1 AND seq = 2",
            mailbox.mailbox_id,
        )
        await self._refused(pool, mailbox, since)

    async def test_one_of_another_mailbox_requires_a_resync(self, pool: Pool, mailbox: Mailbox) -> None:
        other = replace(mailbox, mailbox_id=mailbox.mailbox_id + 1)
        await self._refused(pool, mailbox, await present(pool, other))

    async def test_one_of_the_future_requires_a_resync(self, pool: Pool, mailbox: Mailbox) -> None:
        await store(pool, mailbox, 1)
        since = await present(pool, mailbox)
        await pool.execute("DELETE FROM change_feeds WHERE mailbox_id = $1", mailbox.mailbox_id)
        await self._refused(pool, mailbox, since)

    async def _refused(self, pool: Pool, mailbox: Mailbox, since: FeedPosition) -> None:
        with pytest.raises(AppError) as caught:
            await read(pool, mailbox, since)
        assert (caught.value.kind, caught.value.reason) == (Kind.GONE, "resync_required")


class RolledBackError(Exception):
    """The writer rolls its transaction back."""


class TestConcurrency:
    async def test_readers_end_with_the_stored_messages(self, pool: Pool, mailbox: Mailbox) -> None:
        since = await present(pool, mailbox)
        writing = asyncio.gather(*(self._write(pool, mailbox, random.Random(seed)) for seed in range(4)))
        followed = await asyncio.gather(*(self._follow(pool, mailbox, since, writing, size) for size in (3, 50)))
        rows = await pool.fetch("SELECT message_id, version FROM messages WHERE mailbox_id = $1", mailbox.mailbox_id)
        stored = {row["message_id"] for row in rows}
        assert stored
        assert followed == [stored, stored]
        seqs = await pool.fetch(
            "SELECT seq FROM message_changes WHERE mailbox_id = $1 ORDER BY seq", mailbox.mailbox_id
        )
        assert [row["seq"] for row in seqs] == list(range(1, len(seqs) + 1))

    async def _write(self, pool: Pool, mailbox: Mailbox, seed: random.Random) -> None:
        for version in range(60):
            async with pool.acquire() as connection:
                try:
                    async with connection.transaction():
                        await self._change(connection, mailbox, seed, version)
                        if seed.random() < 0.3:
                            raise RolledBackError
                except RolledBackError:
                    pass

    async def _change(self, connection: Connection, mailbox: Mailbox, seed: random.Random, version: int) -> None:
        # In a fixed order: these concurrent writers would deadlock. A mailbox has one worker at a time.
        numbers = sorted(seed.sample(range(12), 3))
        if seed.random() < 0.4:
            [number, *_] = numbers
            await messages.delete(connection, mailbox.mailbox_id, [f"m{number}"])
        else:
            wanted = [message(number, version=version) for number in numbers]
            await messages.upsert(connection, mailbox.mailbox_id, wanted)

    async def _follow(
        self, pool: Pool, mailbox: Mailbox, since: FeedPosition, writing: "asyncio.Future[list[None]]", size: int
    ) -> set[int]:
        known: set[int] = set()
        while True:
            written = writing.done()
            page = await read(pool, mailbox, since, size=size)
            for change in page.changes:
                assert change.message_id is not None
                (known.discard if change.kind is ChangeKind.DELETED else known.add)(change.message_id)
            since = page.position
            if written and not page.has_more:
                return known


class TestIncarnation:
    """A database that lost changes, or was copied, assigns their numbers again. Readers must begin again."""

    async def test_requires_a_resync_of_readers_of_lost_changes(self, pool: Pool, mailbox: Mailbox) -> None:
        await store(pool, mailbox, 1, 2)
        kept = await present(pool, mailbox)
        await store(pool, mailbox, 3, 4, 5)
        ahead = await present(pool, mailbox)
        await lose_changes_after(pool, mailbox, seq=2)
        # As many changes as were lost: the sequence numbers alone do not tell.
        await store(pool, mailbox, 6, 7, 8)
        with pytest.raises(AppError) as gone:
            await read(pool, mailbox, ahead)
        assert (gone.value.kind, gone.value.reason) == (Kind.GONE, "resync_required")
        assert shown(await read(pool, mailbox, kept)) == [("created", "m6"), ("created", "m7"), ("created", "m8")]

    async def test_requires_a_resync_before_the_first_write_after_the_loss(self, pool: Pool, mailbox: Mailbox) -> None:
        await store(pool, mailbox, 1, 2, 3)
        ahead = await present(pool, mailbox)
        await lose_changes_after(pool, mailbox, seq=2)
        with pytest.raises(AppError, match="no longer known"):
            await read(pool, mailbox, ahead)

    async def test_stays_the_same_without_a_failover(self, pool: Pool, mailbox: Mailbox) -> None:
        await store(pool, mailbox, 1)
        first = await present(pool, mailbox)
        await store(pool, mailbox, 2)
        second = await present(pool, mailbox)
        assert (first.incarnation, first.seq + 1) == (second.incarnation, second.seq)

    async def test_tells_two_failovers_in_a_row_apart(self, pool: Pool, mailbox: Mailbox) -> None:
        await store(pool, mailbox, 1)
        first = await present(pool, mailbox)
        await lose_changes_after(pool, mailbox, seq=1)
        await store(pool, mailbox, 2)
        second = await present(pool, mailbox)
        await lose_changes_after(pool, mailbox, seq=2)
        await store(pool, mailbox, 3)
        assert shown(await read(pool, mailbox, first)) == [("created", "m2"), ("created", "m3")]
        assert shown(await read(pool, mailbox, second)) == [("created", "m3")]

    async def test_keeps_positions_of_an_empty_feed_valid(self, pool: Pool, mailbox: Mailbox) -> None:
        since = await present(pool, mailbox)
        await store(pool, mailbox, 1)
        await lose_changes_after(pool, mailbox, seq=0)
        await store(pool, mailbox, 2)
        assert shown(await read(pool, mailbox, since)) == [("created", "m2")]

    async def test_refuses_positions_of_an_unknown_incarnation(self, pool: Pool, mailbox: Mailbox) -> None:
        await store(pool, mailbox, 1)
        position = await present(pool, mailbox)
        stranger = FeedPosition(mailbox.mailbox_id, position.incarnation + 1, position.seq)
        with pytest.raises(AppError, match="no longer known"):
            await read(pool, mailbox, stranger)

    async def test_takes_positions_of_the_first_incarnation(self, pool: Pool, mailbox: Mailbox) -> None:
        await store(pool, mailbox, 1, 2)
        await pool.execute(
            "UPDATE change_feeds SET incarnation = 0, database_id = '' WHERE mailbox_id = $1", mailbox.mailbox_id
        )
        older = FeedPosition(mailbox.mailbox_id, 0, 1)
        assert shown(await read(pool, mailbox, older)) == [("created", "m2")]
        await store(pool, mailbox, 3)
        assert shown(await read(pool, mailbox, older)) == [("created", "m2"), ("created", "m3")]

    async def test_differs_in_a_copy_of_the_database(self, pool: Pool, copy: Pool, mailbox: Mailbox) -> None:
        await store(pool, mailbox, 1)
        before = await present(pool, mailbox)
        await copy_mailbox(pool, copy, mailbox)
        await store(pool, mailbox, 2)
        here = await present(pool, mailbox)
        await store(copy, mailbox, 3)
        assert shown(await read(copy, mailbox, before)) == [("created", "m3")]
        with pytest.raises(AppError, match="no longer known"):
            await read(copy, mailbox, here)


@pytest.fixture(scope="module")
async def copy(
    create_database: Callable[[str], Database], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Pool]:
    """Create another database with the same tables."""
    database = settings_of(create_database("copy"))
    done = await asyncio.to_thread(migrate, database, "upgrade", directory=tmp_path_factory.mktemp("migrations"))
    assert done.returncode == 0, done.stderr
    pool = await create_pool(database, application_name="change-tests", size=2)
    yield pool
    await pool.close()


async def copy_mailbox(source: Pool, target: Pool, mailbox: Mailbox) -> None:
    """Copy the rows of a mailbox's feed, as restoring a backup does."""
    for table in ("mailboxes", "messages", "change_feeds", "message_changes"):
        rows = io.BytesIO()
        query = f"SELECT * FROM {table} WHERE mailbox_id = $1"  # noqa: S608 - a constant
        await source.copy_from_query(query, mailbox.mailbox_id, output=rows, format="binary")
        rows.seek(0)
        await target.copy_to_table(table, source=rows, format="binary")


async def lose_changes_after(pool: Pool, mailbox: Mailbox, *, seq: int) -> None:
    """Delete the changes after `seq` and begin another timeline, as a failover to a lagging standby does."""
    await pool.execute(
        """
        WITH lost AS (DELETE FROM message_changes WHERE mailbox_id = $1 AND seq > $2 RETURNING message_id),
        gone AS (DELETE FROM messages m USING lost WHERE m.mailbox_id = $1 AND m.message_id = lost.message_id)
        UPDATE change_feeds SET last_seq = $2, database_id = 'the one that failed' WHERE mailbox_id = $1
        """,
        mailbox.mailbox_id,
        seq,
    )
