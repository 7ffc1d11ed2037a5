"""Calls that wait for a change."""

import asyncio
from typing import Protocol

from grpc import aio

from services.kit.rpc.client import DEFAULT_TIMEOUT, call


class _Waiting(Protocol):
    wait_seconds: int


class LongPolls:
    """Long polls of this process. Once it stops, they return the present state at once."""

    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop

    async def ask[Request: _Waiting, Response](
        self, method: aio.UnaryUnaryMultiCallable[Request, Response], request: Request
    ) -> Response:
        """Call a method that responds after `request.wait_seconds` at the latest. Raises AppError."""
        if not request.wait_seconds:
            return await call(method, request)
        asking = asyncio.create_task(call(method, request, timeout=request.wait_seconds + DEFAULT_TIMEOUT))
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({asking, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if asking.done():
                return asking.result()
        finally:
            asking.cancel()
            stopping.cancel()
        request.wait_seconds = 0
        return await call(method, request)
