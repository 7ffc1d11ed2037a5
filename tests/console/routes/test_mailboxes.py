"""Pages of mailboxes."""

import re

import pytest

from tests.console.conftest import Browser, message_of
from tests.support.console.fake_gateway import MAILBOX, mailbox, sync

PAGE = f"/mailboxes/{MAILBOX}"


class TestList:
    async def test_shows_mailboxes_with_their_states(self, browser: Browser) -> None:
        page = await browser.get("/mailboxes")
        for shown in ("ada@example.com", "Up to date", "1,234", "5 min ago", "2026-11-30 00:48:20 UTC"):
            assert shown in page.text
        assert "data-live" not in page.text

    async def test_refreshes_what_goes_on(self, browser: Browser) -> None:
        browser.gateway.syncs = [sync(state="running", ended_at=None, stored=25, pending=75)]
        page = await browser.get("/mailboxes")
        assert "data-live" in page.text
        assert 'value="25"' in page.text
        row = await browser.get(f"{PAGE}/row")
        assert row.text.lstrip().startswith("<tr")

    async def test_says_what_to_do_first(self, browser: Browser) -> None:
        browser.gateway.mailboxes = []
        assert "No mailbox yet" in (await browser.get("/mailboxes")).text

    async def test_shows_mailboxes_also_where_their_syncs_cannot_be_read(self, browser: Browser) -> None:
        browser.gateway.refusals["/emails/syncs"] = (503, "service_unavailable")
        page = await browser.get("/mailboxes")
        assert (page.status_code, "ada@example.com" in page.text) == (200, True)


class TestMailbox:
    async def test_shows_messages_that_could_not_be_fetched(self, browser: Browser) -> None:
        letters = [{"external_id": "lost-1", "reason": "provider_unavailable", "attempts": 3}]
        browser.gateway.syncs = [sync(dead_letter_count=1, dead_letters=letters)]
        page = await browser.get(PAGE)
        for shown in ("Incomplete", "lost-1", "The provider does not answer.", "3 attempts"):
            assert shown in page.text

    @pytest.mark.parametrize(
        ("count", "sent"), [("100", 100), ("all", "all"), ("-1", "all"), ("٣", "all"), ("9" * 9, "all")]
    )
    async def test_starts_a_sync(self, browser: Browser, count: str, sent: object) -> None:
        await browser.get(PAGE)
        answer = await browser.post(f"{PAGE}/sync", count=count)
        assert answer.headers["location"] == f"{PAGE}?done=sync"
        assert browser.gateway.bodies("POST", "/emails/sync") == [{"mailbox_id": MAILBOX, "count": sent}]

    async def test_verifies(self, browser: Browser) -> None:
        await browser.get(PAGE)
        assert (await browser.post(f"{PAGE}/verify")).headers["location"] == f"{PAGE}?done=verify"
        assert browser.gateway.bodies("POST", "/emails/verify") == [{"mailbox_id": MAILBOX}]

    async def test_cancels_and_retries_a_sync(self, browser: Browser) -> None:
        await browser.get(PAGE)
        await browser.post(f"{PAGE}/syncs/sync-1/cancel")
        await browser.post(f"{PAGE}/syncs/sync-1/retry")
        made = [(each.method, each.url.path) for each in browser.gateway.requests]
        assert made[-2:] == [("DELETE", "/emails/syncs/sync-1"), ("POST", "/emails/syncs/sync-1/retry")]

    @pytest.mark.parametrize(("state", "undone"), [("cancelled", ["syncs/sync-1/retry"]), ("running", [])])
    async def test_goes_on_with_a_sync_that_was_cancelled(
        self, browser: Browser, state: str, undone: list[str]
    ) -> None:
        browser.gateway.syncs = [sync(state=state)]
        message = message_of(await browser.get(f"{PAGE}?done=cancel"))
        assert "The sync is cancelled." in message
        assert re.findall(r'action="([^"]+)"', message) == [f"{PAGE}/{path}" for path in undone]
        if undone:
            assert (await browser.post(f"{PAGE}/{undone[0]}")).headers["location"] == f"{PAGE}?done=retry"


class TestDisconnect:
    async def test_needs_the_address_to_be_typed(self, browser: Browser) -> None:
        page = await browser.get(f"{PAGE}/disconnect")
        assert "1,234 messages will be erased" in page.text
        answer = await browser.post(f"{PAGE}/disconnect", email="grace@example.org")
        assert "That is another address" in answer.text
        assert not [each for each in browser.gateway.requests if each.method == "DELETE"]

    async def test_disconnects(self, browser: Browser) -> None:
        await browser.get(f"{PAGE}/disconnect")
        answer = await browser.post(f"{PAGE}/disconnect", email=" Ada@example.com")
        assert answer.headers["location"] == "/mailboxes?done=disconnect"
        assert [each.url.path for each in browser.gateway.requests if each.method == "DELETE"] == [PAGE]


@pytest.mark.parametrize("name", ["<script>alert(1)</script>@x", '"><img src=x>@x'])
async def test_addresses_are_text(browser: Browser, name: str) -> None:
    browser.gateway.mailboxes = [mailbox(email=name)]
    for path in ("/mailboxes", PAGE, f"{PAGE}/mail", f"{PAGE}/changes", f"{PAGE}/disconnect"):
        assert name not in (await browser.get(path)).text
