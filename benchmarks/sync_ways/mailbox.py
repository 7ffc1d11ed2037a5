"""One mailbox at the sandbox and its rows' keys, as the alternatives read them from stdin."""

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from itertools import batched
from typing import Self

import asyncpg
import httpx

from services.mail.model import ProviderMessage
from services.mail.providers.base import Get
from services.mail.providers.gmail.adapter import GmailProvider
from services.mail.providers.gmail.limits import GMAIL_COSTS
from services.mail.store.connection import Connection

COSTS = GMAIL_COSTS["2026-05"]
BATCH = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """`dsn` is the administrator's address of the mail database; `postgres_pid` the server's process."""

    gmail_url: str
    token: str
    dsn: str
    mailbox_id: int
    postgres_pid: int

    def dumps(self) -> str:
        """Serialize for the stdin of another process."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls) -> Self:
        """Read from stdin."""
        return cls(**json.load(sys.stdin))


async def finish_index(connection: "asyncpg.Connection[asyncpg.Record] | Connection", index: str) -> None:
    """Merge a GIN index's list of pending entries into the index."""
    await connection.execute(f"SELECT gin_clean_pending_list('{index}')")


@asynccontextmanager
async def open_provider(task: Task, *, batch: bool) -> AsyncIterator[GmailProvider]:
    """Open Mailroom's own adapter, so that all alternatives request and parse alike."""
    async with httpx.AsyncClient(trust_env=False, timeout=60, headers={"User-Agent": "mailroom (gzip)"}) as http:
        batch_url = f"{task.gmail_url}/batch/gmail/v1" if batch else None
        yield GmailProvider(http, api_url=task.gmail_url, batch_url=batch_url, costs=COSTS)


async def list_all(provider: GmailProvider, task: Task) -> AsyncIterator[str]:
    """Return all ids, page by page."""
    page_token: str | None = None
    while True:
        page = await provider.list_ids(task.token, page_token=page_token, page_size=500, include_spam_trash=True)
        for entry in page.listed:
            yield entry.external_id
        page_token = page.next_page_token
        if page_token is None:
            return


async def fetch_all(task: Task) -> list[ProviderMessage]:
    """Return all messages, parsed."""
    messages: list[ProviderMessage] = []
    async with open_provider(task, batch=True) as provider:
        ids = [external_id async for external_id in list_all(provider, task)]
        for some in batched(ids, BATCH, strict=False):
            results = await provider.fetch(task.token, [get(external_id) for external_id in some])
            messages += [result for result in results.values() if isinstance(result, ProviderMessage)]
    return messages


def get(external_id: str) -> Get:
    """Return the call for one message."""
    return Get(external_ids=(external_id,), thread_id=None, units=COSTS.fetch)
