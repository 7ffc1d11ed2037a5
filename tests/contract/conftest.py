"""Clients of Google's own package against the sandbox."""

from collections.abc import Callable, Iterator

import pytest

from services.sandbox.settings import Settings
from tests.support.contract.discovery import Discovery
from tests.support.contract.google_client import GoogleClient
from tests.support.own_addresses import own_address
from tests.support.sandbox.on_socket import sandbox_on_socket

NewClient = Callable[..., GoogleClient]


@pytest.fixture(scope="session")
def discovery() -> Discovery:
    """The discovery document that the client package ships."""
    return Discovery()


@pytest.fixture(scope="session")
def sandbox_url() -> Iterator[str]:
    """A sandbox whose quota never binds: its window is a millisecond."""
    with sandbox_on_socket(Settings(sandbox_enabled=True, users=(), messages=0, quota_window=0.001)) as url:
        yield url


@pytest.fixture(scope="session")
def new_client(sandbox_url: str, discovery: Discovery) -> Iterator[NewClient]:
    """Factory of clients, each for a new user: `new_client(messages=.., scope=.., ugly=..)`."""
    clients: list[GoogleClient] = []

    def make(
        *, messages: int = 0, scope: str = "https://mail.google.com/", ugly: bool = False, email: str = ""
    ) -> GoogleClient:
        email = email or own_address({client.email for client in clients})
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
    return new_client(messages=216, ugly=True, email="reader@example.com")


@pytest.fixture
def writer(new_client: NewClient) -> GoogleClient:
    """A mailbox of 20 messages for one test."""
    return new_client(messages=20)
