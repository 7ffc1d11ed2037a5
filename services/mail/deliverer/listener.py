"""A deliverer's database connection for news: changes in feeds, and endpoints that have something to get."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import asyncpg
import structlog

from services.mail.deliverer.metrics import DelivererMetrics
from services.mail.store.connection import DATABASE_LOST
from services.mail.store.control import feed_heads
from services.mail.store.webhooks import deliveries, endpoints

_AGAIN_SECONDS = 1.0
# A connection can die silently: check it at this interval.
_PING_SECONDS = 5.0
_SETUP_SECONDS = 15.0

log = structlog.get_logger()

type Connect = Callable[[], Awaitable[asyncpg.Connection[asyncpg.Record]]]


class NewsListener:
    """Calls `moved` with the id of a mailbox whose feed has moved, `due` for single deliveries, and else `look`."""

    def __init__(
        self,
        connect: Connect,
        *,
        moved: Callable[[int], None],
        look: Callable[[], None],
        due: Callable[[], None],
        metrics: DelivererMetrics,
    ) -> None:
        self._connect = connect
        self._moved = moved
        self._look = look
        self._due = due
        self._metrics = metrics

    async def listen(self) -> None:
        """Listen; reconnect after losing the database. Never returns."""
        while True:
            try:
                await self._listen_until_closed()
            except DATABASE_LOST as error:
                log.warning("listening for changes failed, they are found later", error=type(error).__name__)
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _listen_until_closed(self) -> None:
        async with asyncio.timeout(_SETUP_SECONDS):
            connection = await self._connect()
        closed = asyncio.Event()
        try:
            connection.add_termination_listener(lambda *_: closed.set())
            async with asyncio.timeout(_SETUP_SECONDS):
                await connection.add_listener(feed_heads.CHANNEL, lambda *news: self._moved(int(str(news[-1]))))
                await connection.add_listener(endpoints.CHANNEL, lambda *_: self._look())
                await connection.add_listener(deliveries.CHANNEL, lambda *_: self._due())
            self._metrics.listening.set(1)
            # What has happened before was not heard.
            self._look()
            while not closed.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(closed.wait(), _PING_SECONDS)
                if not closed.is_set():
                    await connection.execute("SELECT 1", timeout=_PING_SECONDS)
        finally:
            self._metrics.listening.set(0)
            await connection.close(timeout=_PING_SECONDS)
