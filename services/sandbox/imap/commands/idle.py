"""IDLE (RFC 2177)."""

import asyncio

from services.sandbox.imap.errors import BadError
from services.sandbox.imap.session import Session
from services.sandbox.imap.wire import Command


async def idle(session: Session, _: Command) -> str:
    """IDLE: tell changes of the selected folder as they come, until the client says DONE."""
    folders = session.folders
    changed = asyncio.Event()
    folders.listeners.add(changed.set)
    done = asyncio.create_task(session.reader.line())
    try:
        session.writer.write(b"+ idling\r\n")
        await session.send_changes()
        while not done.done():
            await session.flush()
            await _either(done, changed)
            changed.clear()
            await session.send_changes()
        if done.result().upper() != b"DONE":
            raise BadError("DONE is expected")
    finally:
        folders.listeners.discard(changed.set)
        done.cancel()
    return "IDLE Completed."


async def _either(done: asyncio.Task[bytes], changed: asyncio.Event) -> None:
    waiting = asyncio.create_task(changed.wait())
    try:
        await asyncio.wait((done, waiting), return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
