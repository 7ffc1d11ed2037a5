"""Disconnected mailboxes and deleted users: hidden, erased, recorded."""

import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

from services.mail.model import Account, Lane, Mailbox, MailboxStatus
from services.mail.store.connection import Connection, Pool
from services.mail.store.control import erasures, leases, mailboxes, schedule
from services.mail.store.sync import fetch_queue, listing_diff, syncs
from tests.support.mail.stored import add_mailbox, row_of, rows_of, store
from tests.support.mail.waiting import eventually

UNKNOWN = 10**15
DATA = ("messages", "message_contents", "message_changes", "fetch_queue", "listed_ids", "dead_letters", "syncs")


async def fill(connection: Connection, mailbox_id: int, *, count: int = 3) -> None:
    """Store rows in all large tables of a mailbox."""
    ids = [f"m{number}" for number in range(count)]
    await store(connection, mailbox_id, *ids)
    await fetch_queue.queue_changed(connection, mailbox_id, dict.fromkeys(ids, 1), threads={})
    await fetch_queue.postpone(connection, mailbox_id, {ids[0]: "r"}, attempts_limit=1, base_seconds=0)
    await listing_diff.note(connection, mailbox_id, ids, round_=1, offset=0, label_id=None)
    await syncs.start(connection, mailbox_id, newest_count=1, hint_seq=1, trace_parent=None)


async def count_rows(connection: Connection, mailbox_id: int) -> int:
    return sum(len(rows) for rows in await rows_of(connection, mailbox_id, *DATA))


async def disconnect(connection: Connection, mailbox: Mailbox) -> None:
    assert await erasures.hide(connection, mailbox.user_id, mailbox.mailbox_id)


async def erase(connection: Connection, mailbox: Mailbox) -> None:
    """Hide a mailbox and record the end of its data."""
    await disconnect(connection, mailbox)
    await erasures.set_erased(connection, mailbox.mailbox_id)


class TestHide:
    async def test_takes_the_mailbox_from_its_user_and_records_it(
        self, connection: Connection, mailbox: Mailbox, other_id: int
    ) -> None:
        await disconnect(connection, mailbox)
        assert await mailboxes.of_user(connection, mailbox.user_id) == []
        assert await mailboxes.by_id(connection, mailbox.mailbox_id) is None
        assert await mailboxes.by_id(connection, other_id) is not None
        record = await row_of(connection, "disconnections", mailbox.mailbox_id)
        assert (record["account_id"], record["user_id"]) == (mailbox.account_id, mailbox.user_id)
        assert (record["message_count"], record["erased_at"], record["ended_at"]) == (0, None, None)

    async def test_leaves_the_users_other_mailboxes_connected(self, connection: Connection, mailbox: Mailbox) -> None:
        other = await add_mailbox(connection, user_id=mailbox.user_id)
        await disconnect(connection, mailbox)
        assert await mailboxes.of_user(connection, mailbox.user_id) == [other]
        assert await rows_of(connection, other.mailbox_id, "mailbox_schedule", "disconnections") == [[], []]

    async def test_makes_it_due_and_ends_the_lease(self, connection: Connection, mailbox: Mailbox) -> None:
        await schedule.trigger(connection, mailbox.mailbox_id)
        [lease] = await leases.claim(
            connection, owner=uuid4(), lane=Lane.LIVE, limit=1, failing_limit=1, lease_seconds=60, backoff_limit=60
        )
        await disconnect(connection, mailbox)
        assert (await row_of(connection, "mailbox_schedule", mailbox.mailbox_id))["hint_seq"] == lease.hint_seq + 1
        assert not await leases.renew(connection, lease, lease_seconds=60)
        [next_lease] = await leases.claim(
            connection, owner=uuid4(), lane=Lane.LIVE, limit=1, failing_limit=0, lease_seconds=60, backoff_limit=60
        )
        assert next_lease.epoch > lease.epoch + 1
        assert next_lease.attempts == 1

    async def test_wakes_workers(self, pool: Pool, mailbox: Mailbox) -> None:
        heard = asyncio.Event()

        def hear(*_: object) -> None:
            heard.set()

        async with pool.acquire() as listener, pool.acquire() as connection:
            await listener.add_listener(schedule.CHANNEL, hear)
            await disconnect(connection, mailbox)
            async with asyncio.timeout(30):
                await heard.wait()
            await listener.remove_listener(schedule.CHANNEL, hear)

    async def test_of_another_user_or_repeated_changes_nothing(self, connection: Connection, mailbox: Mailbox) -> None:
        assert not await erasures.hide(connection, uuid4(), mailbox.mailbox_id)
        assert not await erasures.hide(connection, mailbox.user_id, UNKNOWN)
        assert await mailboxes.by_id(connection, mailbox.mailbox_id) is not None
        await disconnect(connection, mailbox)
        before = await row_of(connection, "mailbox_schedule", mailbox.mailbox_id)
        assert not await erasures.hide(connection, mailbox.user_id, mailbox.mailbox_id)
        assert await row_of(connection, "mailbox_schedule", mailbox.mailbox_id) == before

    async def test_called_concurrently_succeeds_once(self, pool: Pool, mailbox: Mailbox) -> None:
        async def hide() -> bool:
            async with pool.acquire() as connection, connection.transaction():
                return await erasures.hide(connection, mailbox.user_id, mailbox.mailbox_id)

        assert sum(await asyncio.gather(*(hide() for _ in range(4)))) == 1

    async def test_keeps_an_account_disconnected_that_auth_still_lists(
        self, connection: Connection, mailbox: Mailbox
    ) -> None:
        await disconnect(connection, mailbox)
        await erasures.end(connection, mailbox.mailbox_id)
        account = Account(
            account_id=mailbox.account_id,
            user_id=mailbox.user_id,
            provider=mailbox.provider,
            email=mailbox.email,
            status=MailboxStatus.ACTIVE,
        )
        await mailboxes.upsert(connection, [account])
        assert await mailboxes.of_user(connection, mailbox.user_id) == []


class TestPending:
    async def test_has_the_mailbox_with_its_former_user(self, connection: Connection, mailbox: Mailbox) -> None:
        assert await erasures.pending(connection, mailbox.mailbox_id) is None
        assert await erasures.pending(connection, UNKNOWN) is None
        await disconnect(connection, mailbox)
        found = await erasures.pending(connection, mailbox.mailbox_id)
        assert found is not None
        assert (found.mailbox.mailbox_id, found.mailbox.user_id) == (mailbox.mailbox_id, mailbox.user_id)
        assert (found.mailbox.account_id, found.mailbox.email) == (mailbox.account_id, mailbox.email)
        assert not found.revoked

    async def test_knows_whether_auth_has_ended_the_account(self, connection: Connection, mailbox: Mailbox) -> None:
        other = await add_mailbox(connection)
        for each in (mailbox, other):
            await disconnect(connection, each)
        await erasures.set_revoked(connection, mailbox.mailbox_id)
        found = [await erasures.pending(connection, each.mailbox_id) for each in (mailbox, other)]
        assert [each.revoked for each in found if each] == [True, False]


class TestEraseSome:
    async def test_erases_limited_numbers_of_rows_and_counts_messages(
        self, connection: Connection, mailbox: Mailbox
    ) -> None:
        mailbox_id = mailbox.mailbox_id
        await fill(connection, mailbox_id, count=5)
        await disconnect(connection, mailbox)
        rows = await count_rows(connection, mailbox_id)
        while await erasures.erase_some(connection, mailbox_id, 2):
            left = await count_rows(connection, mailbox_id)
            # A message goes with its contents.
            assert 0 < rows - left <= 4
            rows = left
        assert rows == 0
        assert (await row_of(connection, "disconnections", mailbox_id))["message_count"] == 5
        assert not await erasures.erase_some(connection, mailbox_id, 2)
        assert not await erasures.erase_some(connection, UNKNOWN, 2)


class TestEnd:
    async def test_deletes_the_mailbox_and_keeps_the_record(self, connection: Connection, mailbox: Mailbox) -> None:
        mailbox_id = mailbox.mailbox_id
        assert await erasures.is_erased(connection, mailbox.user_id, mailbox.account_id) is None
        await fill(connection, mailbox_id)
        await disconnect(connection, mailbox)
        while await erasures.erase_some(connection, mailbox_id, 9):
            assert await erasures.is_erased(connection, mailbox.user_id, mailbox.account_id) is False
        await erasures.set_erased(connection, mailbox_id)
        assert await erasures.is_erased(connection, mailbox.user_id, mailbox.account_id) is False
        assert await erasures.end(connection, mailbox_id) == 3
        assert await erasures.is_erased(connection, mailbox.user_id, mailbox.account_id) is True
        assert await erasures.is_erased(connection, uuid4(), mailbox.account_id) is None
        assert await rows_of(connection, mailbox_id, "mailboxes", "mailbox_schedule", "sync_states") == [[], [], []]

    async def test_records_the_first_end_of_data(self, connection: Connection, mailbox: Mailbox) -> None:
        await erase(connection, mailbox)
        first = (await row_of(connection, "disconnections", mailbox.mailbox_id))["erased_at"]
        await erasures.set_erased(connection, mailbox.mailbox_id)
        assert first is not None
        assert (await row_of(connection, "disconnections", mailbox.mailbox_id))["erased_at"] == first


class TestUsers:
    async def test_are_due_once_no_mailbox_has_data(self, connection: Connection, mailbox: Mailbox) -> None:
        user_id = mailbox.user_id
        disconnected = await add_mailbox(connection, user_id=user_id)
        await disconnect(connection, disconnected)
        assert not await erasures.user_is_due(connection, user_id)
        for _ in range(2):
            await erasures.request_user(connection, user_id)
        assert not await erasures.user_is_due(connection, user_id)
        await erase(connection, mailbox)
        assert not await erasures.user_is_due(connection, user_id)
        await erasures.set_erased(connection, disconnected.mailbox_id)
        assert await erasures.user_is_due(connection, user_id)

    async def test_are_not_due_while_a_mailbox_is_connected(self, connection: Connection, mailbox: Mailbox) -> None:
        await erasures.request_user(connection, mailbox.user_id)
        assert not await erasures.user_is_due(connection, mailbox.user_id)
        assert not await erasures.user_is_due(connection, uuid4())

    async def test_end_once(self, connection: Connection) -> None:
        user_id = uuid4()
        await erasures.request_user(connection, user_id)
        assert await erasures.user_is_due(connection, user_id)
        assert not await erasures.user_is_deleted(connection, user_id)
        await erasures.end_user(connection, user_id)
        ended_at = await connection.fetchval("SELECT ended_at FROM user_deletions")
        await erasures.end_user(connection, user_id)
        await erasures.request_user(connection, user_id)
        assert await connection.fetchval("SELECT ended_at FROM user_deletions") == ended_at
        assert await erasures.user_is_deleted(connection, user_id)
        assert not await erasures.user_is_due(connection, user_id)
        assert not await erasures.user_is_deleted(connection, uuid4())

    async def test_without_a_mailbox_to_erase_are_left_over_oldest_first(
        self, connection: Connection, mailbox: Mailbox
    ) -> None:
        first, second, ended = uuid4(), uuid4(), uuid4()
        for user_id, hours in ((second, 1), (first, 2), (ended, 3), (mailbox.user_id, 4)):
            await erasures.request_user(connection, user_id)
            await connection.execute(
                "UPDATE user_deletions SET requested_at = now() - make_interval(hours => $2) WHERE user_id = $1",
                user_id,
                hours,
            )
        await erasures.end_user(connection, ended)
        await disconnect(connection, mailbox)
        assert await erasures.users_left_over(connection) == [first, second]
        await erasures.set_erased(connection, mailbox.mailbox_id)
        assert await erasures.users_left_over(connection) == [mailbox.user_id, first, second]


class TestForgetEnded:
    async def test_deletes_records_that_ended_before_the_retention(
        self, connection: Connection, mailbox: Mailbox
    ) -> None:
        old, recent = await add_mailbox(connection), await add_mailbox(connection)
        for each in (old, recent, mailbox):
            await disconnect(connection, each)
            await erasures.request_user(connection, each.user_id)
        for each, days in ((old, 31), (recent, 29)):
            await erasures.end(connection, each.mailbox_id)
            await erasures.end_user(connection, each.user_id)
            for table in ("disconnections", "user_deletions"):
                await connection.execute(
                    f"UPDATE {table} SET ended_at = now() - make_interval(days => $2) WHERE user_id = $1",  # noqa: S608 - our own tables
                    each.user_id,
                    days,
                )
        users = [old.user_id, recent.user_id, mailbox.user_id]
        await connection.execute(
            "UPDATE disconnections SET requested_at = now() - interval '90 days' WHERE user_id = ANY($1)", users
        )
        assert await erasures.forget_ended(connection, older_than=timedelta(days=30), limit=10) == 2
        for table in ("disconnections", "user_deletions"):
            query = f"SELECT user_id FROM {table} WHERE user_id = ANY($1)"  # noqa: S608 - our own tables
            assert {row["user_id"] for row in await connection.fetch(query, users)} == {recent.user_id, mailbox.user_id}


class TestLockUser:
    async def test_serialises_transactions_of_one_user_only(self, pool: Pool) -> None:
        user_id, others = uuid4(), uuid4()
        order: list[str] = []

        async def lock(name: str, user: UUID) -> None:
            async with pool.acquire() as connection, connection.transaction():
                await erasures.lock_user(connection, user)
                order.append(name)

        async def is_waiting() -> bool:
            return bool(
                await pool.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)")
            )

        async with pool.acquire() as connection, connection.transaction():
            await erasures.lock_user(connection, user_id)
            second = asyncio.create_task(lock("second", user_id))
            await eventually(is_waiting)
            await lock("other user", others)
            order.append("first")
        await second
        assert order == ["other user", "first", "second"]


class TestEveryFunction:
    async def test_leaves_other_mailboxes_alone(self, connection: Connection, mailbox: Mailbox) -> None:
        other = await add_mailbox(connection)
        await fill(connection, other.mailbox_id)
        await disconnect(connection, other)
        tables = (*DATA, "mailboxes", "mailbox_schedule", "disconnections")
        before = await rows_of(connection, other.mailbox_id, *tables)
        await fill(connection, mailbox.mailbox_id)
        await disconnect(connection, mailbox)
        await erasures.set_revoked(connection, mailbox.mailbox_id)
        while await erasures.erase_some(connection, mailbox.mailbox_id, 2):
            pass
        await erasures.set_erased(connection, mailbox.mailbox_id)
        await erasures.end(connection, mailbox.mailbox_id)
        assert await rows_of(connection, other.mailbox_id, *tables) == before
