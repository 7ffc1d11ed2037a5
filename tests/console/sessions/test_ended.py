"""Sessions that were signed out stay so over a restart of the console."""

import random
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from services.console.app import create_app
from services.console.gateway.client import Gateway
from services.console.sessions.ended import EndedSessions
from services.console.settings import ConsoleSettings
from services.kit.api_key import generate
from tests.console.conftest import ORIGIN, Browser
from tests.support.console.fake_gateway import NOW, FakeGateway


async def test_a_restart_lets_no_cookie_in_that_was_signed_out(tmp_path: Path) -> None:
    settings = ConsoleSettings.model_validate(
        {
            "console_public_url": ORIGIN,
            "console_secret_key": "s" * 32,
            "console_ended_sessions_file": tmp_path / "ended.json",
        }
    )
    gateway = FakeGateway()
    async with gateway.client() as calls:

        def begun() -> httpx.AsyncClient:
            app = create_app(settings, gateway=Gateway(calls), clock=lambda: NOW)
            return httpx.AsyncClient(base_url=ORIGIN, transport=httpx.ASGITransport(app))

        async with begun() as before, begun() as thief:
            owner = Browser(before, gateway, generate(random.Random(1).randbytes), [NOW])
            await owner.sign_in()
            thief.cookies.update(before.cookies)
            await owner.get("/mailboxes")
            await owner.post("/sign-out")
            assert (await thief.get("/mailboxes")).status_code == 200
            async with begun() as restarted:
                restarted.cookies.update(thief.cookies)
                assert (await restarted.get("/mailboxes")).status_code == 303


def test_those_whose_cookies_are_worth_nothing_are_dropped_from_the_file(tmp_path: Path) -> None:
    now = [NOW]
    ended = EndedSessions(clock=lambda: now[0], file=tmp_path / "ended.json")
    ended.add({"first": NOW + 1})
    now[0] += 2
    ended.add({"second": NOW + 9})
    assert EndedSessions(clock=lambda: NOW, file=tmp_path / "ended.json").all() == {"second": NOW + 9}


@pytest.mark.parametrize("content", ["[", "[]", '{"id": "soon"}'])
def test_a_file_that_holds_something_else_is_written_anew(tmp_path: Path, content: str) -> None:
    file = tmp_path / "ended.json"
    file.write_text(content)
    ended = EndedSessions(clock=lambda: NOW, file=file)
    assert ended.all() == {}
    ended.add({"id": NOW + 1})
    assert EndedSessions(clock=lambda: NOW, file=file).all() == {"id": NOW + 1}


def test_a_file_that_cannot_be_written_is_logged_and_the_process_remembers(tmp_path: Path) -> None:
    ended = EndedSessions(clock=lambda: NOW, file=tmp_path / "missing" / "ended.json")
    with capture_logs() as logs:
        ended.add({"id": NOW + 1})
    assert "id" in ended
    assert [line["event"] for line in logs] == ["ended sessions cannot be written"]
