"""Pages of webhooks."""

import re

import pytest

from tests.console.conftest import Browser, message_of
from tests.support.console.fake_gateway import MAILBOX, RECEIVED, delivery, webhook

PAGE = "/webhooks/webhook-1"


class TestList:
    async def test_shows_webhooks_with_their_states(self, browser: Browser) -> None:
        browser.gateway.webhooks = [
            webhook(),
            webhook(id="w2", failing_since=RECEIVED),
            webhook(id="w3", status="disabled", disabled_reason="gone", events=[]),
        ]
        page = (await browser.get("/webhooks")).text
        for shown in ("https://shop.example/hook", "the shop", "Enabled", "Failing", "Disabled"):
            assert shown in page

    async def test_says_what_a_webhook_is_without_one(self, browser: Browser) -> None:
        assert "No webhook yet" in (await browser.get("/webhooks")).text

    async def test_needs_the_scope(self, browser: Browser) -> None:
        browser.gateway.refusals["/webhooks"] = (403, "insufficient_scope")
        page = await browser.get("/webhooks")
        assert (page.status_code, "This key may not do that" in page.text) == (403, True)


class TestCreate:
    async def test_shows_the_secret_once(self, browser: Browser) -> None:
        await browser.get("/webhooks")
        answer = await browser.post(
            "/webhooks",
            url=" https://x.example ",
            event="message.created",
            mailbox=MAILBOX,
            backfill="on",
            any_order="on",
        )
        assert "whsec_new" in answer.text
        assert answer.headers["cache-control"] == "no-store"
        assert browser.gateway.bodies("POST", "/webhooks") == [
            {
                "url": "https://x.example",
                "events": ["message.created"],
                "description": "",
                "backfill": True,
                "order": "none",
                "mailbox_ids": [MAILBOX],
            }
        ]
        # As curl, the call that made it; the secret is no part of it.
        assert "whsec_new" not in (await browser.get(PAGE)).text

    async def test_keeps_what_was_typed_when_it_is_refused(self, browser: Browser) -> None:
        await browser.get("/webhooks")
        browser.gateway.refuse_once("POST", "/webhooks", 400, "invalid_webhook")
        answer = await browser.post("/webhooks", url="https://localhost:1/x", event="sync.failed")
        assert answer.status_code == 400
        for shown in ("Such a webhook cannot be made", 'value="https://localhost:1/x"', 'value="sync.failed" checked'):
            assert shown in answer.text


class TestWebhook:
    async def test_shows_deliveries_with_request_and_answer(self, browser: Browser) -> None:
        browser.gateway.deliveries = [delivery()]
        page = (await browser.get(PAGE)).text
        for shown in ("Parked", "webhook-id: msg_1", "Answered 400", "no such order", "position-1"):
            assert shown in page

    async def test_says_why_no_answer_came(self, browser: Browser) -> None:
        attempt = {"at": RECEIVED, "status": None, "error": "timeout", "duration_ms": 15_000, "body": ""}
        browser.gateway.deliveries = [delivery(state="failing", attempts=[attempt])]
        assert "No answer came in time." in (await browser.get(PAGE)).text

    async def test_shows_those_in_one_state(self, browser: Browser) -> None:
        await browser.get(f"{PAGE}?state=parked")
        assert browser.gateway.requests[-1].url.params["state"] == "parked"
        assert "No delivery in this state." in browser.pages[-1].text

    @pytest.mark.parametrize("action", ["test", "enable", "deliveries/7/retry"])
    async def test_does_what_is_asked(self, browser: Browser, action: str) -> None:
        browser.gateway.webhooks = [webhook(status="disabled", disabled_reason="failing")]
        browser.gateway.deliveries = [delivery()]
        page = await browser.get(PAGE)
        assert f'action="{PAGE}/{action}"' in page.text
        answer = await browser.post(f"{PAGE}/{action}")
        assert answer.headers["location"].startswith(f"{PAGE}?done=webhook_")
        assert browser.gateway.requests[-1].url.path == f"{PAGE}/{action}"

    async def test_is_disabled_for_a_while(self, browser: Browser) -> None:
        await browser.get(PAGE)
        assert (await browser.post(f"{PAGE}/disable")).headers["location"] == f"{PAGE}?done=webhook_disabled"
        assert browser.gateway.bodies("PATCH", PAGE) == [{"status": "disabled"}]
        browser.gateway.webhooks = [webhook(status="disabled", disabled_reason="requested")]
        page = (await browser.get(PAGE)).text
        assert "It was disabled on purpose." in page
        assert f'action="{PAGE}/disable"' not in page

    @pytest.mark.parametrize(
        ("done", "status", "undone"),
        [
            ("webhook_disabled", "disabled", "enable"),
            ("webhook_enabled", "enabled", "disable"),
            # Meanwhile somebody else took it back.
            ("webhook_disabled", "enabled", ""),
            ("webhook_enabled", "disabled", ""),
            ("webhook_test", "enabled", ""),
        ],
    )
    async def test_is_taken_back_in_the_message_that_says_what_was_done(
        self, browser: Browser, done: str, status: str, undone: str
    ) -> None:
        browser.gateway.webhooks = [webhook(status=status, disabled_reason="requested")]
        message = message_of(await browser.get(f"{PAGE}?done={done}"))
        assert re.findall(r'action="([^"]+)"', message) == [f"{PAGE}/{undone}"] * bool(undone)
        if undone:
            answer = await browser.post(f"{PAGE}/{undone}")
            assert answer.headers["location"] == f"{PAGE}?done=webhook_{undone}d"

    async def test_shows_another_secret_once(self, browser: Browser) -> None:
        await browser.get(PAGE)
        assert "whsec_another" in (await browser.post(f"{PAGE}/rotate", overlap="3600")).text
        assert browser.gateway.bodies("POST", f"{PAGE}/rotate") == [{"overlap_seconds": 3600}]

    @pytest.mark.parametrize(
        ("hours", "position", "since"), [("24", "", "2026-11-29T00:53:20+00:00"), ("1", " p1 ", "p1")]
    )
    async def test_replays_from_a_time_or_a_position(
        self, browser: Browser, hours: str, position: str, since: str
    ) -> None:
        await browser.get(PAGE)
        await browser.post(f"{PAGE}/replay", hours=hours, position=position)
        assert browser.gateway.bodies("POST", f"{PAGE}/replay") == [{"since": since}]

    async def test_is_changed(self, browser: Browser) -> None:
        page = await browser.get(f"{PAGE}/edit")
        assert 'value="message.created" checked' in page.text
        answer = await browser.post(f"{PAGE}/edit", url="https://y.example", event="label.updated", description="d")
        assert answer.headers["location"] == f"{PAGE}?done=webhook_changed"
        await browser.post(
            f"{PAGE}/edit", url="https://y.example", event="label.updated", description="d", mailbox=MAILBOX
        )
        changed = {"url": "https://y.example", "events": ["label.updated"], "description": "d", "order": "mailbox"}
        assert browser.gateway.bodies("PATCH", PAGE) == [
            {**changed, "mailbox_ids": None},
            {**changed, "mailbox_ids": [MAILBOX]},
        ]

    async def test_shows_the_mailboxes_that_are_chosen_when_it_is_changed(self, browser: Browser) -> None:
        elsewhere = "0190b0a0-0000-7000-8000-00000000000f"
        browser.gateway.webhooks = [webhook(mailbox_ids=[MAILBOX, elsewhere])]
        page = (await browser.get(f"{PAGE}/edit")).text
        # One that is not among the first mailboxes stays chosen, too.
        for mailbox_id in (MAILBOX, elsewhere):
            assert f'name="mailbox" value="{mailbox_id}" checked' in page
        browser.gateway.webhooks = [webhook(mailbox_ids=None)]
        page = (await browser.get(f"{PAGE}/edit")).text
        assert f'name="mailbox" value="{MAILBOX}">' in page

    async def test_that_cannot_be_changed_so_keeps_what_was_typed(self, browser: Browser) -> None:
        await browser.get(f"{PAGE}/edit")
        browser.gateway.refuse_once("PATCH", PAGE, 400, "invalid_webhook")
        answer = await browser.post(f"{PAGE}/edit", url="https://localhost:1/x", mailbox=MAILBOX)
        assert answer.status_code == 400
        for shown in ("Such a webhook cannot be made", "https://localhost:1/x", f'value="{MAILBOX}" checked'):
            assert shown in answer.text

    async def test_is_deleted(self, browser: Browser) -> None:
        await browser.get(PAGE)
        assert (await browser.post(f"{PAGE}/delete")).headers["location"] == "/webhooks?done=webhook_deleted"
        assert browser.gateway.requests[-1].method == "DELETE"


async def test_what_receivers_answer_is_text(browser: Browser) -> None:
    attack = "<script>alert(1)</script>"
    attempt = {"at": RECEIVED, "status": 500, "error": None, "duration_ms": 1, "body": attack}
    browser.gateway.deliveries = [delivery(attempts=[attempt])]
    browser.gateway.webhooks = [webhook(url=f"https://x.example/{attack}", description=attack)]
    for path in ("/webhooks", PAGE, f"{PAGE}/edit"):
        assert attack not in (await browser.get(path)).text
