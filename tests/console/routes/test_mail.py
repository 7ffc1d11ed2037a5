"""Messages, searches, changes."""

import pytest

from tests.console.conftest import Browser
from tests.support.console.fake_gateway import MAILBOX, email, mailbox

MAIL = f"/mailboxes/{MAILBOX}/mail"


async def test_lists_so_many_labels_and_says_how_many_there_are(browser: Browser) -> None:
    browser.gateway.labels = [{"name": f"label {number}", "message_count": 1} for number in range(1500)]
    page = (await browser.get(f"/mailboxes/{MAILBOX}/mail")).text
    assert "The first 200 of 1,500." in page
    assert "label 199" in page
    assert "label 200" not in page


async def test_leads_to_the_mail_of_a_label_whatever_its_name(browser: Browser) -> None:
    browser.gateway.labels = [{"id": "Label_7", "name": '12" records', "message_count": 1}]
    page = (await browser.get(MAIL)).text
    assert 'href="?q=label%3A%22Label_7%22">12&#34; records' in page


async def test_names_folders_for_which_the_provider_fails(browser: Browser) -> None:
    folder = {"name": "Invoices", "message_count": 0, "stale_since": None}
    browser.gateway.labels = [folder]
    assert "Invoices" not in (await browser.get(MAIL)).text
    browser.gateway.labels = [folder | {"stale_since": "2026-01-31T10:00:00.000Z"}]
    page = (await browser.get(MAIL)).text
    assert "The provider fails for some folders" in page
    assert "Invoices, since <time" in page


class TestList:
    async def test_of_the_only_mailbox_needs_no_choice(self, browser: Browser) -> None:
        assert (await browser.get("/mail")).headers["location"] == MAIL
        browser.gateway.mailboxes = [mailbox(), mailbox(mailbox_id="other", email="grace@example.org")]
        assert "Of which mailbox?" in (await browser.get("/mail")).text

    async def test_shows_what_a_search_found_where(self, browser: Browser) -> None:
        browser.gateway.emails = [email(highlight="At <mark>noon</mark> &lt;b&gt;?")]
        page = await browser.get(f"{MAIL}?q=noon")
        assert "At <mark>noon</mark> &lt;b&gt;?" in page.text
        [made] = [each for each in browser.gateway.requests if each.url.path == "/emails"]
        assert dict(made.url.params) == {"mailbox_id": MAILBOX, "q": "noon", "highlight": "true", "limit": "50"}

    async def test_lets_no_markup_but_marks_through(self, browser: Browser) -> None:
        browser.gateway.emails = [email(highlight="<img src=x><mark onclick=x>a</mark><mark>b</mark>")]
        page = await browser.get(f"{MAIL}?q=a")
        assert "<img src=x>" not in page.text
        assert "<mark onclick" not in page.text
        assert "<mark>b</mark>" in page.text

    async def test_explains_a_mistake_in_a_search(self, browser: Browser) -> None:
        browser.gateway.refusals["/emails"] = (400, "invalid_query")
        page = await browser.get(f"{MAIL}?q=form:x")
        assert page.status_code == 200
        assert "The search has a mistake" in page.text
        assert 'value="form:x"' in page.text

    async def test_says_what_to_do_where_there_is_nothing(self, browser: Browser) -> None:
        browser.gateway.emails = []
        assert "Start a sync" in (await browser.get(MAIL)).text
        assert "Nothing found" in (await browser.get(f"{MAIL}?q=x")).text
        assert "Start a sync" in (await browser.get(f"/mailboxes/{MAILBOX}/threads")).text

    @pytest.mark.parametrize("path", ["/mail", "/changes"])
    async def test_leads_to_a_first_mailbox(self, browser: Browser, path: str) -> None:
        browser.gateway.mailboxes = []
        page = (await browser.get(path)).text
        assert ('href="/connect"' in page, 'class="button plain" href="/sandbox"' in page) == (True, True)


class TestMessage:
    @pytest.mark.parametrize(
        ("view", "shown"),
        [
            ("text", "At noon?"),
            ("headers", '<th scope="row">Subject</th>'),
            ("json", "external_id"),
            ("raw", "skeleton"),
        ],
    )
    async def test_is_shown_in_every_way(self, browser: Browser, view: str, shown: str) -> None:
        assert shown in (await browser.get(f"{MAIL}/email-1?view={view}")).text

    async def test_is_html_in_a_frame_that_can_do_nothing(self, browser: Browser) -> None:
        page = await browser.get(f"{MAIL}/email-1")
        assert '<iframe class="paper" sandbox="" src="/messages/email-1/frame"' in page.text
        assert "<b>noon</b>" not in page.text
        frame = await browser.get("/messages/email-1/frame")
        assert "<b>noon</b>" in frame.text
        policy = frame.headers["content-security-policy"]
        assert policy.startswith("sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:;")

    async def test_leads_to_its_neighbours_in_the_list(self, browser: Browser) -> None:
        browser.gateway.emails = [email(id="newer"), email(), email(id="older")]
        page = await browser.get(f"{MAIL}/email-1?q=a+b")
        assert f'href="{MAIL}/newer?&amp;q=a+b&amp;cursor=" rel="prev"' in page.text
        assert f'href="{MAIL}/older?&amp;q=a+b&amp;cursor=" rel="next"' in page.text

    async def test_is_kept_from_ids_of_other_things(self, browser: Browser) -> None:
        await browser.get(f"{MAIL}/..%2F..%2Fkeys")
        assert not [each for each in browser.gateway.requests if each.url.path == "/keys"]


class TestBytes:
    @pytest.mark.parametrize("path", ["/messages/email-1/message.eml", "/messages/email-1/attachments/2"])
    async def test_are_downloads_that_no_browser_shows(self, browser: Browser, path: str) -> None:
        answer = await browser.get(path)
        assert answer.content == browser.gateway.bytes
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-disposition"] == 'attachment; filename="a.html"'
        assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"

    async def test_are_shown_in_part(self, browser: Browser) -> None:
        browser.gateway.bytes = b"<script>" + b"x" * 300_000
        part = await browser.get("/messages/email-1/raw", **{"hx-request": "true"})
        assert "&lt;script&gt;" in part.text
        assert "The first 256 kB." in part.text
        assert part.text.count("x") < 270_000

    async def test_that_the_provider_lost_are_explained(self, browser: Browser) -> None:
        browser.gateway.refusals["/emails/email-1/raw"] = (410, "message_gone")
        part = await browser.get("/messages/email-1/raw", **{"hx-request": "true"})
        assert "The provider no longer has this message" in part.text
        assert "<html" not in part.text


class TestChanges:
    async def test_begin_at_the_present_position_or_at_a_given_one(self, browser: Browser) -> None:
        page = f"/mailboxes/{MAILBOX}/changes"
        assert "changes/next?since=position-2" in (await browser.get(page)).text
        assert "changes/next?since=position-1" in (await browser.get(f"{page}?since=position-1")).text

    async def test_are_waited_for_and_lead_to_the_next_wait(self, browser: Browser) -> None:
        browser.gateway.changes = [
            {"type": "created", "id": "email-1", "mailbox_id": MAILBOX, "email": email(), "label": None},
            {"type": "deleted", "id": "email-0", "mailbox_id": MAILBOX, "email": None, "label": None},
        ]
        part = await browser.get(f"/mailboxes/{MAILBOX}/changes/next?since=position-1", **{"hx-request": "true"})
        assert browser.gateway.requests[-1].headers["prefer"] == "wait=25"
        assert "changes/next?since=position-2" in part.text
        assert part.text.index("Deleted") < part.text.index("Lunch")
