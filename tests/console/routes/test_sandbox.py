"""The page that fills a sandbox."""

import random

import httpx

from services.console.app import create_app
from services.console.gateway.client import Gateway
from services.console.settings import ConsoleSettings
from services.kit.api_key import generate
from tests.console.conftest import ORIGIN, Browser
from tests.support.console.fake_gateway import NOW, FakeGateway, usage
from tests.support.console.fake_sandbox import FakeSandbox


async def test_adds_mailboxes_with_mail(browser: Browser, sandbox: FakeSandbox) -> None:
    await browser.get("/sandbox")
    answer = await browser.post("/sandbox/mailboxes", email=" alan@example.com", messages="1000")
    assert answer.headers["location"] == "/sandbox?done=sandbox_filled"
    assert sandbox.mailboxes["alan@example.com"] == 1000


async def test_explains_what_the_sandbox_refuses(browser: Browser) -> None:
    await browser.get("/sandbox")
    answer = await browser.post("/sandbox/mailboxes", email="ada@example.com", messages="100")
    assert (answer.status_code, "the address is taken" in answer.text) == (400, True)


async def test_lets_mail_arrive(browser: Browser, sandbox: FakeSandbox) -> None:
    assert "ada@example.com" in (await browser.get("/sandbox")).text
    await browser.post("/sandbox/messages", email="ada@example.com", count="25")
    await browser.get("/sandbox")
    await browser.post("/sandbox/messages", email="ada@example.com", count="1000000000")
    assert sandbox.mailboxes["ada@example.com"] == 38


async def test_needs_a_session(stranger: Browser) -> None:
    assert (await stranger.get("/sandbox")).headers["location"].startswith("/sign-in")


async def test_is_where_one_can_begin(browser: Browser) -> None:
    browser.gateway.usage = usage(active=0)
    assert 'href="/sandbox">Fill the sandbox' in (await browser.get("/overview")).text


async def test_does_not_exist_without_a_sandbox(gateway: FakeGateway) -> None:
    settings = ConsoleSettings.model_validate({"console_public_url": ORIGIN})
    async with gateway.client() as calls:
        app = create_app(settings, gateway=Gateway(calls), clock=lambda: NOW)
        async with httpx.AsyncClient(base_url=ORIGIN, transport=httpx.ASGITransport(app)) as http:
            browser = Browser(http, gateway, generate(random.Random(1).randbytes), [NOW])
            await browser.sign_in()
            assert (await browser.get("/sandbox")).status_code == 404
            assert 'href="/sandbox"' not in (await browser.get("/overview")).text
