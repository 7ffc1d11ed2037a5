"""COPY of finished rows into the same tables, the lower bound of storing. Prints its measurements as JSON."""

import asyncio
import io
import json
import time

import asyncpg

from benchmarks.message_rows import table_files
from benchmarks.process_cpu import cpu_seconds
from benchmarks.sync_ways.mailbox import Task, fetch_all, finish_index

_FIRST_ID = 1_000_000_000


async def main() -> None:
    """Copy the mailbox; only the COPY statements, their transaction and the index are measured."""
    task = Task.read()
    files = table_files(await fetch_all(task), mailbox_id=task.mailbox_id, first_id=_FIRST_ID * task.mailbox_id)
    connection = await asyncpg.connect(task.dsn)
    try:
        began, cpu, server = time.perf_counter(), time.process_time(), cpu_seconds(task.postgres_pid)
        async with connection.transaction():
            for table, columns, data in files:
                await connection.copy_to_table(table, source=io.BytesIO(data), columns=columns, format="csv")
        await finish_index(connection, "ix_message_search_vector")
        figures = {
            "messages": await _count(connection, task),
            "client_cpu": time.process_time() - cpu,
            "postgres_cpu": cpu_seconds(task.postgres_pid) - server,
            "seconds": time.perf_counter() - began,
        }
    finally:
        await connection.close()
    print(json.dumps(figures))


async def _count(connection: "asyncpg.Connection[asyncpg.Record]", task: Task) -> int:
    return int(await connection.fetchval("SELECT count(*) FROM messages WHERE mailbox_id = $1", task.mailbox_id))


if __name__ == "__main__":
    asyncio.run(main())
