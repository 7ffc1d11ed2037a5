"""Signing out at one process of the console holds at all."""

import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest
from fastapi import FastAPI
from pydantic import ValidationError

from services.console.app import create_app
from services.console.gateway.client import Gateway
from services.console.sessions.ended import EndedSessions, EndedSessionsCipher
from services.console.sessions.peers import PATH, Peers, addresses_of
from services.console.settings import ConsoleSettings
from services.kit.api_key import generate
from tests.console.conftest import ORIGIN, Browser
from tests.support.console.fake_gateway import NOW, FakeGateway

SECRET = "s" * 32


class Network(httpx.AsyncBaseTransport):
    """Two processes behind one name; those of `down` do not answer."""

    def __init__(self) -> None:
        self.apps: dict[str, FastAPI] = {}
        self.down: set[str] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        app = self.apps.get(request.url.host)
        if app is None or request.url.host in self.down:
            raise httpx.ConnectError("refused")
        return await httpx.ASGITransport(app).handle_async_request(request)

    async def addresses(self) -> list[str]:
        return [f"http://{host}" for host in ("first", "second")]


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    network = Network()
    settings = ConsoleSettings.model_validate(
        {"console_public_url": ORIGIN, "console_secret_key": SECRET, "console_peers": "console:8001"}
    )
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(httpx.AsyncClient(transport=network))
        for host in ("first", "second"):
            calls = await stack.enter_async_context(FakeGateway().client())
            app = create_app(
                settings,
                gateway=Gateway(calls),
                peer_client=client,
                resolve=network.addresses,
                clock=lambda: NOW,
            )
            network.apps[host] = app
        yield network


@pytest.fixture
async def browsers(network: Network) -> AsyncIterator[tuple[Browser, Browser]]:
    """A browser at the first process, and a thief of its cookie at the second."""
    async with AsyncExitStack() as stack:
        first, second = [
            Browser(
                await stack.enter_async_context(
                    httpx.AsyncClient(base_url=ORIGIN, transport=httpx.ASGITransport(network.apps[host]))
                ),
                FakeGateway(),
                generate(random.Random(1).randbytes),
                [NOW],
            )
            for host in ("first", "second")
        ]
        await first.sign_in()
        second.http.cookies.update(first.http.cookies)
        yield first, second


class TestSignOut:
    async def test_at_one_process_holds_at_the_other(self, browsers: tuple[Browser, Browser]) -> None:
        owner, thief = browsers
        assert (await thief.get("/mailboxes")).status_code == 200
        await owner.get("/mailboxes")
        await owner.post("/sign-out")
        assert (await thief.get("/mailboxes")).status_code == 303

    async def test_is_told_to_a_process_that_was_away(
        self, browsers: tuple[Browser, Browser], network: Network
    ) -> None:
        owner, thief = browsers
        network.down.add("second")
        await owner.get("/mailboxes")
        assert (await owner.post("/sign-out")).status_code == 303
        assert (await thief.get("/mailboxes")).status_code == 200
        network.down.clear()
        # Whichever of the two speaks first.
        await network.apps["second"].state.console.peers.exchange()
        assert (await thief.get("/mailboxes")).status_code == 303


class TestMessage:
    async def test_of_a_stranger_is_refused(self, network: Network) -> None:
        app = network.apps["first"]
        async with httpx.AsyncClient(base_url=ORIGIN, transport=httpx.ASGITransport(app)) as http:
            for message in (b"", b"x" * 100, EndedSessionsCipher("t" * 32).encrypt({"id": NOW + 9})):
                assert (await http.post(PATH, content=message)).status_code == 403
            assert (await http.post(PATH, content=b"x" * 1_100_000)).status_code == 413
            own = EndedSessionsCipher(SECRET).encrypt({"id": NOW + 9})
            assert (await http.post(PATH, content=own)).status_code == 200

    async def test_is_none_where_there_are_no_peers(self, stranger: Browser) -> None:
        assert (await stranger.http.post(PATH, content=b"")).status_code == 404

    @pytest.mark.parametrize("ended", [[], {"x": "1"}, {"x": float("inf")}, {"x" * 65: 1.0}])
    def test_that_says_something_else_is_none(self, ended: object) -> None:
        cipher = EndedSessionsCipher(SECRET)
        assert cipher.decrypt(cipher.encrypt(ended)) is None  # type: ignore[arg-type]

    async def test_of_peers_that_cannot_be_found_is_no_failure(self) -> None:
        ended = EndedSessions(clock=lambda: NOW)
        async with httpx.AsyncClient() as http:
            resolve = addresses_of("nowhere.invalid:1")
            await Peers(ended, EndedSessionsCipher(SECRET), http=http, resolve=resolve).exchange()
        assert ended.all() == {}


async def test_a_name_leads_to_every_address_behind_it() -> None:
    assert "http://127.0.0.1:8001" in await addresses_of("localhost:8001")()


def test_sessions_are_remembered_as_long_as_their_cookies_live() -> None:
    now = [NOW]
    ended = EndedSessions(clock=lambda: now[0])
    ended.add({"a": NOW + 10, "gone": NOW - 1})
    assert ("a" in ended, "gone" in ended) == (True, False)
    now[0] += 11
    ended.add({})
    assert ended.all() == {}


@pytest.mark.parametrize("peers", ["console", "http://console:1", "console:x"])
def test_peers_are_a_host_with_a_port(peers: str) -> None:
    with pytest.raises(ValidationError):
        ConsoleSettings.model_validate({"console_peers": peers, "console_secret_key": SECRET})


def test_peers_need_a_secret_that_they_share() -> None:
    with pytest.raises(ValidationError, match="CONSOLE_SECRET_KEY"):
        ConsoleSettings.model_validate({"console_peers": "console:8001"})
