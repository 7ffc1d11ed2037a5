"""COPY of finished rows into the same tables: what storing costs at the very least. Prints its figures as JSON."""

import asyncio
import csv
import io
import json
import time
from collections.abc import Iterable, Sequence

import asyncpg

from benchmarks.process_cpu import cpu_seconds
from benchmarks.sync_ways.mailbox import Task, fetch_all, finish_index
from services.mail.search.vector import vector_of

_FIRST_ID = 1_000_000_000
_MESSAGES = (
    *("mailbox_id", "message_id", "external_id", "thread_id", "version", "received_at", "from_name", "from_email"),
    *("to_addresses", "cc_addresses", "subject", "snippet", "label_ids", "has_attachments", "size"),
)
_CONTENTS = ("mailbox_id", "message_id", "headers", "text", "html", "attachments")
_SEARCH = ("mailbox_id", "message_id", "received_at", "vector")


async def main() -> None:
    """Copies the mailbox; only the COPY statements, their transaction and the index are measured."""
    task = Task.read()
    files = await _files(task)
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


async def _files(task: Task) -> list[tuple[str, Sequence[str], bytes]]:
    """Tables, their columns and CSV files for them."""
    key, messages, contents, search = task.mailbox_id, [], [], []
    for number, message in enumerate(await fetch_all(task), _FIRST_ID * key):
        content, sender = message.content, message.content.from_
        received = message.received_at.isoformat()
        people = [json.dumps([(address.name, address.email) for address in some]) for some in (content.to, content.cc)]
        messages.append(
            (
                *(key, number, message.external_id, message.thread_id, message.version, received),
                *(sender and sender.name, sender and sender.email, *people, content.subject, message.snippet),
                *("{" + ",".join(message.label_ids) + "}", content.has_attachments, message.size),
            )
        )
        attachments = [{name: getattr(one, name) for name in one.__slots__} for one in content.attachments]
        contents.append((key, number, json.dumps(content.headers), content.text, content.html, json.dumps(attachments)))
        search.append((key, number, received, vector_of(content, mailbox_id=key)))
    return [
        ("messages", _MESSAGES, _csv(messages)),
        ("message_contents", _CONTENTS, _csv(contents)),
        ("message_search", _SEARCH, _csv(search)),
    ]


def _csv(rows: Iterable[Sequence[object]]) -> bytes:
    file = io.StringIO()
    csv.writer(file, quoting=csv.QUOTE_NOTNULL).writerows(rows)
    return file.getvalue().encode()


if __name__ == "__main__":
    asyncio.run(main())
