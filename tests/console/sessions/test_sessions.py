"""Sessions live in encrypted cookies, and end."""

import json
import random

import pytest

from services.console.sessions.session import Session, SessionCipher
from services.kit.api_key import generate
from tests.console.conftest import Browser

KEY = generate(random.Random(2).randbytes)
SESSION = Session(id="s", key=KEY, form_token="f", began=1.0, last_seen=2.0)


class TestCipher:
    def test_decrypts_what_it_encrypted(self) -> None:
        cipher = SessionCipher("a" * 32)
        assert cipher.decrypt(cipher.encrypt(SESSION)) == SESSION

    def test_hides_the_key_and_never_writes_the_same_twice(self) -> None:
        cipher = SessionCipher("a" * 32)
        first, second = cipher.encrypt(SESSION), cipher.encrypt(SESSION)
        assert first != second
        assert KEY.value not in first

    @pytest.mark.parametrize("text", ["", "x", "é", "AAAA" * 30, "=" * 9])
    def test_takes_no_other_text(self, text: str) -> None:
        assert SessionCipher("a" * 32).decrypt(text) is None

    def test_takes_no_text_of_another_secret_and_none_that_was_changed(self) -> None:
        text = SessionCipher("a" * 32).encrypt(SESSION)
        assert SessionCipher("b" * 32).decrypt(text) is None
        for place in range(0, len(text), 7):
            changed = text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]
            assert SessionCipher("a" * 32).decrypt(changed) is None


class TestCookie:
    async def test_is_sent_to_the_console_alone_and_read_by_no_script(self, stranger: Browser) -> None:
        [cookie] = (await stranger.sign_in()).headers.get_list("set-cookie")
        assert {"HttpOnly", "Path=/", "SameSite=strict"} <= set(cookie.split("; "))
        assert stranger.key.value not in cookie

    async def test_of_one_browser_is_no_session_after_it_signed_out(self, browser: Browser) -> None:
        [(name, value)] = browser.http.cookies.items()
        await browser.get("/mailboxes")
        await browser.post("/sign-out")
        assert not browser.http.cookies
        browser.http.cookies.set(name, value)
        assert (await browser.get("/mailboxes")).status_code == 303


class TestEnd:
    async def test_comes_after_half_an_hour_without_a_request(self, browser: Browser) -> None:
        browser.clock[0] += 1799
        assert (await browser.get("/mailboxes")).status_code == 200
        browser.clock[0] += 1799
        assert (await browser.get("/mailboxes")).status_code == 200
        browser.clock[0] += 1801
        answer = await browser.get("/mailboxes")
        assert answer.headers["location"] == "/sign-in?next=/mailboxes"

    async def test_is_not_delayed_by_what_an_open_page_asks_by_itself(self, browser: Browser) -> None:
        mailbox_id = browser.gateway.mailboxes[0]["mailbox_id"]
        for _ in range(20):
            browser.clock[0] += 89
            assert (await browser.get(f"/mailboxes/{mailbox_id}/row", **{"hx-request": "true"})).status_code == 200
        browser.clock[0] += 89
        answer = await browser.get(f"/mailboxes/{mailbox_id}/row", **{"hx-request": "true"})
        assert answer.headers["hx-redirect"] == "/sign-in"

    async def test_comes_after_twelve_hours_in_any_case(self, browser: Browser) -> None:
        for _ in range(28):
            browser.clock[0] += 1500
            assert (await browser.get("/mailboxes")).status_code == 200
        browser.clock[0] += 1200
        assert (await browser.get("/mailboxes")).status_code == 303

    async def test_comes_with_the_end_of_the_key(self, browser: Browser) -> None:
        browser.gateway.refusals["/mailboxes"] = (401, "invalid_api_key")
        answer = await browser.get("/mailboxes")
        assert answer.status_code == 401
        assert "The key is unknown, revoked or expired" in answer.text
        browser.gateway.refusals.clear()
        assert (await browser.get("/mailboxes")).status_code == 303


class TestForms:
    @pytest.mark.parametrize("site", ["cross-site", "same-site", "none"])
    async def test_of_other_sites_change_nothing(self, browser: Browser, site: str) -> None:
        await browser.get("/keys")
        answer = await browser.post("/keys", site=site, name="x")
        assert answer.status_code == 403
        assert browser.gateway.bodies("POST", "/keys") == []

    async def test_without_the_token_of_the_session_change_nothing(self, browser: Browser) -> None:
        answer = await browser.post("/keys", token=False, name="x", form_token="guessed")
        assert answer.status_code == 403
        assert browser.gateway.bodies("POST", "/keys") == []

    async def test_of_browsers_that_say_no_site_need_the_origin(self, stranger: Browser) -> None:
        fields = {"key": stranger.key.value}
        assert (await stranger.http.post("/sign-in", data=fields)).status_code == 403
        foreign = await stranger.http.post("/sign-in", data=fields, headers={"origin": "http://evil.example"})
        own = await stranger.http.post("/sign-in", data=fields, headers={"origin": "http://localhost:8001"})
        assert (foreign.status_code, own.status_code) == (403, 303)

    @pytest.mark.parametrize("body", [b"a" * 20_000, b"key=%ff", b"x&y"])
    async def test_that_no_browser_sends_are_refused(self, stranger: Browser, body: bytes) -> None:
        answer = await stranger.http.post("/sign-in", content=body, headers={"sec-fetch-site": "same-origin"})
        assert answer.status_code == 400


async def test_a_cookie_holds_the_record_of_a_session_and_no_more(browser: Browser) -> None:
    [value] = browser.http.cookies.values()
    assert len(value) < 600
    with pytest.raises(json.JSONDecodeError):
        json.loads(value)
