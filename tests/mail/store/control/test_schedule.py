"""Claims, hints, leases and fences in the schedule's table."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import asyncpg
import pytest

from services.mail.model import Account, Lane, MailboxStatus, WaitReason
from services.mail.store.connection import Pool
from services.mail.store.control import holds, leases, mailboxes, schedule
from services.mail.store.control.leases import Lease, LeaseLostError
from tests.support.mail.servers import Servers
from tests.support.mail.waiting import eventually

LEASE_SECONDS = 30.0
# The age of the first hint that is not read; seconds.
_HINT_AGE = "SELECT extract(epoch FROM now() - hinted_at)::float8 FROM mailbox_schedule"


@pytest.fixture
async def pool(servers: Servers) -> AsyncIterator[Pool]:
    """Yield the database without mailboxes."""
    await servers.empty()
    yield servers.pool
    await servers.empty()


async def add_mailboxes(pool: Pool, count: int = 1, *, due: bool = True) -> list[int]:
    """Add mailboxes, due now."""
    accounts = [
        Account(
            account_id=uuid4(),
            user_id=uuid4(),
            provider="google",
            email="ada@example.com",
            status=MailboxStatus.ACTIVE,
        )
        for _ in range(count)
    ]
    async with pool.acquire() as connection:
        await mailboxes.upsert(connection, accounts)
        ids = [
            mailbox.mailbox_id
            for account in accounts
            for mailbox in await mailboxes.of_user(connection, account.user_id)
        ]
        for mailbox_id in ids if due else ():
            await schedule.trigger(connection, mailbox_id)
    return ids


async def claim(
    pool: Pool,
    *,
    limit: int = 1,
    failing_limit: int = 100,
    lane: Lane = Lane.LIVE,
    seconds: float = LEASE_SECONDS,
    backoff_limit: float = 60,
    holder: UUID | None = None,
) -> list[Lease]:
    """Claim as a new worker, which holds connections as `holder`."""
    async with pool.acquire() as connection:
        return await leases.claim(
            connection,
            owner=uuid4(),
            lane=lane,
            limit=limit,
            failing_limit=failing_limit,
            lease_seconds=seconds,
            backoff_limit=backoff_limit,
            holder=holder,
        )


async def expire(pool: Pool) -> None:
    """Let all leases expire."""
    await pool.execute("UPDATE mailbox_schedule SET lease_until = now() - interval '1 second'")


async def due_in(pool: Pool, mailbox_id: int) -> float:
    """Return the seconds until a mailbox is due."""
    return float(
        await pool.fetchval(
            "SELECT extract(epoch FROM due_at - now())::float8 FROM mailbox_schedule WHERE mailbox_id = $1", mailbox_id
        )
    )


async def fail(pool: Pool, lease: Lease, *, after: float = 0) -> None:
    """Release a lease after a failed turn."""
    async with pool.acquire() as connection:
        await leases.release_failed(connection, lease, after=after, waiting_for=WaitReason.PROVIDER, error="e")


async def release(pool: Pool, lease: Lease, *, lane: Lane = Lane.LIVE, after: float = 60) -> None:
    """Release a lease after a turn."""
    async with pool.acquire() as connection:
        await leases.release(connection, lease, lane=lane, after=after)


class TestClaim:
    async def test_gives_each_mailbox_to_one_of_many_workers(self, pool: Pool) -> None:
        ids = await add_mailboxes(pool, 40)
        claimed = await asyncio.gather(*(claim(pool, limit=7) for _ in range(8)))
        taken = [lease.mailbox_id for leases in claimed for lease in leases]
        assert sorted(taken) == sorted(set(taken))
        assert all(len(leases) <= 7 for leases in claimed)
        # Rows locked by a concurrent claim are skipped, not lost.
        taken += [lease.mailbox_id for lease in await claim(pool, limit=40)]
        assert sorted(taken) == sorted(ids)

    async def test_gives_one_mailbox_to_one_of_many_workers(self, pool: Pool) -> None:
        await add_mailboxes(pool)
        for _ in range(10):
            claimed = await asyncio.gather(*(claim(pool) for _ in range(8)))
            [[lease]] = [leases for leases in claimed if leases]
            await release(pool, lease, after=0)

    async def test_takes_only_due_mailboxes(self, pool: Pool) -> None:
        await add_mailboxes(pool)
        [lease] = await claim(pool)
        await release(pool, lease, after=60)
        assert await claim(pool) == []

    async def test_takes_a_limited_number_of_failing_mailboxes(self, pool: Pool) -> None:
        failing = await add_mailboxes(pool, 5)
        for lease in await claim(pool, limit=5):
            await fail(pool, lease)
        healthy = await add_mailboxes(pool, 2)
        # The failing ones have been due for longer.
        taken = [lease.mailbox_id for lease in await claim(pool, limit=10, failing_limit=2)]
        assert set(healthy) < set(taken)
        assert len(set(taken) & set(failing)) == 2
        assert await claim(pool, limit=10, failing_limit=0) == []

    async def test_ignores_failing_mailboxes_for_the_next_due_time(self, pool: Pool) -> None:
        await add_mailboxes(pool)
        [lease] = await claim(pool)
        await fail(pool, lease)
        async with pool.acquire() as connection:
            assert await leases.seconds_until_due(connection, [Lane.LIVE], failing=False) is None
            seconds = await leases.seconds_until_due(connection, [Lane.LIVE], failing=True)
        assert seconds is not None
        assert seconds <= 0

    async def test_takes_the_longest_due_first(self, pool: Pool) -> None:
        ids = await add_mailboxes(pool, 3)
        for seconds, mailbox_id in enumerate(ids):
            await pool.execute(
                "UPDATE mailbox_schedule SET due_at = now() - make_interval(secs => $2) WHERE mailbox_id = $1",
                mailbox_id,
                seconds + 1,
            )
        [lease] = await claim(pool)
        assert lease.mailbox_id == ids[-1]

    async def test_takes_from_its_lane_only(self, pool: Pool) -> None:
        await add_mailboxes(pool)
        [lease] = await claim(pool)
        await release(pool, lease, lane=Lane.BACKFILL, after=0)
        assert await claim(pool, lane=Lane.LIVE) == []
        assert len(await claim(pool, lane=Lane.BACKFILL)) == 1

    async def test_takes_over_expired_leases(self, pool: Pool) -> None:
        await add_mailboxes(pool)
        [first] = await claim(pool)
        assert await claim(pool) == []
        await expire(pool)
        [second] = await claim(pool)
        assert (second.epoch, second.attempts) == (first.epoch + 1, 2)

    async def test_backs_off_from_a_mailbox_that_is_never_released(self, pool: Pool) -> None:
        [mailbox_id] = await add_mailboxes(pool)
        waits = []
        for _ in range(8):
            await pool.execute("UPDATE mailbox_schedule SET due_at = least(due_at, now())")
            await expire(pool)
            assert len(await claim(pool, backoff_limit=20)) == 1
            waits.append(round(await due_in(pool, mailbox_id)))
        assert waits == [0, 2, 4, 8, 16, 20, 20, 20]

    async def test_returns_the_next_due_time(self, pool: Pool) -> None:
        async with pool.acquire() as connection:
            assert await leases.seconds_until_due(connection, [Lane.LIVE, Lane.BACKFILL], failing=True) is None
        await add_mailboxes(pool)
        [lease] = await claim(pool)
        await release(pool, lease, lane=Lane.BACKFILL, after=7)
        async with pool.acquire() as connection:
            assert await leases.seconds_until_due(connection, [Lane.LIVE], failing=True) is None
            seconds = await leases.seconds_until_due(connection, [Lane.LIVE, Lane.BACKFILL], failing=True)
        assert seconds == pytest.approx(7, abs=1)


class TestHint:
    async def test_makes_a_waiting_mailbox_due(self, pool: Pool) -> None:
        [mailbox_id] = await add_mailboxes(pool)
        [lease] = await claim(pool)
        await release(pool, lease, lane=Lane.BACKFILL, after=60)
        async with pool.acquire() as connection:
            await schedule.trigger(connection, mailbox_id)
        [again] = await claim(pool, lane=Lane.LIVE)
        assert again.hint_seq == lease.hint_seq + 1

    async def test_during_a_turn_makes_the_mailbox_due_again_at_once(self, pool: Pool) -> None:
        [mailbox_id] = await add_mailboxes(pool)
        [lease] = await claim(pool)
        async with pool.acquire() as connection:
            await schedule.trigger(connection, mailbox_id)
        assert await claim(pool) == []
        await release(pool, lease, lane=Lane.BACKFILL, after=60)
        [again] = await claim(pool, lane=Lane.LIVE)
        await release(pool, again, after=60)
        assert await claim(pool) == []

    async def test_wakes_listeners_at_commit(self, pool: Pool) -> None:
        [mailbox_id] = await add_mailboxes(pool)
        heard = asyncio.Event()
        async with pool.acquire() as listener, pool.acquire() as connection:
            await listener.add_listener(schedule.CHANNEL, lambda *_: heard.set())
            async with connection.transaction():
                await schedule.trigger(connection, mailbox_id)
                assert not heard.is_set()
            await asyncio.wait_for(heard.wait(), 30)
            await listener.reset()

    async def test_counts_up_under_contention(self, pool: Pool) -> None:
        [mailbox_id] = await add_mailboxes(pool, due=False)

        async def trigger() -> int:
            async with pool.acquire() as connection:
                return await schedule.trigger(connection, mailbox_id)

        assert sorted(await asyncio.gather(*(trigger() for _ in range(20)))) == list(range(1, 21))


class TestRelease:
    async def test_of_a_stale_worker_changes_nothing(self, pool: Pool) -> None:
        await add_mailboxes(pool)
        [stale] = await claim(pool)
        await expire(pool)
        [fresh] = await claim(pool)
        before = await pool.fetchrow("SELECT * FROM mailbox_schedule")
        await release(pool, stale, after=0)
        async with pool.acquire() as connection:
            await leases.release_failed(connection, stale, after=0, waiting_for=WaitReason.PROVIDER, error="e")
            assert not await leases.renew(connection, stale, lease_seconds=LEASE_SECONDS)
            assert await leases.renew(connection, fresh, lease_seconds=LEASE_SECONDS * 2)
        after = await pool.fetchrow("SELECT * FROM mailbox_schedule")
        assert before is not None
        assert after is not None
        assert {**before, "lease_until": None} == {**after, "lease_until": None}

    async def test_of_a_failed_turn_keeps_the_attempts(self, pool: Pool) -> None:
        [mailbox_id] = await add_mailboxes(pool)
        for attempts in range(1, 4):
            [lease] = await claim(pool)
            assert lease.attempts == attempts
            async with pool.acquire() as connection:
                await leases.release_failed(connection, lease, after=30, waiting_for=WaitReason.PROVIDER, error="e")
            assert await due_in(pool, mailbox_id) == pytest.approx(30, abs=1)
            await pool.execute("UPDATE mailbox_schedule SET due_at = now()")

    async def test_after_a_turn_resets_the_attempts(self, pool: Pool) -> None:
        await add_mailboxes(pool)
        [_] = await claim(pool)
        await expire(pool)
        [second] = await claim(pool)
        await release(pool, second, after=0)
        [third] = await claim(pool)
        assert third.attempts == 1


class TestFence:
    async def test_lets_the_holder_of_the_lease_write(self, pool: Pool) -> None:
        await add_mailboxes(pool)
        [lease] = await claim(pool)
        async with pool.acquire() as connection, connection.transaction():
            assert await leases.fence(connection, lease) == lease.hint_seq

    async def test_refuses_a_worker_that_lost_it(self, pool: Pool) -> None:
        await add_mailboxes(pool)
        [stale] = await claim(pool)
        await expire(pool)
        [_] = await claim(pool)
        with pytest.raises(LeaseLostError):
            async with pool.acquire() as connection, connection.transaction():
                await leases.fence(connection, stale)

    async def test_refuses_all_workers_once_the_mailbox_is_deleted(self, pool: Pool) -> None:
        await add_mailboxes(pool)
        [lease] = await claim(pool)
        await pool.execute("DELETE FROM mailboxes")
        with pytest.raises(LeaseLostError):
            async with pool.acquire() as connection, connection.transaction():
                await leases.fence(connection, lease)

    async def test_delays_a_takeover_until_the_transaction_ends(self, pool: Pool) -> None:
        [mailbox_id] = await add_mailboxes(pool)
        [slow] = await claim(pool)
        await expire(pool)
        async with pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            await leases.fence(connection, slow)
            await connection.execute(
                "INSERT INTO labels VALUES ($1, 'written-before', 'written-before', 'user')", mailbox_id
            )
            assert await claim(pool) == []
            await transaction.commit()
        [_] = await claim(pool)
        assert await pool.fetchval("SELECT count(*) FROM labels") == 1

    async def test_waits_for_a_concurrent_takeover_and_is_then_refused(self, pool: Pool) -> None:
        [mailbox_id] = await add_mailboxes(pool)
        [stale] = await claim(pool)
        await expire(pool)

        async def write() -> None:
            async with pool.acquire() as connection, connection.transaction():
                await leases.fence(connection, stale)
                await connection.execute("INSERT INTO labels VALUES ($1, 'late', 'late', 'user')", mailbox_id)

        async def is_blocked() -> bool:
            return bool(await pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

        async with pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            [_] = await leases.claim(
                connection,
                owner=uuid4(),
                lane=Lane.LIVE,
                limit=1,
                failing_limit=1,
                lease_seconds=30,
                backoff_limit=60,
            )
            late = asyncio.create_task(write())
            await eventually(is_blocked)
            await transaction.commit()
        with pytest.raises(LeaseLostError):
            await late
        assert await pool.fetchval("SELECT count(*) FROM labels") == 0

    async def test_delays_hints_only_briefly(self, pool: Pool) -> None:
        [mailbox_id] = await add_mailboxes(pool)
        [lease] = await claim(pool)
        async with pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            await leases.fence(connection, lease)
            async with pool.acquire() as other:
                await other.execute("SET lock_timeout = '50ms'")
                with pytest.raises(asyncpg.LockNotAvailableError):
                    await schedule.trigger(other, mailbox_id)
                await transaction.commit()
                assert await schedule.trigger(other, mailbox_id) == lease.hint_seq + 1
                await other.execute("RESET lock_timeout")


class TestAgeOfHints:
    async def _old_hint(self, pool: Pool) -> None:
        await pool.execute("UPDATE mailbox_schedule SET hinted_at = now() - interval '1 hour'")

    async def test_is_that_of_the_first_one(self, pool: Pool) -> None:
        [mailbox_id] = await add_mailboxes(pool)
        assert 0 <= await pool.fetchval(_HINT_AGE) < 60
        await self._old_hint(pool)
        async with pool.acquire() as connection:
            await schedule.trigger(connection, mailbox_id)
        assert await pool.fetchval(_HINT_AGE) >= 3600

    async def test_goes_on_while_turns_fail(self, pool: Pool) -> None:
        await add_mailboxes(pool)
        await self._old_hint(pool)
        [lease] = await claim(pool)
        async with pool.acquire() as connection:
            await leases.release_failed(
                connection, lease, after=60, waiting_for=WaitReason.QUOTA_SERVICE, error="quota_unavailable"
            )
        assert await pool.fetchval(_HINT_AGE) >= 3600

    @pytest.mark.parametrize("lane", [Lane.BACKFILL, Lane.IDLE])
    async def test_ends_when_it_is_read(self, pool: Pool, lane: Lane) -> None:
        await add_mailboxes(pool)
        await self._old_hint(pool)
        [lease] = await claim(pool)
        async with pool.acquire() as connection:
            await leases.release(connection, lease, lane=lane, after=60)
        assert await pool.fetchval(_HINT_AGE) is None

    async def test_begins_anew_with_one_that_came_during_the_turn(self, pool: Pool) -> None:
        [mailbox_id] = await add_mailboxes(pool)
        await self._old_hint(pool)
        [lease] = await claim(pool)
        async with pool.acquire() as connection:
            await schedule.trigger(connection, mailbox_id)
            await leases.release(connection, lease, lane=Lane.IDLE, after=60)
        assert 0 <= await pool.fetchval(_HINT_AGE) < 60


class TestHolds:
    """A mailbox whose connection a worker holds."""

    async def test_is_claimed_by_its_holder_at_once_and_by_others_a_second_later(self, pool: Pool) -> None:
        [mailbox_id], holder = await add_mailboxes(pool), uuid4()
        async with pool.acquire() as connection:
            assert await holds.hold(connection, [mailbox_id], holder=holder, seconds=60) == {mailbox_id}
            seconds = await leases.seconds_until_due(connection, [Lane.LIVE], failing=True, holder=uuid4())
            assert seconds is not None
            assert 0.5 < seconds <= 1
        assert await claim(pool, holder=uuid4()) == []
        [lease] = await claim(pool, holder=holder)
        await release(pool, lease, after=0)
        await pool.execute("UPDATE mailbox_schedule SET due_at = now() - interval '2 seconds'")
        assert len(await claim(pool, holder=uuid4())) == 1

    async def test_hides_no_mailbox_that_is_due_a_little_later(self, pool: Pool) -> None:
        kept, _ = await add_mailboxes(pool, 2)
        async with pool.acquire() as connection, connection.transaction():
            # The time of a transaction does not pass.
            await connection.execute("UPDATE mailbox_schedule SET due_at = now() + interval '0.1 seconds'")
            await holds.hold(connection, [kept], holder=uuid4(), seconds=60)
            for kept_due_in in (-0.1, 0.05):
                await connection.execute(
                    "UPDATE mailbox_schedule SET due_at = now() + make_interval(secs => $2) WHERE mailbox_id = $1",
                    kept,
                    kept_due_in,
                )
                seconds = await leases.seconds_until_due(connection, [Lane.LIVE], failing=True, holder=uuid4())
                assert seconds == pytest.approx(0.1)

    async def test_is_free_after_the_death_of_its_holder(self, pool: Pool) -> None:
        [mailbox_id] = await add_mailboxes(pool)
        async with pool.acquire() as connection:
            await holds.hold(connection, [mailbox_id], holder=uuid4(), seconds=60)
            await connection.execute("UPDATE mailbox_schedule SET held_until = now() - interval '1 second'")
            other = uuid4()
            assert await holds.hold(connection, [mailbox_id], holder=other, seconds=60) == {mailbox_id}
            assert await holds.is_held_by_another(connection, mailbox_id, holder=uuid4())
            await holds.release(connection, [mailbox_id], holder=other)
            assert not await holds.is_held_by_another(connection, mailbox_id, holder=uuid4())

    async def test_is_held_by_one_worker(self, pool: Pool) -> None:
        [mailbox_id] = await add_mailboxes(pool)
        async with pool.acquire() as connection:
            await holds.hold(connection, [mailbox_id], holder=uuid4(), seconds=60)
            assert await holds.hold(connection, [mailbox_id], holder=uuid4(), seconds=60) == set()
