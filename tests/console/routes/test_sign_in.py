"""Signing in with a key."""

import pytest

from tests.console.conftest import Browser


class TestSignIn:
    async def test_leads_back_to_the_page_that_was_wanted(self, stranger: Browser) -> None:
        wanted = await stranger.get("/keys?x=1")
        assert wanted.headers["location"] == "/sign-in?next=/keys%3Fx%3D1"
        form = await stranger.get(wanted.headers["location"])
        assert 'name="next" value="/keys?x=1"' in form.text
        answer = await stranger.post("/sign-in", token=False, key=f" {stranger.key.value}\n", next="/keys?x=1")
        assert (answer.status_code, answer.headers["location"]) == (303, "/keys?x=1")

    @pytest.mark.parametrize("elsewhere", ["//evil.example", "https://evil.example", "/\\evil.example", "/\r\nx", "x"])
    async def test_leads_nowhere_else(self, stranger: Browser, elsewhere: str) -> None:
        answer = await stranger.post("/sign-in", token=False, key=stranger.key.value, next=elsewhere)
        assert answer.headers["location"] == "/"

    async def test_tells_a_typo_without_asking_the_gateway(self, stranger: Browser) -> None:
        answer = await stranger.sign_in(stranger.key.value[:-1] + "!")
        assert answer.status_code == 401
        assert "The key has a typo" in answer.text
        assert stranger.gateway.requests == []

    async def test_refuses_a_key_that_the_gateway_refuses_and_never_shows_it(self, stranger: Browser) -> None:
        stranger.gateway.refusals["/mailboxes"] = (401, "invalid_api_key")
        answer = await stranger.sign_in()
        assert (answer.status_code, dict(stranger.http.cookies)) == (401, {})
        assert stranger.key.value not in answer.text

    async def test_takes_a_key_that_may_not_list_mailboxes(self, stranger: Browser) -> None:
        stranger.gateway.refusals["/mailboxes"] = (403, "insufficient_scope")
        assert (await stranger.sign_in()).status_code == 303
        page = await stranger.get("/mailboxes")
        assert page.status_code == 403
        assert "This key may not do that" in page.text

    async def test_says_when_the_gateway_is_out_of_reach(self, stranger: Browser) -> None:
        stranger.gateway.refusals["/mailboxes"] = (503, "service_unavailable")
        answer = await stranger.sign_in()
        assert answer.status_code == 502
        assert "A part of Mailroom does not answer" in answer.text

    async def test_ends_the_session_before(self, browser: Browser) -> None:
        [(name, former)] = browser.http.cookies.items()
        await browser.sign_in()
        [(_, present)] = browser.http.cookies.items()
        assert (await browser.get("/mailboxes")).status_code == 200
        browser.http.cookies.clear()
        browser.http.cookies.set(name, former)
        assert (await browser.get("/mailboxes")).status_code == 303
        assert present != former

    async def test_begins_a_session_of_its_own_whatever_cookie_was_there(self, stranger: Browser) -> None:
        stranger.http.cookies.set("console", "planted")
        answer = await stranger.sign_in()
        assert answer.headers["set-cookie"].startswith("console=")
        assert "planted" not in answer.headers["set-cookie"]


class TestStrangers:
    @pytest.mark.parametrize("path", ["/", "/mailboxes", "/mail", "/keys", "/api", "/messages/x/frame"])
    async def test_see_no_page(self, stranger: Browser, path: str) -> None:
        answer = await stranger.get(path)
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/sign-in")
        assert stranger.gateway.requests == []

    async def test_who_follow_a_link_of_another_site_ask_once_more_with_their_cookie(self, stranger: Browser) -> None:
        answer = await stranger.get("/keys?a=%22%3E", **{"sec-fetch-site": "cross-site"})
        assert answer.status_code == 200
        assert '<meta http-equiv="refresh" content="0">' in answer.text
        assert '"/keys?a=%22%3E"' in answer.text


class TestShortcuts:
    async def test_are_switched_off_and_stay_off(self, browser: Browser) -> None:
        assert "data-no-shortcuts" not in (await browser.get("/mailboxes")).text
        await browser.post("/shortcuts", shortcuts="off", back="/keys")
        assert "data-no-shortcuts" in (await browser.get("/mailboxes")).text

    async def test_are_on_or_off_and_nothing_else(self, browser: Browser) -> None:
        await browser.get("/mailboxes")
        answer = await browser.post("/shortcuts", shortcuts="x; Domain=evil.example", back="//evil.example")
        assert answer.headers["location"] == "/"
        [cookie] = answer.headers.get_list("set-cookie")
        assert cookie.startswith("shortcuts=on;")


class TestSignedIn:
    async def test_shows_how_the_state_is_redeemed(self, stranger: Browser) -> None:
        page = (await stranger.get("/signed-in?state=abc123")).text
        assert "curl -s http://api.example.com/auth/token" in page
        assert "abc123" in page
        assert "Authorization" not in page

    async def test_explains_an_error(self, stranger: Browser) -> None:
        assert "The user refused" in (await stranger.get("/signed-in?error=access_denied")).text

    async def test_shows_what_it_got_as_text(self, stranger: Browser) -> None:
        attack = "<script>alert(1)</script>"
        assert attack not in (await stranger.get(f"/signed-in?state={attack}")).text
