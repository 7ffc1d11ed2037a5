"""Serving an ASGI application from inside a process that has its own life cycle."""

import asyncio
import socket
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.types import ASGIApp

DRAIN_SECONDS = 10


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    # The process handles signals itself, for all of its servers at once.
    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()


@asynccontextmanager
async def serve_http(app: ASGIApp, *, host: str, port: int) -> AsyncIterator[int]:
    """Serves until the block is left, then drains; yields the port (useful when `port` is 0).

    Raises OSError if the address cannot be bound. The client's address is the socket's: proxy headers are not trusted.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    server = _Server(config)
    # Bound here, since uvicorn would end the process over a port that is taken.
    with socket.create_server((host, port)) as listener:
        # asyncio sets this only on sockets that it created itself; without it small answers wait for 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        bound = int(listener.getsockname()[1])
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await server.up.wait()
            yield bound
        finally:
            server.should_exit = True
            await task
