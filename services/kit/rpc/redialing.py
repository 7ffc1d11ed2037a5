"""A channel whose certificate can change while it is used: later calls use a new connection."""

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, override

import grpc
from grpc import aio

from services.kit.tls.identity import Pem, WatchedIdentity

LOOK_EVERY = 1.0
# Seconds that calls under way have to end on the old connection: as long as a stream may take.
GRACE = 3600.0

type Dial = Callable[[Pem], aio.Channel]
type Make = Callable[[aio.Channel], Any]


class RedialingChannel(aio.Channel):
    """A channel for unary and server-streaming calls, which uses the newest channel that `dial` made.

    Calls look for changed certificate files, once a second at most.
    """

    def __init__(self, dial: Dial, identity: WatchedIdentity, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._dial = dial
        self._identity = identity
        self._clock = clock
        self._look_at = clock() + LOOK_EVERY
        self._channel = dial(identity.pem)
        self._ending: set[asyncio.Task[None]] = set()

    def current(self) -> aio.Channel:
        """Return the channel for a new call."""
        now = self._clock()
        if now >= self._look_at:
            self._look_at = now + LOOK_EVERY
            if self._identity.has_changed():
                self._redial()
        return self._channel

    def _redial(self) -> None:
        ending = asyncio.get_running_loop().create_task(_end(self._channel))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        self._channel = self._dial(self._identity.pem)

    @override
    def unary_unary(self, method: str, *arguments: Any, **keywords: Any) -> Any:
        return _Redialed(self, lambda channel: channel.unary_unary(method, *arguments, **keywords))

    @override
    def unary_stream(self, method: str, *arguments: Any, **keywords: Any) -> Any:
        return _Redialed(self, lambda channel: channel.unary_stream(method, *arguments, **keywords))

    @override
    def stream_unary(self, method: str, *_: Any, **__: Any) -> Any:
        raise NotImplementedError(method)

    @override
    def stream_stream(self, method: str, *_: Any, **__: Any) -> Any:
        raise NotImplementedError(method)

    @override
    async def close(self, grace: float | None = None) -> None:
        for ending in self._ending:
            ending.cancel()
        await asyncio.gather(*self._ending, self._channel.close(grace), return_exceptions=True)

    @override
    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._channel.get_state(try_to_connect)

    @override
    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._channel.wait_for_state_change(last_observed_state)

    @override
    async def channel_ready(self) -> None:
        await self._channel.channel_ready()

    @override
    async def __aenter__(self) -> Self:
        return self

    @override
    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        await self.close()


async def _end(channel: aio.Channel) -> None:
    """Close the channel when its calls have ended, or at once when cancelled."""
    try:
        await channel.close(GRACE)
    finally:
        await channel.close()


class _Redialed:
    """A method of the current channel; called as gRPC's multi-callables are."""

    def __init__(self, channel: RedialingChannel, make: Make) -> None:
        self._channel = channel
        self._make = make
        self._made_of: aio.Channel | None = None
        self._method: Any = None

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        channel = self._channel.current()
        if channel is not self._made_of:
            self._made_of, self._method = channel, self._make(channel)
        return self._method(*arguments, **keywords)
