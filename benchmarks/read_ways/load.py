"""Fills mailboxes by COPY, each in one transaction; loaded ones are kept, so a load can be resumed."""

import asyncio
import io
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import batched

import asyncpg
from sqlalchemy.dialects import registry
from sqlalchemy.schema import CreateIndex

from benchmarks.message_rows import table_files
from benchmarks.read_ways.mail import LABELS, mail_of
from benchmarks.read_ways.words import load_words
from services.mail.store.tables import message_search, messages

_DIALECT = registry.load("postgresql")()
_BATCH = 5000
_LOADERS = 2
# Built after all rows: an order of magnitude faster. Other indexes are cheap to maintain.
_LATE = [
    index for table in (messages, message_search) for index in table.indexes if index.dialect_kwargs["postgresql_using"]
]
_SET_SEQUENCE = "SELECT setval(pg_get_serial_sequence('messages', 'message_id'), max(message_id)) FROM messages"


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One mailbox and its number of messages; the mailbox's number determines its mail."""

    number: int
    mailbox_id: int
    email: str
    messages: int


async def fill(dsn: str, loads: Sequence[Load]) -> None:
    """Load missing mailboxes, then build indexes and statistics."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("CREATE TABLE IF NOT EXISTS benchmark_loads (mailbox_id bigint PRIMARY KEY)")
        loaded = {row["mailbox_id"] for row in await connection.fetch("SELECT mailbox_id FROM benchmark_loads")}
        missing = [load for load in loads if load.mailbox_id not in loaded]
        if missing:
            for index in _LATE:
                await connection.execute(f"DROP INDEX IF EXISTS {index.name}")
            await _fill_all(dsn, missing)
        await connection.execute("SET maintenance_work_mem = '1GB'")
        for index in _LATE:
            await connection.execute(str(CreateIndex(index, if_not_exists=True).compile(dialect=_DIALECT)))
        if missing:
            await connection.execute(_SET_SEQUENCE)
            await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()


async def _fill_all(dsn: str, loads: Sequence[Load]) -> None:
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(_LOADERS) as pool:
        filling = [loop.run_in_executor(pool, _fill_one, dsn, load) for load in loads]
        for done, task in enumerate(asyncio.as_completed(filling), 1):
            await task
            print(f"\rloaded {done} of {len(loads)} mailboxes", end="", flush=True)
    print()


def _fill_one(dsn: str, load: Load) -> None:
    asyncio.run(_copy(dsn, load))


async def _copy(dsn: str, load: Load) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        # References need no check: this process makes all rows of a mailbox.
        await connection.execute("SET session_replication_role = replica")
        async with connection.transaction():
            await _copy_labels(connection, load)
            mail = mail_of(load.number, load.messages, load_words(), email=load.email)
            first_id = load.number * 10_000_000 + 1
            for some in batched(mail, _BATCH, strict=False):
                for table, columns, data in table_files(some, mailbox_id=load.mailbox_id, first_id=first_id):
                    await connection.copy_to_table(table, source=io.BytesIO(data), columns=columns, format="csv")
                first_id += len(some)
            await connection.execute("INSERT INTO benchmark_loads VALUES ($1)", load.mailbox_id)
    finally:
        await connection.close()


async def _copy_labels(connection: "asyncpg.Connection[asyncpg.Record]", load: Load) -> None:
    await connection.copy_records_to_table(
        "labels",
        records=[(load.mailbox_id, label.label_id, label.name, label.type, label.role) for label in LABELS],
        columns=["mailbox_id", "label_id", "name", "type", "role"],
    )
