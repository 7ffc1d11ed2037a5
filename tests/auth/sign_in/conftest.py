"""The sandbox as an identity provider without OpenID Connect."""

from collections.abc import AsyncIterator

import httpx
import pytest

from deploy.local.ports import Ports
from services.kit.http.server import serve_http
from services.sandbox.app import open_sandbox
from services.sandbox.settings import Settings
from tests.support.auth.yandex_browser import CALLBACKS, Browser


@pytest.fixture(scope="module")
async def yandex_origin(ports: Ports) -> AsyncIterator[str]:
    """The sandbox with Yandex ID on a socket."""
    port = ports.free()
    origin = f"http://127.0.0.1:{port}"
    # Redirects go to the public address of the tests' service.
    callbacks = tuple(f"{CALLBACKS}/{provider}/callback" for provider in ("yandex", "made-up"))
    settings = Settings(sandbox_enabled=True, public_url=origin, redirect_uris=callbacks, users=(), messages=0)
    async with open_sandbox(settings) as app, serve_http(app, host="127.0.0.1", port=port):
        yield origin


@pytest.fixture
async def browser(yandex_origin: str) -> AsyncIterator[Browser]:
    """A browser at a sandbox without faults."""
    async with httpx.AsyncClient() as http:
        browser = Browser(http, yandex_origin)
        yield browser
        await browser.control("DELETE", "faults")
