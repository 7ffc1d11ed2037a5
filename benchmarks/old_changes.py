"""Cost of deleting expired changes of idle mailboxes, and of looking for them where there are none.

Claims: a round deletes at least 2,000 changes a second, so that the changes of a day of 50,000 mailboxes (15 messages
each, two changes a message) take it minutes, not hours; a mailbox in which nothing has expired takes less than a
millisecond. Prints JSON lines; exits 1 if a claim does not hold.
"""

import argparse
import asyncio
import json
import secrets
import sys
import tempfile
import time
from pathlib import Path

from pydantic import SecretStr

from benchmarks.process_cpu import cpu_seconds
from benchmarks.simulated_day.servers import DATABASE, create_database
from deploy.local.ports import Ports
from deploy.local.postgres import EmbeddedPostgres
from services.kit.settings import Postgres
from services.kit.stores.postgres import Pool, create_pool
from services.mail.retention import forget_changes

CLAIM_PER_SECOND = 2_000
CLAIM_MS_OF_MAILBOX = 1.0
# The part of all changes that is in one mailbox, as after a first sync.
_LARGE = 0.1


async def fill(pool: Pool, *, mailboxes: int, changes: int) -> None:
    """Add mailboxes with changes of 31 days ago, and one of now each."""
    large = int(changes * _LARGE)
    async with pool.acquire() as connection:
        await connection.execute(
            "INSERT INTO mailboxes (account_id, user_id, provider, email, status) SELECT gen_random_uuid(), "
            "gen_random_uuid(), 'google', n || '@example.com', 'active' FROM generate_series(1, $1) n",
            mailboxes,
        )
        await connection.execute(
            """
            INSERT INTO message_changes (mailbox_id, seq, message_id, kind, changed_at)
            SELECT mailbox_id, n, n, 'created', CASE WHEN n > old THEN now() ELSE now() - interval '31 days' END
            FROM (
                SELECT mailbox_id, CASE mailbox_id WHEN 1 THEN $1::bigint ELSE $2::bigint END AS old FROM mailboxes
            ) each, generate_series(1, old + 1) n
            """,
            large,
            (changes - large) // (mailboxes - 1),
        )
        await connection.execute("VACUUM ANALYZE message_changes")


async def count(pool: Pool, expression: str) -> int:
    """Return a number from the database."""
    async with pool.acquire() as connection:
        return int(await connection.fetchval(f"SELECT {expression}"))


async def measure(pool: Pool, *, mailboxes: int, server: int) -> dict[str, float]:
    """Run a round; return how much it deleted and what it cost."""
    rows, wal, cpu, begin = await _counted(pool, server)
    await forget_changes(pool)
    rows_after, wal_after, cpu_after, end = await _counted(pool, server)
    deleted, seconds = rows - rows_after, end - begin
    return {
        "deleted": deleted,
        "seconds": round(seconds, 2),
        "per_second": round(deleted / seconds),
        "wal_bytes_of_change": round((wal_after - wal) / max(deleted, 1)),
        "postgres_cpu_seconds": round(cpu_after - cpu, 2),
        "ms_of_mailbox": round(seconds * 1000 / mailboxes, 3),
    }


async def _counted(pool: Pool, server: int) -> tuple[int, int, float, float]:
    rows = await count(pool, "count(*) FROM message_changes")
    wal = await count(pool, "pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')")
    return rows, wal, cpu_seconds(server), time.monotonic()


async def run(database: Postgres, *, mailboxes: int, changes: int, server: int) -> bool:
    """Measure a round that deletes, and one that finds nothing; return whether the claims hold."""
    async with await create_pool(database, application_name="benchmark", size=1) as pool:
        await fill(pool, mailboxes=mailboxes, changes=changes)
        deleting = await measure(pool, mailboxes=mailboxes, server=server)
        looking = await measure(pool, mailboxes=mailboxes, server=server)
    print(json.dumps({"round": "deletes", "mailboxes": mailboxes, **deleting}))
    print(json.dumps({"round": "finds nothing", "mailboxes": mailboxes, **looking}))
    return deleting["per_second"] >= CLAIM_PER_SECOND and looking["ms_of_mailbox"] <= CLAIM_MS_OF_MAILBOX


def main() -> int:
    """Start a Postgres, fill it and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mailboxes", type=int, default=10_000)
    parser.add_argument("--changes", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mailroom-changes-") as home:
        port, password = Ports().free(), secrets.token_hex(16)
        with EmbeddedPostgres(Path(home), port=port, password=password) as server:
            create_database(server.address)
            database = Postgres(
                host=server.address.host,
                port=port,
                user=server.address.user,
                password=SecretStr(password),
                database=DATABASE,
            )
            holds = asyncio.run(
                run(database, mailboxes=options.mailboxes, changes=options.changes, server=server.pid or 0)
            )
    return int(not holds)


if __name__ == "__main__":
    sys.exit(main())
