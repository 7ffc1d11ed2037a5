"""The connections of a process: one for each mailbox, kept across sessions.

Servers lock accounts that sign in again and again. Between the sessions of a worker a connection idles.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import structlog

from services.kit.periodic import PeriodicTask, repeated
from services.mail.providers.imap.client.commands import command
from services.mail.providers.imap.client.connection import Connection
from services.mail.providers.imap.client.errors import ImapError
from services.mail.providers.imap.client.login import log_out
from services.mail.providers.imap.session import ImapSession, Open
from services.mail.store.connection import reason_if_lost

# Seconds without use after which it is asked whether the server is still there: networks drop quiet connections.
_DOUBTFUL: Final = 20.0
_LOGOUT_SECONDS: Final = 2.0

log = structlog.get_logger()

# Uses a connection while no session does, until the event is set.
type BetweenSessions = Callable[[int, Connection, asyncio.Event], Coroutine[Any, Any, None]]


class Keeper(Protocol):
    """Decides which connections this process keeps, among all processes."""

    async def keeps(self, mailbox_id: int) -> bool:
        """Return whether this process is to keep the mailbox's connection after a session."""
        ...

    async def renew(self, mailbox_ids: list[int]) -> Collection[int]:
        """Go on keeping these; return those that another process keeps by now. Called every few seconds."""
        ...

    async def gives_up(self, mailbox_ids: list[int]) -> None:
        """Keep these no more."""
        ...


@dataclass(slots=True)
class _Held:
    """The connection of a mailbox, used by one session at a time, and what uses it between them."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    connection: Connection | None = None
    opened_at: float = 0.0
    used_at: float = 0.0
    waiting: int = 0
    between: asyncio.Task[None] | None = None
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def end_between(self, *, seconds: float) -> None:
        """Have the connection for a session again. One over which a command does not end in time is lost."""
        if self.between is not None:
            self.stop.set()
            _, hanging = await asyncio.wait([self.between], timeout=seconds)
            if hanging:
                log.warning("an idle connection does not end its command")
                self.between.cancel()
            await asyncio.gather(self.between, return_exceptions=True)
            self.between = None


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
            held.opened_at = time.monotonic()
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
    """Lends each mailbox's connection, and closes those without work for `keep_seconds`.

    One that is older than `most_seconds` is closed at the end of a session, since other processes can wait for it. With
    a `keeper` at most `most_idling` connections idle between sessions, and these are not closed.
    """

    def __init__(
        self,
        *,
        keep_seconds: float,
        most_seconds: float = math.inf,
        keeper: Keeper | None = None,
        most_idling: int = 0,
        sweep_seconds: float = 5.0,
        stop_seconds: float = 20.0,
    ) -> None:
        """`stop_seconds` are for the end of what uses a connection between sessions; the end of IDLE has ten."""
        self._keep_seconds = keep_seconds
        self._most_seconds = most_seconds
        self._keeper = keeper
        self._most_idling = most_idling
        self._sweep_seconds = sweep_seconds
        self._stop_seconds = stop_seconds
        self._held: dict[int, _Held] = {}

    @asynccontextmanager
    async def session(
        self, mailbox_id: int, dial: Open, *, between: BetweenSessions | None = None
    ) -> AsyncIterator[ImapSession]:
        """Yield a session that takes the mailbox's connection with its first command, and has it until its end.

        `between` uses the connection until the next session.
        """
        async with AsyncExitStack() as stack:
            lent: _Lent | None = None

            async def connection() -> Connection:
                nonlocal lent
                if lent is None:
                    lent = await stack.enter_async_context(self._lend(mailbox_id, dial, between))
                return await lent.connection()

            yield ImapSession(connection)

    @asynccontextmanager
    async def _lend(self, mailbox_id: int, dial: Open, between: BetweenSessions | None) -> AsyncIterator[_Lent]:
        """Wait until no other session has the mailbox's connection; keep it afterwards."""
        held = self._held.setdefault(mailbox_id, _Held())
        held.waiting += 1
        try:
            async with held.lock:
                await held.end_between(seconds=self._stop_seconds)
                try:
                    yield _Lent(held, dial)
                finally:
                    held.used_at = time.monotonic()
                    if held.used_at - held.opened_at > self._most_seconds:
                        await _close(held)
                    elif held.waiting == 1 and held.connection is not None and held.connection.is_open:
                        await self._leave(mailbox_id, held, held.connection, between)
        finally:
            held.waiting -= 1

    async def _leave(
        self, mailbox_id: int, held: _Held, connection: Connection, between: BetweenSessions | None
    ) -> None:
        """Let the connection idle, or close it if another process keeps one."""
        if self._keeper is None or between is None:
            return
        if not await self._keeper.keeps(mailbox_id):
            await _close(held)
        elif connection.has("IDLE") and self._idling() < self._most_idling:
            held.stop = asyncio.Event()
            held.between = asyncio.create_task(between(mailbox_id, connection, held.stop))

    def _idling(self) -> int:
        return sum(held.between is not None and not held.between.done() for held in self._held.values())

    @asynccontextmanager
    async def sweeping(self) -> AsyncIterator[None]:
        """Close unused connections while the block lasts, and all of them at its end."""
        sweeps = PeriodicTask("imap connections", self._sweep_seconds, self._sweep)
        try:
            async with repeated([sweeps], explain=reason_if_lost):
                yield
        finally:
            kept, self._held = self._held, {}
            await asyncio.gather(*(_end(each) for each in kept.values()))
            if self._keeper is not None and kept:
                await self._keeper.gives_up(list(kept))

    async def _sweep(self) -> None:
        unused = {mailbox_id: held for mailbox_id, held in self._held.items() if self._is_unused(held)}
        # A session that begins while they end has a connection of its own.
        for mailbox_id in unused:
            del self._held[mailbox_id]
        await asyncio.gather(*map(_end, unused.values()))
        if self._keeper is not None:
            await self._keeper.gives_up(list(unused.keys() - self._held.keys()))
            lost = await self._keeper.renew(list(self._held))
            await asyncio.gather(*map(self._close_unless_used, lost))

    async def _close_unless_used(self, mailbox_id: int) -> None:
        """Close the connection that idles; a session ends with the question whether to keep it."""
        held = self._held.get(mailbox_id)
        if held is not None and not held.waiting:
            del self._held[mailbox_id]
            await _end(held)

    def _is_unused(self, held: _Held) -> bool:
        if held.waiting or (held.between is not None and not held.between.done()):
            return False
        return time.monotonic() - held.used_at > self._keep_seconds


async def _end(held: _Held) -> None:
    if held.between is not None:
        held.between.cancel()
        await asyncio.gather(held.between, return_exceptions=True)
    await _close(held)


async def _close(held: _Held) -> None:
    connection, held.connection = held.connection, None
    if connection is None:
        return
    try:
        async with asyncio.timeout(_LOGOUT_SECONDS):
            await log_out(connection)
    except TimeoutError:
        connection.close()
