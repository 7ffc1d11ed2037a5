"""Server-sent events. Source: the HTML standard, section 9.2, "Server-sent events"."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, aclosing
from http import HTTPStatus

import structlog
from starlette.types import Send

from services.gateway.errors import from_app_error
from services.gateway.streaming import IDLE_SECONDS, Streamed
from services.kit.errors import AppError

HEARTBEAT = b":\n\n"
"""A comment: it tells proxies and clients that the stream goes on."""

# Proxies such as nginx would keep events back until they have some kilobytes.
_HEADERS = {"content-type": "text/event-stream", "x-accel-buffering": "no"}

log = structlog.get_logger()


def event(name: str, data: bytes, *, event_id: str = "") -> bytes:
    """Return an event. `data` is JSON without line breaks. Clients send the last `event_id` when they connect again."""
    field = f"id: {event_id}\n" if event_id else ""
    return f"event: {name}\n{field}data: ".encode() + data + b"\n\n"


class EventStream(Streamed):
    """A response of events, one at a time: an event is made when the client has taken those before it.

    An error before the first event is a problem like any other; after it, the last event is a `problem`. A client that
    takes nothing for `patience` seconds loses its connection.
    """

    def __init__(
        self,
        events: AsyncGenerator[bytes],
        *,
        share: AbstractAsyncContextManager[None],
        patience: float = IDLE_SECONDS,
    ) -> None:
        super().__init__(share)
        self._events = events
        self._patience = patience

    async def send_all(self, send: Send) -> None:
        """Send the events. Raises AppError before the first one is sent."""
        async with aclosing(self._events) as events:
            first = await anext(events)
            headers = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
            await send({"type": "http.response.start", "status": int(HTTPStatus.OK), "headers": headers})
            try:
                await self._send(send, first)
                async for each in events:
                    await self._send(send, each)
            except AppError as error:
                await self._send(send, event("problem", bytes(from_app_error(error).body)))
            except TimeoutError:
                log.info("ended a stream: its client takes nothing")
                return
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send(self, send: Send, body: bytes) -> None:
        async with asyncio.timeout(self._patience):
            await send({"type": "http.response.body", "body": body, "more_body": True})
