"""Groups of idle mailboxes on the real tables: which is claimed, by one worker, until when, and what a look writes."""

import math
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from services.mail.model import Account, Lane, MailboxStatus
from services.mail.store.connection import Connection, Pool
from services.mail.store.control import idle_groups, idle_mailboxes, leases, mailboxes, schedule
from services.mail.store.control.idle_groups import GROUP_SIZE, IdleGroup
from tests.support.mail.servers import Servers

ROUND = 60.0
LONGEST = 960.0


@pytest.fixture
async def pool(servers: Servers) -> AsyncIterator[Pool]:
    """Yield the database without any mailbox or group."""
    await servers.empty()
    yield servers.pool
    await servers.empty()


async def add_groups(pool: Pool, *ages: float) -> None:
    """Add groups that were checked so many seconds ago."""
    await pool.execute(
        "INSERT INTO idle_groups (group_id, checked_at) "
        "SELECT ordinality - 1, now() - make_interval(secs => age) FROM unnest($1::float8[]) WITH ORDINALITY AS a(age)",
        list(ages),
    )


async def claim(pool: Pool, *, lease: float = 30.0) -> IdleGroup | None:
    async with pool.acquire() as connection:
        return await idle_groups.claim(connection, owner=None, round_seconds=ROUND, lease_seconds=lease)


async def claimed(pool: Pool) -> IdleGroup:
    group = await claim(pool)
    assert group is not None
    return group


async def finish(pool: Pool, group: IdleGroup) -> None:
    async with pool.acquire() as connection:
        await idle_groups.finish(connection, group, longest_interval=LONGEST)


async def add_idle_mailbox(pool: Pool) -> int:
    account = Account(
        account_id=uuid4(),
        user_id=uuid4(),
        provider="google",
        email="ada@example.com",
        status=MailboxStatus.ACTIVE,
    )
    async with pool.acquire() as connection:
        await mailboxes.upsert(connection, [account])
        [mailbox] = await mailboxes.of_user(connection, account.user_id)
        await schedule.trigger(connection, mailbox.mailbox_id)
        await connection.execute("UPDATE mailbox_schedule SET lane = $1", Lane.IDLE)
        await connection.execute("INSERT INTO sync_states (mailbox_id, cursor) VALUES ($1, 1)", mailbox.mailbox_id)
    return mailbox.mailbox_id


class TestClaim:
    async def test_takes_the_group_that_has_waited_longest(self, pool: Pool) -> None:
        await add_groups(pool, 100, 300, 200)
        assert [(await claimed(pool)).group_id for _ in range(3)] == [1, 2, 0]
        assert await claim(pool) is None

    async def test_takes_no_group_twice_in_a_round(self, pool: Pool) -> None:
        await add_groups(pool, 100)
        await finish(pool, await claimed(pool))
        # Unless the round has ended in this moment.
        assert await claim(pool) is None or await claim(pool) is None

    async def test_begins_with_groups_that_were_never_checked(self, pool: Pool) -> None:
        await add_groups(pool, 1_000_000)
        await pool.execute("INSERT INTO idle_groups (group_id) VALUES (7)")
        group = await claimed(pool)
        assert (group.group_id, group.checked_at) == (7, float("-inf"))

    async def test_takes_the_group_of_a_worker_that_was_killed_once_its_lease_has_ended(self, pool: Pool) -> None:
        await add_groups(pool, 100)
        killed = await claimed(pool)
        assert await claim(pool) is None
        await pool.execute("UPDATE idle_groups SET lease_until = now() - interval '1 ms'")
        heir = await claimed(pool)
        assert heir.checked_at == killed.checked_at
        await finish(pool, killed)
        assert await pool.fetchval("SELECT lease_until IS NOT NULL FROM idle_groups")

    async def test_takes_a_group_again_whose_claim_was_given_up(self, pool: Pool) -> None:
        await add_groups(pool, 100, 90)
        groups = [await claimed(pool), await claimed(pool)]
        async with pool.acquire() as connection:
            await idle_groups.release(connection, groups[:1])
        assert (await claimed(pool)).group_id == 0
        assert await claim(pool) is None

    async def test_keeps_a_renewed_group(self, pool: Pool) -> None:
        await add_groups(pool, 100)
        group = await claim(pool, lease=0.0)
        assert group is not None
        async with pool.acquire() as connection:
            await idle_groups.renew(connection, group, lease_seconds=30)
        assert await claim(pool) is None

    @pytest.mark.parametrize(
        "ahead",
        [
            "UPDATE idle_groups SET checked_at = now() + interval '1 day'",
            "UPDATE idle_groups SET lease_until = now() + interval '1 day'",
        ],
    )
    async def test_does_not_wait_for_times_from_before_the_clock_was_set_back(self, pool: Pool, ahead: str) -> None:
        await add_groups(pool, 100)
        await pool.execute(ahead)
        assert await claim(pool) is not None

    async def test_knows_the_groups_of_all_mailboxes(self, pool: Pool) -> None:
        mailbox_id = await add_idle_mailbox(pool)
        async with pool.acquire() as connection:
            for _ in range(2):
                await idle_groups.add_missing(connection)
        groups = await pool.fetch("SELECT group_id FROM idle_groups ORDER BY group_id")
        assert [row["group_id"] for row in groups] == list(range(mailbox_id // GROUP_SIZE + 1))
        own = IdleGroup(group_id=mailbox_id // GROUP_SIZE, checked_at=0, claimed_at=0, lease_epoch=1)
        assert mailbox_id in own.mailbox_ids


class TestFinish:
    async def test_says_until_when_all_is_checked_and_since_when_all_were_seen(self, pool: Pool) -> None:
        await add_groups(pool, 100)
        group = await claimed(pool)
        await finish(pool, group)
        row = await pool.fetchrow(
            "SELECT extract(epoch FROM checked_at)::float8 AS checked, "
            "extract(epoch FROM all_seen_at)::float8 AS seen, lease_until FROM idle_groups"
        )
        assert row is not None
        assert (row["checked"], row["lease_until"]) == (pytest.approx(group.claimed_at, abs=1e-5), None)
        assert row["seen"] == pytest.approx(group.claimed_at - LONGEST, abs=1e-5)


class TestSnapshot:
    async def test_that_is_held_open_does_not_make_claims_slower(self, pool: Pool) -> None:
        await add_groups(pool, *range(1_000, 1_196))
        async with pool.acquire() as reader, reader.transaction(isolation="repeatable_read"):
            await reader.fetchval("SELECT count(*) FROM idle_groups")
            before = await self.pages_read_by_claim(pool)
            # An hour of 50,000 mailboxes are 60 rounds of 196 groups.
            await pool.execute(
                "DO $$ BEGIN FOR i IN 1..60 LOOP "
                "UPDATE idle_groups SET checked_at = checked_at + interval '1 second', lease_until = NULL; "
                "COMMIT; END LOOP; END $$"
            )
            # Vacuum may read the table beside one of them. An index would lead to each of 11,760 versions; the table
            # has 100 pages, or one for each nine of them.
            assert min([await self.pages_read_by_claim(pool) for _ in range(3)]) < before + 2_000

    async def pages_read_by_claim(self, pool: Pool) -> int:
        """Return how many pages of the groups a claim reads."""
        async with pool.acquire() as connection:
            blocks = "SELECT heap_blks_read + heap_blks_hit FROM pg_statio_user_tables WHERE relname = 'idle_groups'"
            await connection.execute("SELECT pg_stat_force_next_flush()")
            before = int(await connection.fetchval(blocks))
            await idle_groups.claim(connection, owner=None, round_seconds=ROUND, lease_seconds=30)
            await connection.execute("SELECT pg_stat_force_next_flush()")
            return int(await connection.fetchval(blocks)) - before


class TestActivities:
    async def activity(self, pool: Pool) -> idle_mailboxes.Activity:
        async with pool.acquire() as connection:
            [found] = await idle_mailboxes.activities(connection, range(2**62), idle_for=60, pushed=["google"])
        return found

    async def test_need_a_watch_where_changes_can_be_announced(self, pool: Pool) -> None:
        mailbox_id = await add_idle_mailbox(pool)
        assert (await self.activity(pool)).needs_watch
        await pool.execute(
            "INSERT INTO watches VALUES ($1, now() + interval '7 d', now() + interval '1 d')", mailbox_id
        )
        found = await self.activity(pool)
        assert (found.needs_watch, found.is_announced, found.quiet_seconds < 60) == (False, False, True)

    @pytest.mark.parametrize(
        ("watch_ends", "announced", "missed", "is_announced"),
        [
            ("1 day", "-1 day", None, True),
            ("1 day", None, None, False),
            ("-1 s", "-1 day", None, False),
            ("1 day", "-1 day", "-1 hour", False),
            ("1 day", "-1 hour", "-1 day", True),
        ],
    )
    async def test_are_announced_while_a_watch_lives_and_misses_nothing(
        self, pool: Pool, watch_ends: str, announced: str | None, missed: str | None, *, is_announced: bool
    ) -> None:
        mailbox_id = await add_idle_mailbox(pool)
        await pool.execute(
            "INSERT INTO watches VALUES ($1, now() + $2::text::interval, now() + interval '1 d')",
            mailbox_id,
            watch_ends,
        )
        await pool.execute(
            "UPDATE mailbox_schedule SET announced_at = now() + $1::text::interval, "
            "missed_at = now() + $2::text::interval",
            announced,
            missed,
        )
        assert (await self.activity(pool)).is_announced is is_announced

    async def test_leave_out_what_a_turn_has_just_read(self, pool: Pool) -> None:
        mailbox_id = await add_idle_mailbox(pool)
        async with pool.acquire() as connection:
            [lease] = await self.claim_live(connection, mailbox_id)
            await leases.release(connection, lease, lane=Lane.IDLE, after=math.inf)
            assert await idle_mailboxes.activities(connection, range(2**62), idle_for=60, pushed=[]) == []
            found = await idle_mailboxes.activities(connection, range(2**62), idle_for=0, pushed=[])
            assert [each.mailbox_id for each in found] == [mailbox_id]

    async def claim_live(self, connection: Connection, mailbox_id: int) -> list[leases.Lease]:
        await schedule.trigger(connection, mailbox_id)
        return await leases.claim(
            connection,
            owner=uuid4(),
            lane=Lane.LIVE,
            limit=1,
            failing_limit=1,
            lease_seconds=15,
            backoff_limit=60,
        )

    async def test_are_those_of_idle_mailboxes(self, pool: Pool) -> None:
        mailbox_id = await add_idle_mailbox(pool)
        async with pool.acquire() as connection:
            await schedule.trigger(connection, mailbox_id)
            assert await idle_mailboxes.activities(connection, range(2**62), idle_for=0, pushed=[]) == []


class TestWake:
    async def row(self, pool: Pool) -> tuple[Lane, bool, bool, bool]:
        row = await pool.fetchrow(
            "SELECT lane, due_at <= now() AS due, active_at > now() - interval '1 minute' AS active, "
            "missed_at IS NOT NULL AS missed FROM mailbox_schedule"
        )
        assert row is not None
        return Lane(row["lane"]), row["due"], row["active"], row["missed"]

    async def wake(self, pool: Pool, *, changed: bool, missed: bool) -> None:
        mailbox_id = await add_idle_mailbox(pool)
        await pool.execute(
            "UPDATE mailbox_schedule SET active_at = now() - interval '1 h', due_at = now() + interval '1 h'"
        )
        async with pool.acquire() as connection:
            await idle_mailboxes.wake(connection, [mailbox_id], changed=changed, missed=missed)

    async def test_makes_a_mailbox_due(self, pool: Pool) -> None:
        await self.wake(pool, changed=False, missed=False)
        assert await self.row(pool) == (Lane.LIVE, True, False, False)

    async def test_records_what_was_not_announced(self, pool: Pool) -> None:
        await self.wake(pool, changed=True, missed=True)
        assert await self.row(pool) == (Lane.LIVE, True, True, True)

    async def test_misses_nothing_that_is_known_already(self, pool: Pool) -> None:
        mailbox_id = await add_idle_mailbox(pool)
        async with pool.acquire() as connection:
            await schedule.trigger(connection, mailbox_id)
            await idle_mailboxes.wake(connection, [mailbox_id], changed=True, missed=True)
        assert (await self.row(pool))[3] is False

    async def test_counts_the_wait_from_now_on_not_from_when_it_was_idle(self, pool: Pool) -> None:
        mailbox_id = await add_idle_mailbox(pool)
        await pool.execute("UPDATE mailbox_schedule SET due_at = now() - interval '1 day'")
        async with pool.acquire() as connection:
            await idle_mailboxes.wake(connection, [mailbox_id])
        assert await pool.fetchval("SELECT due_at > now() - interval '1 minute' FROM mailbox_schedule")
