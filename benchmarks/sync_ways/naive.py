"""The obvious way to copy a mailbox, as in a service template: a GET per message, an ORM object, a commit.

Columns and indexes are Mailroom's, in one table, with the search terms in a column that Postgres generates. `raw`
parses the RFC 5322 bytes with Python's own parser; `json` picks from Gmail's JSON. Prints its measurements as JSON.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import httpx
from sqlalchemy import BigInteger, Computed, Index, UniqueConstraint, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP, TSVECTOR
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import Text

from benchmarks.process_cpu import cpu_seconds
from benchmarks.sync_ways import naive_json, naive_raw
from benchmarks.sync_ways.mailbox import Task

_READERS = {"json": ("full", naive_json.read), "raw": ("raw", naive_raw.read)}

_SEARCHABLE = """
    to_tsvector('simple', coalesce(subject, '') || ' ' || coalesce(from_name, '') || ' ' || coalesce(from_email, '')
        || ' ' || coalesce(text, ''))
"""


class _Base(DeclarativeBase):
    pass


class _Message(_Base):
    __tablename__ = "naive_messages"
    __table_args__ = (
        UniqueConstraint("mailbox_id", "external_id"),
        Index("ix_naive_newest_first", "mailbox_id", text("received_at DESC"), text("message_id DESC")),
        Index("ix_naive_thread", "mailbox_id", "thread_id", text("received_at DESC")),
        Index("ix_naive_label_ids", "label_ids", postgresql_using="gin"),
        Index("ix_naive_vector", "vector", postgresql_using="gin"),
    )

    message_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    mailbox_id: Mapped[int] = mapped_column(BigInteger)
    external_id: Mapped[str]
    thread_id: Mapped[str]
    version: Mapped[int] = mapped_column(BigInteger)
    received_at: Mapped[datetime] = mapped_column(TIMESTAMP(timezone=True))
    from_name: Mapped[str | None]
    from_email: Mapped[str | None]
    to_addresses: Mapped[list[Any]] = mapped_column(JSONB)
    cc_addresses: Mapped[list[Any]] = mapped_column(JSONB)
    subject: Mapped[str | None]
    snippet: Mapped[str]
    label_ids: Mapped[list[str]] = mapped_column(ARRAY(Text))
    has_attachments: Mapped[bool]
    size: Mapped[int] = mapped_column(BigInteger)
    headers: Mapped[list[Any]] = mapped_column(JSONB)
    text: Mapped[str | None]
    html: Mapped[str | None]
    attachments: Mapped[list[Any]] = mapped_column(JSONB)
    vector: Mapped[str] = mapped_column(TSVECTOR, Computed(_SEARCHABLE, persisted=True))


async def main() -> None:
    """Copy the mailbox."""
    task = Task.read()
    engine = create_async_engine(task.dsn.replace("postgresql://", "postgresql+asyncpg://"))
    await _create_table(engine)
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    message_format, read = _READERS[sys.argv[1]]
    began, cpu, server = time.perf_counter(), time.process_time(), cpu_seconds(task.postgres_pid)
    headers = {"Authorization": f"Bearer {task.token}"}
    url = f"{task.gmail_url}/gmail/v1/users/me/messages"
    async with httpx.AsyncClient(headers=headers, trust_env=False, timeout=60) as http:
        async for id_ in _list_ids(http, url):
            answer = await http.get(f"{url}/{id_}", params={"format": message_format})
            message = _Message(mailbox_id=task.mailbox_id, **read(answer.raise_for_status().json()))
            async with sessions() as session:
                session.add(message)
                await session.commit()
    async with engine.begin() as connection:
        await connection.execute(select(func.gin_clean_pending_list("ix_naive_vector")))
    # Before the connection closes: its server process ends with it, and with that its CPU time.
    figures = {
        "client_cpu": time.process_time() - cpu,
        "postgres_cpu": cpu_seconds(task.postgres_pid) - server,
        "seconds": time.perf_counter() - began,
    }
    async with sessions() as session:
        stored = select(func.count()).where(_Message.mailbox_id == task.mailbox_id)
        figures["messages"] = (await session.scalars(stored)).one()
    await engine.dispose()
    print(json.dumps(figures))


async def _create_table(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(_Base.metadata.create_all)


async def _list_ids(http: httpx.AsyncClient, url: str) -> AsyncIterator[str]:
    params = {"maxResults": "500", "includeSpamTrash": "true"}
    while True:
        page = (await http.get(url, params=params)).raise_for_status().json()
        for entry in page.get("messages", []):
            yield entry["id"]
        if "nextPageToken" not in page:
            return
        params["pageToken"] = page["nextPageToken"]


if __name__ == "__main__":
    asyncio.run(main())
