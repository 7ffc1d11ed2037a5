"""A new sandbox per test, without a socket and without mail."""

from collections.abc import AsyncIterator

import httpx
import pytest

from services.sandbox.app import open_sandbox
from services.sandbox.clock import Clock
from services.sandbox.settings import Settings
from tests.support.sandbox.harness import ISSUER, SandboxClient
from tests.support.sandbox.key_ring import next_key


@pytest.fixture
async def sandbox() -> AsyncIterator[SandboxClient]:
    """Ada and Grace, no messages, the default client, any redirect URI of this machine."""
    clock = Clock()
    async with (
        open_sandbox(Settings(sandbox_enabled=True, messages=0), clock=clock, new_key=next_key) as app,
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ISSUER) as http,
    ):
        yield SandboxClient(http, clock)
