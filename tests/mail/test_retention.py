"""Retention of the records of disconnections and of users' deletions."""

from datetime import timedelta
from uuid import uuid4

from services.mail.retention import forget_ended
from services.mail.store.control import erasures
from tests.mail.conftest import OpenStage


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
