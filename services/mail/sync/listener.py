"""A worker's database connection for triggers, which also proves to other workers that this one lives."""

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable
from uuid import UUID

import asyncpg
import structlog

from services.mail.store.connection import DATABASE_LOST
from services.mail.store.control import schedule, workers
from services.mail.sync.turns.metrics import TurnMetrics

_AGAIN_SECONDS = 1.0
# A connection can die silently: check it at this interval.
PING_SECONDS = 5.0
# To connect, and then to listen and to take the worker's lock.
SETUP_SECONDS = 15.0

log = structlog.get_logger()

type Connect = Callable[[], Awaitable[asyncpg.Connection[asyncpg.Record]]]


class Listener:
    """Listens for triggers. `owner` is the id for claims; None while the liveness connection is down.

    Each connection has its own owner id: the server may take long to notice the end of the last one. `cancelled` is
    called with the id of a mailbox whose sync was cancelled.
    """

    def __init__(
        self,
        connect: Connect,
        *,
        wake: Callable[[], None],
        cancelled: Callable[[int], None],
        metrics: TurnMetrics,
        setup_seconds: float = SETUP_SECONDS,
        ping_seconds: float = PING_SECONDS,
    ) -> None:
        self._connect = connect
        self._wake = wake
        self._cancelled = cancelled
        self._metrics = metrics
        self._setup_seconds = setup_seconds
        self._ping_seconds = ping_seconds
        self.owner: UUID | None = None

    async def listen(self) -> None:
        """Call `wake` at every trigger. Reconnects after losing the database; never returns."""
        while True:
            try:
                await self._listen_until_closed()
            except DATABASE_LOST as error:
                log.warning("listening for triggers failed, nothing is claimed", error=type(error).__name__)
                if isinstance(error, TimeoutError):
                    self._metrics.waits_given_up.labels("listen").inc()
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _listen_until_closed(self) -> None:
        async with asyncio.timeout(self._setup_seconds):
            connection = await self._connect()
        closed = asyncio.Event()
        try:
            connection.add_termination_listener(lambda *_: closed.set())
            owner = uuid.uuid4()
            async with asyncio.timeout(self._setup_seconds):
                await connection.add_listener(schedule.CHANNEL, self._hear)
                await workers.register(connection, owner)
            self.owner = owner
            self._metrics.listening.set(1)
            self._wake()
            while not closed.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(closed.wait(), self._ping_seconds)
                if not closed.is_set():
                    await connection.execute("SELECT 1", timeout=self._ping_seconds)
        finally:
            self.owner = None
            self._metrics.listening.set(0)
            await connection.close(timeout=self._ping_seconds)

    def _hear(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        if payload:
            self._cancelled(int(str(payload)))
        else:
            self._wake()
