"""The obvious way to copy a mailbox: a GET per message, then ORM objects and a commit. Prints its figures as JSON."""

import asyncio
import json
import time

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped

from benchmarks.process_cpu import cpu_seconds
from benchmarks.sync_ways.mailbox import Task, get, list_all, open_provider
from services.mail.model import ProviderMessage
from services.mail.search.vector import vector_of
from services.mail.store import tables


class _Base(DeclarativeBase):
    pass


class _Message(_Base):
    __table__ = tables.messages
    message_id: Mapped[int]


class _Contents(_Base):
    __table__ = tables.message_contents


class _Searchable(_Base):
    __table__ = tables.message_search


async def main() -> None:
    """Copies the mailbox."""
    task = Task.read()
    engine = create_async_engine(task.dsn.replace("postgresql://", "postgresql+asyncpg://"))
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    began, cpu, server = time.perf_counter(), time.process_time(), cpu_seconds(task.postgres_pid)
    async with open_provider(task, batch=False) as provider:
        ids = [external_id async for external_id in list_all(provider, task)]
        for external_id in ids:
            [result] = (await provider.fetch(task.token, [get(external_id)])).values()
            assert isinstance(result, ProviderMessage), result
            async with sessions() as session:
                await _insert(session, task.mailbox_id, result)
    # Before the connection ends, and the server's process for it with its CPU time.
    figures = {
        "messages": len(ids),
        "client_cpu": time.process_time() - cpu,
        "postgres_cpu": cpu_seconds(task.postgres_pid) - server,
        "seconds": time.perf_counter() - began,
    }
    await engine.dispose()
    print(json.dumps(figures))


async def _insert(session: AsyncSession, mailbox_id: int, message: ProviderMessage) -> None:
    content = message.content
    row = _Message(
        mailbox_id=mailbox_id,
        external_id=message.external_id,
        thread_id=message.thread_id,
        version=message.version,
        received_at=message.received_at,
        from_name=content.from_ and content.from_.name,
        from_email=content.from_ and content.from_.email,
        to_addresses=[(address.name, address.email) for address in content.to],
        cc_addresses=[(address.name, address.email) for address in content.cc],
        subject=content.subject,
        snippet=message.snippet,
        label_ids=list(message.label_ids),
        has_attachments=content.has_attachments,
        size=message.size,
    )
    session.add(row)
    await session.flush()
    key = {"mailbox_id": mailbox_id, "message_id": row.message_id}
    session.add(
        _Contents(
            **key,
            headers=list(content.headers),
            text=content.text,
            html=content.html,
            attachments=[
                {name: getattr(attachment, name) for name in attachment.__slots__} for attachment in content.attachments
            ],
        )
    )
    session.add(_Searchable(**key, received_at=message.received_at, vector=vector_of(content, mailbox_id=mailbox_id)))
    await session.commit()


if __name__ == "__main__":
    asyncio.run(main())
