"""The sandbox on a socket, in its own thread: Google's client blocks."""

import asyncio
import itertools
import threading
from collections.abc import Callable, Iterator

import pytest

from services.kit.http.server import serve_http
from services.sandbox.app import open_sandbox
from services.sandbox.settings import Settings
from tests.support.contract.discovery import Discovery
from tests.support.contract.google_client import GoogleClient

NewClient = Callable[..., GoogleClient]


class _SandboxThread(threading.Thread):
    def __init__(self, settings: Settings) -> None:
        super().__init__(name="sandbox")
        self._settings = settings
        self._up = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self.port = 0

    def run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with open_sandbox(self._settings) as app, serve_http(app, host="127.0.0.1", port=0) as self.port:
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


@pytest.fixture(scope="session")
def discovery() -> Discovery:
    """The discovery document that the client package ships."""
    return Discovery()


@pytest.fixture(scope="session")
def sandbox_url() -> Iterator[str]:
    """A sandbox whose quota never binds: its window is a millisecond."""
    thread = _SandboxThread(Settings(sandbox_enabled=True, users=(), messages=0, quota_window=0.001))
    yield thread.start_and_wait()
    thread.stop()


@pytest.fixture(scope="session")
def new_client(sandbox_url: str, discovery: Discovery) -> Iterator[NewClient]:
    """Factory of clients, each for a new user: `new_client(messages=.., scope=.., ugly=..)`."""
    numbers = itertools.count(1)
    clients: list[GoogleClient] = []

    def make(*, messages: int = 0, scope: str = "https://mail.google.com/", ugly: bool = False) -> GoogleClient:
        email = f"user{next(numbers)}@example.com"
        client = GoogleClient(sandbox_url, discovery, email=email, scope=scope)
        clients.append(client)
        client.control("POST", "/users", {"email": email, "messages": messages, "ugly": ugly})
        client.sign_in()
        return client

    yield make
    for client in clients:
        client.close()


@pytest.fixture(scope="session")
def reader(new_client: NewClient) -> GoogleClient:
    """A mailbox of 216 messages, a sixth of them malformed, that no test changes."""
    return new_client(messages=216, ugly=True)


@pytest.fixture
def writer(new_client: NewClient) -> GoogleClient:
    """A mailbox of 20 messages for one test."""
    return new_client(messages=20)
