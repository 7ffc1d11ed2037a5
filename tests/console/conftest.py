"""A console over a gateway that holds state, and a browser of it."""

import random
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx
import pytest

from services.console.app import create_app
from services.console.gateway.client import Gateway
from services.console.gateway.sandbox import Sandbox
from services.console.settings import ConsoleSettings
from services.kit.api_key import ApiKeyText, generate
from tests.support.console.fake_gateway import NOW, FakeGateway
from tests.support.console.fake_sandbox import FakeSandbox

ORIGIN = "http://localhost:8001"


@dataclass
class Browser:
    """A browser with cookies; `clock` holds the time at the console."""

    http: httpx.AsyncClient
    gateway: FakeGateway
    key: ApiKeyText
    clock: list[float]
    pages: list[httpx.Response] = field(default_factory=list)

    async def get(self, path: str, **headers: str) -> httpx.Response:
        """Open a page."""
        self.pages.append(await self.http.get(path, headers=headers))
        return self.pages[-1]

    async def post(self, path: str, *, token: bool = True, site: str = "same-origin", **fields: str) -> httpx.Response:
        """Send a form of the page that was opened last."""
        if token:
            [found] = set(re.findall(r'name="form_token" value="([^"]+)"', self.pages[-1].text))
            fields["form_token"] = found
        return await self.http.post(path, data=fields, headers={"sec-fetch-site": site})

    async def sign_in(self, key: str = "") -> httpx.Response:
        """Sign in with the key."""
        return await self.post("/sign-in", token=False, key=key or self.key.value)


def message_of(page: httpx.Response) -> str:
    """Return the message of a page that says what a form has done, with its form."""
    [message] = re.findall(r'<div class="toast">(.*?)</div>', page.text, re.DOTALL)
    return str(message)


@pytest.fixture
def gateway() -> FakeGateway:
    """A gateway with a mailbox."""
    return FakeGateway()


@pytest.fixture
def sandbox() -> FakeSandbox:
    """A sandbox with a mailbox."""
    return FakeSandbox()


@pytest.fixture
async def stranger(gateway: FakeGateway, sandbox: FakeSandbox) -> AsyncIterator[Browser]:
    """A browser without a session."""
    clock = [NOW]
    settings = ConsoleSettings(_env_file=None, console_public_url=ORIGIN, public_url="http://api.example.com")  # type: ignore[call-arg]  # pydantic-settings' own argument
    async with gateway.client() as calls, sandbox.client() as control:
        app = create_app(settings, gateway=Gateway(calls), sandbox=Sandbox(control), clock=lambda: clock[0])
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(base_url=ORIGIN, transport=transport) as http:
            yield Browser(http, gateway, generate(random.Random(1).randbytes), clock)


@pytest.fixture
async def browser(stranger: Browser) -> Browser:
    """A browser that is signed in."""
    answer = await stranger.sign_in()
    assert answer.status_code == 303
    return stranger
