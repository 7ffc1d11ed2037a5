"""Fixtures of the kit's tests."""

import socket
from collections.abc import Iterator

import pytest

from services.kit.context import start_request


@pytest.fixture(autouse=True)
def outside_of_a_request() -> Iterator[None]:
    """Begin and end each test without a deadline, since tests share one context."""
    start_request(request_id=None)
    yield
    start_request(request_id=None)


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A reserved port of this machine without a listener."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]
