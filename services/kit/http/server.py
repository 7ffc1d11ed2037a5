"""An ASGI server inside a process that has a life cycle of its own."""

import asyncio
import socket
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager
from functools import partial

import uvicorn
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.kit.http.bounded_protocol import BoundedProtocol
from services.kit.http.bounds import Bounds, RenderRefusal, plain_refusal
from services.kit.http.connections import Connections
from services.kit.http.unread import UnreadResponses

DRAIN_SECONDS = 10
# Bytes of a connection that the kernel takes before they are sent: the rest stays here, where it is bounded.
UNSENT_BYTES = 128 * 1024


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    # The process handles signals for all of its servers.
    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()


def _parting(app: ASGIApp, stop: asyncio.Event) -> ASGIApp:
    async def parting(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_parting(message: Message) -> None:
            if stop.is_set() and message["type"] == "http.response.start":
                MutableHeaders(scope=message)["connection"] = "close"
            await send(message)

        await app(scope, receive, send_parting)

    return parting


def _protocol(bounds: Bounds, render: RenderRefusal) -> type[asyncio.Protocol]:
    # uvicorn only calls it.
    return partial(  # type: ignore[return-value]
        BoundedProtocol,
        bounds=bounds,
        open_connections=Connections(bounds),
        unread_responses=UnreadResponses(bounds.unread_bytes),
        render=render,
    )


@asynccontextmanager
async def serve_http(
    app: ASGIApp,
    *,
    host: str,
    port: int,
    stop: asyncio.Event | None = None,
    drain_seconds: int = DRAIN_SECONDS,
    bounds: Bounds | None = None,
    render_refusal: RenderRefusal = plain_refusal,
) -> AsyncIterator[int]:
    """Serve while the block lasts, then drain; yields the port (useful when `port` is 0).

    Once `stop` is set, responses ask their clients to open another connection, which leads to another process. The
    client's address is the socket's: proxy headers are not trusted. Requests beyond the `bounds` are answered with
    `render_refusal`. Raises OSError if the address cannot be bound.
    """
    bounds = (bounds or Bounds()).fitted()
    config = uvicorn.Config(
        app if stop is None else _parting(app, stop),
        http=_protocol(bounds, render_refusal),
        ws="none",
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        timeout_keep_alive=bounds.idle_seconds,
        timeout_graceful_shutdown=drain_seconds,
    )
    server = _Server(config)
    # uvicorn would end the process if the port is taken.
    with socket.create_server((host, port)) as listener:
        # asyncio sets this on sockets that it creates only; without it small responses wait for 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        bound = int(listener.getsockname()[1])
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await server.up.wait()
            yield bound
        finally:
            server.should_exit = True
            await task
