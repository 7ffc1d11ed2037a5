"""Streams from another service: messages, silent peers, and callers that leave early."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc import aio

from services.kit.errors import AppError, Kind
from services.kit.rpc.client import open_channel, stream
from services.kit.rpc.server import serve_rpc
from tests.support.kit.service import CALLERS


class Source:
    """A service that streams its parts; for None it hangs."""

    def __init__(self, *parts: bytes | AppError | None) -> None:
        self._parts = parts
        self.cancelled = asyncio.Event()

    async def read(self, _: bytes, __: aio.ServicerContext[Any, Any]) -> AsyncIterator[bytes]:
        try:
            for part in self._parts:
                if isinstance(part, AppError):
                    raise part
                if part is None:
                    await asyncio.Event().wait()
                else:
                    yield part
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    def register(self, server: aio.Server) -> None:
        handler: grpc.RpcMethodHandler[Any, Any] = grpc.unary_stream_rpc_method_handler(self.read)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Source", {"Read": handler}),))


@asynccontextmanager
async def method(source: Source) -> AsyncIterator[Any]:
    """The client's side of a served source."""
    async with (
        serve_rpc(host="127.0.0.1", port=0, register=[source.register], callers=CALLERS, identity=None) as port,
        open_channel(f"127.0.0.1:{port}", peer="auth", identity=None, retried=[]) as channel,
    ):
        yield channel.unary_stream("/test.Source/Read")


class TestStream:
    async def test_yields_all_messages(self) -> None:
        async with method(Source(b"a", b"", b"c")) as read:
            assert [part async for part in stream(read, b"")] == [b"a", b"", b"c"]

    async def test_raises_the_error_of_the_peer_after_the_messages_before_it(self) -> None:
        async with method(Source(b"a", AppError(Kind.GONE, "message_gone", "Gone."))) as read:
            parts = stream(read, b"")
            assert await anext(parts) == b"a"
            with pytest.raises(AppError, match="message_gone"):
                await anext(parts)

    @pytest.mark.parametrize("parts", [(None,), (b"a", None)])
    async def test_gives_up_on_a_peer_that_goes_silent(self, parts: tuple[bytes | None, ...]) -> None:
        source = Source(*parts)
        async with method(source) as read:
            with pytest.raises(AppError, match="deadline_exceeded"):
                [part async for part in stream(read, b"", first_seconds=0.3, idle_seconds=0.3)]
            async with asyncio.timeout(30):
                await source.cancelled.wait()

    async def test_ends_the_call_when_it_is_left_early(self) -> None:
        source = Source(b"a", None)
        async with method(source) as read:
            async with aclosing(stream(read, b"")) as parts:
                assert await anext(parts) == b"a"
            async with asyncio.timeout(30):
                await source.cancelled.wait()
