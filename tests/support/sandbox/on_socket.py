"""A sandbox on a socket, in its own thread, for clients that block or run in other processes."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from services.kit.http.server import serve_http
from services.sandbox.app import open_sandbox
from services.sandbox.settings import Settings


class _SandboxThread(threading.Thread):
    def __init__(self, settings: Settings, *, port: int) -> None:
        super().__init__(name="sandbox")
        self._settings = settings
        self._up = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self.port = port

    def run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with (
            open_sandbox(self._settings) as app,
            serve_http(app, host="127.0.0.1", port=self.port) as self.port,
        ):
            self._up.set()
            await self._stop.wait()

    def start_and_wait(self) -> str:
        self.start()
        assert self._up.wait(20)
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        assert self._loop is not None
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self.join(20)
        assert not self.is_alive()


@contextmanager
def sandbox_on_socket(settings: Settings, *, port: int = 0) -> Iterator[str]:
    """Serve a sandbox until the block ends. Yields its base URL."""
    thread = _SandboxThread(settings, port=port)
    yield thread.start_and_wait()
    thread.stop()
