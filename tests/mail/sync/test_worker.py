"""How a worker shares its slots."""

import asyncio

from services.mail.model import Lane
from services.mail.providers.gmail.http.deadlines import Deadlines
from tests.mail.conftest import OpenStage
from tests.support.mail.stage import Stage, connect_user
from tests.support.mail.waiting import PATIENCE, eventually

# No call fails before a test is over.
PATIENT = Deadlines(small=60.0, between=60.0, whole=60.0, longest=60.0)


async def make_due(s: Stage, *, lane: Lane, others_than: int) -> None:
    """Makes all other mailboxes due in this lane, with history to read."""
    await s.pool.execute(
        "UPDATE mailbox_schedule SET lane = $1, due_at = now(), hint_seq = hint_seq + 1 WHERE mailbox_id <> $2",
        lane,
        others_than,
    )
    await s.pool.execute("NOTIFY mailbox_due")


class TestSlots:
    async def test_that_backfills_may_not_take_are_there_for_new_mail(self, stage: OpenStage) -> None:
        async with stage(messages=2, slots=3, deadlines=PATIENT) as s:
            others = [await connect_user(s.servers.sandbox, s.auth, messages=2, user_id=s.user_id) for _ in range(3)]
            await s.sync()
            for account, _ in others:
                found = await s.mailboxes.find(s.user_id, account_id=account.account_id)
                await s.ended(await s.syncs.start(found, newest_count=None))
            rules = [{"user": at.email, "method": "gmail.*", "kind": "timeout", "seconds": 60.0} for _, at in others]
            await s.servers.sandbox.control("PUT", "faults", {"rules": rules})
            own = (await s.mailbox()).mailbox_id

            async def held() -> int:
                return int(await s.fetchval("SELECT count(*) FROM mailbox_schedule WHERE lease_owner IS NOT NULL"))

            async def two_are_held() -> bool:
                return await held() == 2

            # Three are due, and each call of theirs hangs: whatever may be taken is taken, and stays so.
            await make_due(s, lane=Lane.BACKFILL, others_than=own)
            await eventually(two_are_held)
            new = await s.at_provider.deliver()
            await s.pool.execute(
                "UPDATE mailbox_schedule SET lane = $1, due_at = now(), hint_seq = hint_seq + 1 WHERE mailbox_id = $2",
                Lane.LIVE,
                own,
            )
            await s.pool.execute("NOTIFY mailbox_due")
            await asyncio.wait_for(s.until_stored(new), PATIENCE)
            await eventually(two_are_held)
            await s.servers.sandbox.control("DELETE", "faults")


class TestLockedMailboxes:
    async def test_are_not_claimed_in_a_busy_loop(self, stage: OpenStage) -> None:
        """A worker that lost its network within a transaction holds its lock until the server notices."""
        async with stage(messages=2) as s:
            await s.sync()
            await s.until_released()
            await s.pool.execute(
                "UPDATE mailbox_schedule SET lane = $1, due_at = now() + interval '0.3 seconds'", Lane.LIVE
            )
            async with s.pool.acquire() as connection, connection.transaction():
                await connection.execute("SELECT FROM mailbox_schedule FOR SHARE")

                async def is_due() -> bool:
                    return bool(
                        await s.fetchval("SELECT due_at <= now() AND lease_owner IS NULL FROM mailbox_schedule")
                    )

                await eventually(is_due)
                assert 0.05 <= await s.workers[0].worker._claim_safely() < 1
