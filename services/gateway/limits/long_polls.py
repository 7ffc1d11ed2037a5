"""Calls that wait for a change."""

import asyncio
from typing import Protocol

from grpc import aio

from services.gateway.caller import Caller
from services.gateway.limits.shares import CallerShare
from services.gateway.revocations import Revocations
from services.kit.rpc.client import DEFAULT_TIMEOUT, call

# Open calls of a user, such as one per tab of a browser, and of all users.
POLLS_PER_USER = 16
MOST_POLLS = 512


class _Waiting(Protocol):
    wait_seconds: int


class LongPolls:
    """Long polls of this process. Once it stops, they return the present state at once.

    They end when the key or the session of their caller ends.
    """

    def __init__(self, stop: asyncio.Event, *, revocations: Revocations) -> None:
        self._stop = stop
        self._revocations = revocations
        self._share = CallerShare(MOST_POLLS, per_user=POLLS_PER_USER, work="requests with Prefer: wait are open")

    async def ask[Request: _Waiting, Response](
        self, method: aio.UnaryUnaryMultiCallable[Request, Response], request: Request, *, caller: Caller
    ) -> Response:
        """Call a method that responds after `request.wait_seconds` at the latest.

        Raises AppError; too_many_requests if the user has too many such calls open.
        """
        if not request.wait_seconds:
            return await call(method, request)
        async with self._share.of(caller):
            return await self.wait(method, request, caller=caller)

    @property
    def are_over(self) -> bool:
        """Whether the process stops."""
        return self._stop.is_set()

    async def wait[Request: _Waiting, Response](
        self, method: aio.UnaryUnaryMultiCallable[Request, Response], request: Request, *, caller: Caller
    ) -> Response:
        """Call a method as `ask` does, within a share of the caller's own. Raises AppError."""
        asking = asyncio.create_task(call(method, request, timeout=request.wait_seconds + DEFAULT_TIMEOUT))
        stopping = asyncio.create_task(self._stop.wait())
        ending = asyncio.create_task(self._revocations.until_ended(caller))
        try:
            await asyncio.wait({asking, stopping, ending}, return_when=asyncio.FIRST_COMPLETED)
            if asking.done():
                return asking.result()
            if ending.done():
                raise ending.result()
        finally:
            for task in (asking, stopping, ending):
                task.cancel()
        request.wait_seconds = 0
        return await call(method, request)
