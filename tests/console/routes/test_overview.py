"""The overview, and its plots."""

import re

from tests.console.conftest import Browser
from tests.support.console.fake_gateway import usage


class TestOverview:
    async def test_is_where_the_console_begins(self, browser: Browser) -> None:
        assert (await browser.get("/")).headers["location"] == "/overview"

    async def test_shows_mailboxes_by_state_and_leads_to_them(self, browser: Browser) -> None:
        browser.gateway.usage = usage(active=1234)
        page = (await browser.get("/overview")).text
        assert re.search(r'href="/mailboxes\?status=active".*?1,234.*?In reach', page, re.DOTALL)
        await browser.get("/mailboxes?status=active")
        [asked] = [each for each in browser.gateway.requests if each.url.params.get("status")]
        assert asked.url.params["status"] == "active"

    async def test_takes_a_state_without_mailboxes_for_no_alarm(self, browser: Browser) -> None:
        browser.gateway.usage = usage(active=1)
        assert "tone-bad" not in (await browser.get("/overview")).text
        browser.gateway.usage["mailboxes"]["access_denied"] = 1
        assert "tone-bad" in (await browser.get("/overview")).text

    async def test_says_in_words_what_plots_show(self, browser: Browser) -> None:
        deliveries = {"delivered": 9, "failed": 2, "parked": 1}
        browser.gateway.usage = usage(messages_stored=1500, deliveries=deliveries, provider_units=1)
        page = (await browser.get("/overview")).text
        names = re.findall(r'role="img" aria-label="([^"]*by the hour[^"]*)"', page)
        assert names == [
            "Messages stored by the hour: 1,500 messages in 24 hours, most of them 00:00 to 01:00 UTC: 1,500.",
            "Changes by the hour: 0 changes in 24 hours.",
            "Deliveries by the hour: 12 tries in 24 hours, most of them 00:00 to 01:00 UTC: 12.",
            "Quota spent by the hour: 1 unit in 24 hours, most of them 00:00 to 01:00 UTC: 1.",
        ]
        assert "9 events delivered, 2 tries failed, 1 parked." in page

    async def test_says_what_to_do_without_a_mailbox(self, browser: Browser) -> None:
        browser.gateway.usage = usage(active=0)
        page = (await browser.get("/overview")).text
        assert "No mailbox yet" in page
        assert "Messages stored" not in page
        # The last mailbox was disconnected a while ago.
        browser.gateway.usage = usage(active=0, changes=1)
        page = (await browser.get("/overview")).text
        assert "No mailbox yet" in page
        assert "Messages stored" in page

    async def test_says_what_the_key_lacks(self, browser: Browser) -> None:
        browser.gateway.refusals["/usage"] = (403, "insufficient_scope")
        page = await browser.get("/overview")
        assert (page.status_code, "This key may not do that" in page.text) == (200, True)

    async def test_refreshes_without_prolonging_the_session(self, browser: Browser) -> None:
        browser.clock[0] += 1000
        part = await browser.get("/overview/usage")
        assert part.text.lstrip().startswith('<div id="usage"')
        assert "set-cookie" not in part.headers
