"""Connecting a mailbox from the console."""

import pytest

from tests.console.conftest import Browser
from tests.support.console.fake_gateway import MAILBOX

COMPLETE = "/connect/sessions/connection-1/complete"
END = "/connect/done?session=connection-1&code=c0de"


async def begin(browser: Browser) -> str:
    """Begin a connect session; return the page that leads on."""
    await browser.get("/connect")
    return (await browser.post("/connect", user=" 42 ")).text


class TestBeginning:
    async def test_leads_to_the_page_of_the_session(self, browser: Browser) -> None:
        page = await begin(browser)
        assert 'href="http://api.example.com/connect?x=1"' in page
        assert browser.gateway.bodies("POST", "/connect/sessions") == [
            {"external_user_id": "42", "redirect_url": "http://localhost:8001/connect/done"}
        ]

    async def test_says_how_an_operator_allows_it(self, browser: Browser) -> None:
        browser.gateway.refusals["/connect/sessions"] = (400, "invalid_redirect_url")
        page = await begin(browser)
        assert "--redirect-url http://localhost:8001/connect/done" in page
        assert 'value="42"' in page


class TestEnd:
    async def test_attaches_nothing_before_a_person_says_so(self, browser: Browser) -> None:
        await begin(browser)
        assert "One step left" in (await browser.get(END)).text
        assert browser.gateway.bodies("POST", COMPLETE) == []
        answer = await browser.post("/connect/done", session="connection-1", code="c0de")
        assert answer.headers["location"] == f"/mailboxes/{MAILBOX}?done=connect"
        assert browser.gateway.bodies("POST", COMPLETE) == [{"code": "c0de"}]

    @pytest.mark.parametrize("begun", [True, False])
    async def test_of_another_browsers_connection_attaches_nothing(self, browser: Browser, *, begun: bool) -> None:
        if begun:
            await begin(browser)
        elsewhere = "/connect/done?session=connection-2&code=c0de"
        page = await browser.get(elsewhere)
        assert (page.status_code, "This connection was not begun here" in page.text) == (403, True)
        await browser.get("/keys")
        answer = await browser.post("/connect/done", session="connection-2", code="c0de")
        assert answer.status_code == 403
        assert not [each for each in browser.gateway.requests if each.url.path.endswith("/complete")]

    async def test_that_failed_says_why(self, browser: Browser) -> None:
        await begin(browser)
        page = await browser.get("/connect/done?session=connection-1&error=missing_scope")
        assert "Access to mail was not ticked" in page.text
        assert "Begin again" in (await browser.get("/connect/done?session=connection-1&error=new")).text

    async def test_serves_once(self, browser: Browser) -> None:
        await begin(browser)
        await browser.get(END)
        await browser.post("/connect/done", session="connection-1", code="c0de")
        assert (await browser.get(END)).status_code == 403
