"""The servers that all stages of a test run share."""

from dataclasses import dataclass

import asyncpg
from redis.asyncio import Redis

from services.kit.settings import Postgres
from services.mail.store.connection import Pool
from tests.support.mail.cost import begin_count
from tests.support.mail.quota import close_tracked
from tests.support.mail.sandbox_control import Sandbox


@dataclass(frozen=True)
class Servers:
    """Servers, and one migrated database that every stage empties.

    `database` and `pool` enter it as its owner, for what tests arrange and look at; `mail_database`
    and `mail_pool` as the mail service, `worker_database` as a worker,
    `deliverer_database` as a deliverer.
    """

    sandbox: Sandbox
    database: Postgres
    mail_database: Postgres
    worker_database: Postgres
    deliverer_database: Postgres
    pool: Pool
    mail_pool: Pool
    redis: Redis

    async def empty(self) -> None:
        """Delete all mailboxes and disconnections, users to delete, quota, faults and what dead workers have claimed.

        The next mailbox is the first one again, so that all of a stage are looked at in one group.
        """
        # TRUNCATE makes new files for every table and index, which takes longer than most tests.
        await self.pool.execute(
            "DELETE FROM mailboxes; DELETE FROM user_deletions; DELETE FROM quota_watermarks; DELETE FROM feed_heads;"
            "DELETE FROM webhook_endpoints; DELETE FROM disconnections; DELETE FROM idle_groups;"
            "DELETE FROM usage_hours;"
            "SELECT setval(pg_get_serial_sequence('mailboxes', 'mailbox_id'), 1, false)"
        )
        await close_tracked()
        await self.forget_quota()
        await begin_count(self.redis)
        await self.sandbox.be_ordinary()

    async def forget_quota(self) -> None:
        """Delete the service's keys in Redis, and its scripts."""
        keys = [key async for key in self.redis.scan_iter("mail:*")]
        if keys:
            await self.redis.delete(*keys)
        await self.redis.script_flush()


async def connect(database: Postgres, *, name: str = "test") -> "asyncpg.Connection[asyncpg.Record]":
    """Open a connection outside the pool."""
    return await asyncpg.connect(
        host=database.host,
        port=database.port,
        user=database.user,
        password=database.password.get_secret_value(),
        database=database.database,
        server_settings={"application_name": name},
    )
