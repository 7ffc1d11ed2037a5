"""Cost of each step between the provider and the tables, one after the other. Prints its measurements as JSON."""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from itertools import batched

import asyncpg
import httpx

from benchmarks.process_cpu import thread_seconds
from benchmarks.sync_ways.mailbox import BATCH, Task, fetch_all, finish_index, list_all, open_provider
from services.mail.providers.gmail import batch
from services.mail.providers.gmail.message import message_of
from services.mail.providers.gmail.payload import parse_gmail
from services.mail.providers.label_ids import mark_ids
from services.mail.search.vector import vector_of
from services.mail.store import messages as store

# A worker's transaction has as many.
_STORED_TOGETHER = 10 * BATCH


class _Stages:
    def __init__(self) -> None:
        self.cpu: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        began = time.process_time()
        yield
        self.cpu[name] += time.process_time() - began


async def main() -> None:
    """Fetch, parse and store the mailbox."""
    task, stage = Task.read(), _Stages()
    messages = await fetch_all(task)
    async with open_provider(task, batch=False) as provider:
        for measured in (_Stages(), stage):
            with measured("listing"):
                await _exhaust(list_all(provider, task))
    ids = [message.external_id for message in messages]
    # The first time is not measured: a worker is warm.
    for measured in (_Stages(), stage):
        await _fetch(task, measured, ids)
        with measured("search terms"):
            for message in messages:
                vector_of(message.content, mailbox_id=task.mailbox_id)
    async with asyncpg.create_pool(task.dsn, min_size=1, max_size=1) as pool, pool.acquire() as connection:
        await finish_index(connection, "ix_message_search_vector")
        server = connection.get_server_pid()
        began = thread_seconds(server)
        with stage("storing, terms included"):
            for some in batched(messages, _STORED_TOGETHER, strict=False):
                async with connection.transaction():
                    await store.upsert(connection, task.mailbox_id, some, mark_ids=mark_ids("google"))
        await finish_index(connection, "ix_message_search_vector")
        stage.cpu["Postgres: storing"] = thread_seconds(server) - began
    stage.cpu["storing"] = stage.cpu.pop("storing, terms included") - stage.cpu["search terms"]
    print(json.dumps({"messages": len(messages), "cpu": stage.cpu}))


async def _exhaust(ids: AsyncIterator[str]) -> None:
    async for _ in ids:
        pass


async def _fetch(task: Task, stage: _Stages, ids: list[str]) -> None:
    headers = {
        "Authorization": f"Bearer {task.token}",
        "Content-Type": batch.CONTENT_TYPE,
        "User-Agent": "mailroom (gzip)",
    }
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        for some in batched(ids, BATCH, strict=False):
            with stage("HTTP"):
                body = batch.encode([f"/gmail/v1/users/me/messages/{id_}?format=full" for id_ in some])
                answer = await http.post(f"{task.gmail_url}/batch/gmail/v1", content=body, headers=headers)
            with stage("batch format"):
                parts = batch.decode(answer.headers["Content-Type"], answer.content)
            with stage("JSON"):
                resources = [json.loads(part.body) for part in parts.values()]
            with stage("MIME"):
                contents = [parse_gmail(resource) for resource in resources]
            with stage("other fields"):
                for resource, content in zip(resources, contents, strict=True):
                    message_of(resource["id"], resource, content)


if __name__ == "__main__":
    asyncio.run(main())
