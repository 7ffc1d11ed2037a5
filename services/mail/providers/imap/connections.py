"""The connections of a process: one for each mailbox, kept across sessions.

Servers lock accounts that sign in again and again.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import structlog

from services.mail.providers.imap.client.commands import command
from services.mail.providers.imap.client.connection import Connection
from services.mail.providers.imap.client.errors import ImapError
from services.mail.providers.imap.client.login import log_out
from services.mail.providers.imap.session import ImapSession, Open

# Seconds without use after which it is asked whether the server is still there: networks drop quiet connections.
_DOUBTFUL: Final = 20.0
_SWEEP_SECONDS: Final = 5.0
_LOGOUT_SECONDS: Final = 2.0

log = structlog.get_logger()


@dataclass(slots=True)
class _Held:
    """The connection of a mailbox, used by one session at a time."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    connection: Connection | None = None
    used_at: float = 0.0
    waiting: int = 0


class _Lent:
    """The right of one session to a mailbox's connection."""

    def __init__(self, held: _Held, dial: Open) -> None:
        self._held = held
        self._dial = dial

    async def connection(self) -> Connection:
        """Return the connection, or a new one if it is lost. Raises what dialing raises."""
        held = self._held
        if held.connection is not None and held.connection.is_open and time.monotonic() - held.used_at > _DOUBTFUL:
            await _probe(held.connection)
        if held.connection is None or not held.connection.is_open:
            held.connection = None
            held.connection = await self._dial()
        held.used_at = time.monotonic()
        return held.connection


async def _probe(connection: Connection) -> None:
    """Close the connection if its server does not answer."""
    try:
        await connection.run(command("NOOP"))
    except ImapError as error:
        log.debug("a kept connection is lost", error=type(error).__name__)
        connection.close()


class Connections:
    """Lends each mailbox's connection, and closes those without work for `keep_seconds`."""

    def __init__(self, *, keep_seconds: float) -> None:
        self._keep_seconds = keep_seconds
        self._held: dict[int, _Held] = {}

    @asynccontextmanager
    async def session(self, mailbox_id: int, dial: Open) -> AsyncIterator[ImapSession]:
        """Yield a session that takes the mailbox's connection with its first command, and has it until its end."""
        async with AsyncExitStack() as stack:
            lent: _Lent | None = None

            async def connection() -> Connection:
                nonlocal lent
                if lent is None:
                    lent = await stack.enter_async_context(self._lend(mailbox_id, dial))
                return await lent.connection()

            yield ImapSession(connection, apart=dial)

    @asynccontextmanager
    async def _lend(self, mailbox_id: int, dial: Open) -> AsyncIterator["_Lent"]:
        """Wait until no other session has the mailbox's connection; keep it afterwards."""
        held = self._held.setdefault(mailbox_id, _Held())
        held.waiting += 1
        try:
            async with held.lock:
                yield _Lent(held, dial)
                held.used_at = time.monotonic()
        finally:
            held.waiting -= 1

    @asynccontextmanager
    async def sweeping(self) -> AsyncIterator[None]:
        """Close unused connections while the block lasts, and all of them at its end."""
        task = asyncio.create_task(self._sweep())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            held, self._held = list(self._held.values()), {}
            await asyncio.gather(*(_close(each) for each in held))

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = time.monotonic()
            unused = [
                mailbox_id
                for mailbox_id, held in self._held.items()
                if not held.waiting and now - held.used_at > self._keep_seconds
            ]
            for mailbox_id in unused:
                await _close(self._held.pop(mailbox_id))


async def _close(held: _Held) -> None:
    if held.connection is None:
        return
    try:
        async with asyncio.timeout(_LOGOUT_SECONDS):
            await log_out(held.connection)
    except TimeoutError:
        held.connection.close()
