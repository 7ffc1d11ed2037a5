"""Keys, and the operations of the API."""

import json

from tests.console.conftest import Browser
from tests.support.console.fake_gateway import RECEIVED, key


class TestKeys:
    async def test_that_work_come_first(self, browser: Browser) -> None:
        browser.gateway.keys = [key(name="gone", revoked_at=RECEIVED), key(name="late", expires_at=RECEIVED), key()]
        page = (await browser.get("/keys")).text
        assert page.index("reports") < page.index("gone") < page.index("late")
        assert ("Revoked" in page, "Expired" in page, "Active" in page) == (True, True, True)

    async def test_are_created_and_shown_once(self, browser: Browser) -> None:
        await browser.get("/keys")
        answer = await browser.post("/keys", name=" reports ", scope="mail.read", days="30")
        assert "mr_new_secret" in answer.text
        assert answer.headers["cache-control"] == "no-store"
        assert browser.gateway.bodies("POST", "/keys") == [
            {"name": "reports", "scopes": ["mail.read"], "expires_at": "2026-12-30T00:53:20+00:00"}
        ]

    async def test_that_cannot_be_made_are_explained(self, browser: Browser) -> None:
        await browser.get("/keys")
        browser.gateway.refusals["/keys"] = (400, "invalid_key_rules")
        answer = await browser.post("/keys", name="x", scope="keys.manage")
        assert answer.status_code == 400
        assert "Such a key cannot be made" in answer.text

    async def test_are_revoked(self, browser: Browser) -> None:
        browser.gateway.keys = [key()]
        page = await browser.get("/keys/AbC")
        assert "Revoke this key" in page.text
        assert (await browser.post("/keys/AbC/revoke")).headers["location"] == "/keys?done=revoke"
        assert browser.gateway.requests[-1].method == "DELETE"


class TestOperations:
    async def test_are_those_of_the_document(self, browser: Browser) -> None:
        operation = {"summary": "List Emails", "tags": ["emails"], "responses": {"200": {}}}
        browser.gateway.document = {"paths": {"/emails": {"get": operation}, "/keys": {"post": {"responses": {}}}}}
        page = await browser.get("/api")
        assert "2 operations" in page.text
        assert "curl -s http://api.example.com/emails" in page.text
        assert "1 operation<" in (await browser.get("/api?q=list+EMAILS")).text

    async def test_stand_in_the_order_of_the_tags(self, browser: Browser) -> None:
        paths = {f"/{name}": {"get": {"tags": [name], "responses": {}}} for name in ("health", "emails", "later")}
        browser.gateway.document = {"paths": paths, "tags": [{"name": "emails"}, {"name": "usage"}, {"name": "health"}]}
        page = (await browser.get("/api")).text
        assert page.index("/emails") < page.index("/health") < page.index("/later")

    async def test_are_missing_where_the_gateway_shows_no_document(self, browser: Browser) -> None:
        assert "is switched off" in (await browser.get("/api")).text


async def test_the_key_of_a_session_is_on_no_page(browser: Browser) -> None:
    browser.gateway.keys = [key()]
    browser.gateway.document = {"paths": {}}
    for path in ("/mailboxes", "/keys", "/keys/AbC", "/api"):
        page = await browser.get(path)
        assert browser.key.value not in page.text + json.dumps(dict(page.headers))
