"""Record this checkout's release, from which later ones have to upgrade: tests/e2e/upgrade.

`python -m tests.support.upgrade.record NAME` writes the tables of each service (SERVICE.sql), and for mail the
statements of a turn and of reads with their arguments (turn.json, reads.json) and all statements of its store
(statements.json).
"""

import asyncio
import json
import random
import re
import secrets
import subprocess
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from asyncpg.connection import LoggedQuery

from deploy.local import placement
from deploy.local.ports import Ports
from deploy.local.postgres import Database, EmbeddedPostgres, PostgresAddress
from services.kit.settings import Postgres
from services.kit.stores.postgres import Connection, create_pool
from services.mail.model import Account, Label, LabelChange, Lane, ListedId, MailboxQuery, MailboxStatus
from services.mail.search.parser import parse
from services.mail.store import changes, labels, message_labels, messages
from services.mail.store.control import leases, mailbox_overviews, mailboxes, schedule
from services.mail.store.reading.message_list import newest_first
from services.mail.store.sync import fetch_queue, sync_state
from tests.architecture.test_sql import ROOT, STORE, composed
from tests.mail.conftest import settings_of
from tests.support.architecture.sql_statements import statements_of
from tests.support.mail.generated_mail import some_message
from tests.support.upgrade.recorder import Sent, as_text

MAILBOX, ACCOUNT, USER, OWNER = 7_700_001, UUID(int=0xACC0), UUID(int=0x05E2), UUID(int=0x0E2)
"""Stand-ins in the recorded arguments: each time that these are sent, those of another mailbox take their place."""

_NOW = datetime(2026, 11, 30, tzinfo=UTC)
_MESSAGES = 20
# Statements that asyncpg sends by itself, to learn types.
_OF_DRIVER = re.compile(r"typeinfo_tree|'jit'")


async def turn(connection: Connection) -> None:
    """Connect a mailbox, queue and store messages, change labels, delete one, and end the turn."""
    account = Account(
        account_id=ACCOUNT, user_id=USER, provider="google", email="ada@example.com", status=MailboxStatus.ACTIVE
    )
    await mailboxes.upsert(connection, [account])
    await sync_state.ensure(connection, MAILBOX)
    await schedule.trigger(connection, MAILBOX)
    [lease] = await leases.claim(
        connection, owner=OWNER, lane=Lane.LIVE, limit=1, failing_limit=1, lease_seconds=60, backoff_limit=60
    )
    await leases.fence(connection, lease)
    await labels.record(connection, MAILBOX, [Label(label_id="INBOX", name="INBOX", type="system")], confirm_seconds=60)
    made = [
        replace(some_message(n, random.Random(n)), external_id=f"m{n}", thread_id=f"t{n % 7}", version=n)
        for n in range(1, _MESSAGES + 1)
    ]
    await fetch_queue.queue_listed(
        connection, MAILBOX, [ListedId(external_id=m.external_id, thread_id=m.thread_id) for m in made], offset=0
    )
    await fetch_queue.next_batch(connection, MAILBOX, 25)
    await messages.upsert(connection, MAILBOX, made)
    await fetch_queue.finish(connection, MAILBOX, {m.external_id: m.version for m in made}, pauses=[1, 2])
    await message_labels.change(connection, MAILBOX, {"m3": [LabelChange(version=99, added=frozenset({"STARRED"}))]})
    await messages.delete(connection, MAILBOX, ["m4"])
    await sync_state.move_cursor(connection, MAILBOX, previous=None, cursor=100, caught_up_hint=1)
    await leases.release(connection, lease, lane=Lane.IDLE, after=60)


async def reads(connection: Connection) -> None:
    """Read a mailbox as clients do."""
    await mailboxes.of_user(connection, USER)
    await mailbox_overviews.overviews(connection, MailboxQuery(user_id=USER))
    names = await labels.names(connection, MAILBOX)
    for query in ("", "label:inbox", "report"):
        node = parse(query, now=_NOW, me=["ada@example.com"])
        await newest_first(connection, USER, MAILBOX, node, after=None, limit=50, label_names=names, label_roles={})
    await changes.position(connection, MAILBOX)
    await changes.between(connection, USER, MAILBOX, 0, 50, limit=50, label_names=names)
    await sync_state.load(connection, MAILBOX)


async def record(database: Postgres, directory: Path) -> None:
    """Write the statements of turns and reads, as they are sent to a migrated database."""
    async with await create_pool(database, application_name="record", size=1) as pool, pool.acquire() as connection:
        await connection.execute(f"ALTER TABLE mailboxes ALTER mailbox_id RESTART WITH {MAILBOX}")
        for work in (turn, reads):
            sent: list[Sent] = []

            def keep(query: LoggedQuery, sent: list[Sent] = sent) -> None:
                if not _OF_DRIVER.search(query.query):
                    sent.append(Sent(query.query, tuple(query.args)))

            with connection.query_logger(keep):
                await work(connection)
                await asyncio.sleep(0)  # the logger is called by the event loop
            (directory / f"{work.__name__}.json").write_text(as_text(sent), encoding="utf-8")


def write_statements(directory: Path) -> None:
    """Write all statements of mail's store by their places."""
    found: dict[str, list[str]] = {}
    for statement in statements_of(ROOT, STORE, recorded=composed()):
        # Those that have no plan.
        if not statement.sql.lstrip().startswith(("NOTIFY", "SET ")):
            found.setdefault(statement.place, []).append(statement.sql)
    unique = {place: sorted(set(sql)) for place, sql in sorted(found.items())}
    (directory / "statements.json").write_text(json.dumps(unique, indent=1) + "\n", encoding="utf-8")


def write_tables(server: PostgresAddress, service: str, directory: Path) -> Postgres:
    """Migrate a database of the service and write what makes its tables anew; return the database."""
    environment = server.environment() | {f"{service.upper()}_POSTGRES_DB": service}
    subprocess.run([sys.executable, "-m", f"services.{service}.migrations", "upgrade"], env=environment, check=True)
    dumped = subprocess.run(
        [placement.installed_program() / "pg_dump", "--inserts", "--no-owner", "--no-privileges", service],
        env={"PGHOST": server.host, "PGPORT": str(server.port), "PGUSER": server.user, "PGPASSWORD": server.password},
        check=True,
        capture_output=True,
        text=True,
    )
    # Lines for psql, settings of the session and comments.
    lines = [line for line in dumped.stdout.split("\n") if not re.match(r"\\|SET |SELECT pg_catalog|--", line)]
    text = re.sub(r"\n{2,}", "\n\n", "\n".join(lines)).strip()
    (directory / f"{service}.sql").write_text(text + "\n", encoding="utf-8")
    return settings_of(Database(server=server, name=service))


def main() -> None:
    """Record this checkout's release."""
    directory = ROOT / "tests/e2e/upgrade/releases" / sys.argv[1]
    directory.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="mailroom-record-") as home,
        EmbeddedPostgres(Path(home), port=Ports().free(), password=secrets.token_hex(8)) as server,
    ):
        write_tables(server.address, "auth", directory)
        database = write_tables(server.address, "mail", directory)
        asyncio.run(record(database, directory))
    write_statements(directory)


if __name__ == "__main__":
    main()
