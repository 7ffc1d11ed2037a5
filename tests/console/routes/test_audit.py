"""The list of an application's events."""

from services.auth.model import EventType, KeyEventType
from services.console.words.events import EVENTS
from tests.console.conftest import Browser
from tests.support.console.fake_gateway import event


class TestAudit:
    async def test_says_what_happened_to_whom_and_from_where(self, browser: Browser) -> None:
        browser.gateway.events = [
            event(),
            event(type="key_refused", user_id=None, key_id="AbC", email=None, mailbox_id=None),
            event(type="user_deleted", email=None, client=None, client_network=None),
            event(type="of_a_later_release"),
        ]
        page = (await browser.get("/audit")).text
        said = ("Mailbox connected", "ada@example.com", "Firefox on Linux", "192.0.2.0/24", "Key refused")
        assert [word for word in (*said, "Mailroom itself", "Of a later release") if word not in page] == []
        assert 'href="/keys/AbC"' in page

    async def test_passes_the_filter_on_and_keeps_it_on_the_next_page(self, browser: Browser) -> None:
        browser.gateway.events = [event()]
        page = (await browser.get("/audit?type=signed_in&user=user-1")).text
        asked = browser.gateway.requests[-1].url.params
        assert (asked["type"], asked["user_id"]) == ("signed_in", "user-1")
        assert "key_id" not in asked
        assert "?type=signed_in&amp;user=user-1&amp;key=&amp;cursor=more" in page
        assert '<option value="signed_in" selected>' in page
        assert '<input type="hidden" name="user" value="user-1">' in page

    async def test_says_what_to_do_where_nothing_is_found(self, browser: Browser) -> None:
        assert "No events of this type" in (await browser.get("/audit?type=signed_in")).text

    async def test_names_the_scope_that_a_key_lacks(self, browser: Browser) -> None:
        browser.gateway.refusals["/audit/events"] = (403, "insufficient_scope")
        answer = await browser.get("/audit")
        assert answer.status_code == 403
        assert "This key may not do that" in answer.text


def test_every_type_of_event_has_words() -> None:
    known = {name for events in EVENTS.values() for name in events}
    # A deleted application has no key to sign in with.
    unseen = {EventType.APPLICATION_DELETION_REQUESTED, EventType.APPLICATION_DELETED}
    assert known == {*EventType, *(f"key_{type_}" for type_ in KeyEventType)} - unseen
