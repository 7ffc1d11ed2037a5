"""Retention of changes, and of the records of disconnections and of users' deletions."""

from datetime import timedelta
from uuid import uuid4

from services.mail.retention import forget_changes, forget_ended, forget_ended_feeds, forget_syncs
from services.mail.store.control import erasures
from tests.mail.conftest import OpenStage
from tests.support.mail.stored import add_mailbox, store


async def test_all_records_that_are_old_enough_go_in_batches(stage: OpenStage) -> None:
    async with stage(workers=0) as s:
        users = [uuid4() for _ in range(7)]
        for user_id in users:
            assert await s.disconnections.delete_user(user_id)
        lasting = uuid4()
        async with s.pool.acquire() as connection:
            await erasures.request_user(connection, lasting)
            await connection.execute("UPDATE user_deletions SET ended_at = ended_at - interval '2 days'")
        await forget_ended(s.pool, timedelta(days=3), batch=3)
        assert await s.fetchval("SELECT count(*) FROM user_deletions") == 8
        await forget_ended(s.pool, timedelta(days=1), batch=3)
        assert await s.fetchval("SELECT array_agg(user_id) FROM user_deletions") == [lasting]


async def test_expired_changes_of_all_mailboxes_go_in_batches_without_a_new_one(stage: OpenStage) -> None:
    async with stage(workers=0) as s:
        async with s.pool.acquire() as connection:
            await connection.execute("DELETE FROM message_changes")
            idle = [(await add_mailbox(connection, email=f"{n}@example.com")).mailbox_id for n in range(5)]
            for mailbox_id in idle:
                await store(connection, mailbox_id, *(f"m{n}" for n in range(7)))
            await connection.execute(
                "UPDATE message_changes SET changed_at = changed_at - interval '31 days' "
                "WHERE seq <= 5 AND mailbox_id <> $1",
                idle[2],
            )
        await forget_changes(s.pool, batch=2, page=2)
        kept = "SELECT array_agg(n ORDER BY n) FROM (SELECT count(*) AS n FROM message_changes GROUP BY mailbox_id) c"
        assert await s.fetchval(kept) == [2, 2, 2, 2, 7]
        assert await s.fetchval("SELECT min(seq) FROM message_changes WHERE mailbox_id = $1", idle[0]) == 6


async def test_ended_syncs_of_each_mailbox_go_but_the_newest(stage: OpenStage) -> None:
    async with stage(workers=0) as s:
        async with s.pool.acquire() as connection:
            ids = [(await add_mailbox(connection, email=f"{n}@example.com")).mailbox_id for n in range(3)]
            await connection.execute(
                """
                INSERT INTO syncs (mailbox_id, state, hint_seq, ended_at)
                SELECT mailbox_id, 'cancelled', number, CASE WHEN number > 1 THEN now() END
                FROM unnest($1::bigint[]) mailbox_id, generate_series(1, 9) number
                WHERE number <= 4 OR mailbox_id <> $2
                """,
                ids,
                ids[1],
            )
        await forget_syncs(s.pool, keep=5, batch=2, page=2)
        kept = "SELECT array_agg(hint_seq ORDER BY hint_seq) FROM syncs WHERE mailbox_id = $1"
        # The active one stays, too.
        assert await s.fetchval(kept, ids[0]) == await s.fetchval(kept, ids[2]) == [1, 5, 6, 7, 8, 9]
        assert await s.fetchval(kept, ids[1]) == [1, 2, 3, 4]


async def test_heads_of_feeds_go_thirty_days_after_their_mailboxes(stage: OpenStage) -> None:
    async with stage(workers=0) as s:
        async with s.pool.acquire() as connection:
            await connection.execute(
                """
                INSERT INTO feed_heads (mailbox_id, account_id, application_id, seq, incarnation, disconnected_at)
                SELECT -n, gen_random_uuid(), gen_random_uuid(), 1, 1, now() - make_interval(days => n)
                FROM generate_series(28, 34) n UNION ALL SELECT -1, gen_random_uuid(), gen_random_uuid(), 1, 1, NULL
                """
            )
        await forget_ended_feeds(s.pool, batch=2)
        kept = await s.fetchval("SELECT array_agg(mailbox_id ORDER BY mailbox_id) FROM feed_heads")
        # That of the thirtieth day ended a moment too long ago.
        assert kept == [-29, -28, -1]
