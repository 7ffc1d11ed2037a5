"""Pictures of a message in its HTML."""

from services.console.gateway.errors import UnreachableError
from services.console.pages.pictures import has_pictures, with_pictures
from tests.console.conftest import Browser
from tests.support.console.fake_gateway import MAILBOX, Json, email


def attachment(attachment_id: str, mime_type: str = "image/png", size: int = 3) -> Json:
    return {
        "id": attachment_id,
        "mime_type": mime_type,
        "size": size,
        "filename": "x",
        "inline": True,
        "content_id": "c",
    }


def shows(*ids: str, attachments: list[Json]) -> Json:
    html = "".join(f'<img src="/emails/email-1/attachments/{each}">' for each in ids)
    return email(html=html, attachments=attachments)


async def fetch(attachment_id: str) -> bytes:
    if attachment_id == "lost":
        raise UnreachableError
    return attachment_id.encode()


class TestWithPictures:
    async def test_has_them_as_data(self) -> None:
        message = shows("a", "a", attachments=[attachment("a")])
        assert has_pictures(message)
        assert await with_pictures(message, fetch) == '<img src="data:image/png;base64,YQ==">' * 2

    async def test_leaves_out_what_is_no_picture_too_large_or_not_to_be_had(self) -> None:
        kinds = [attachment("svg", "image/svg+xml"), attachment("big", size=9_000_000), attachment("lost")]
        message = shows("svg", "big", "lost", "unknown", attachments=kinds)
        assert await with_pictures(message, fetch) == '<img src="">' * 4


async def test_pictures_are_fetched_when_a_person_asks_for_them(browser: Browser) -> None:
    browser.gateway.emails = [shows("a", attachments=[attachment("a")])]
    page = await browser.get(f"/mailboxes/{MAILBOX}/mail/email-1?view=html")
    assert "Show its pictures" in page.text
    await browser.get("/messages/email-1/frame")
    assert not [each for each in browser.gateway.requests if "/attachments/" in each.url.path]
    frame = await browser.get("/messages/email-1/frame?pictures=true")
    assert "data:image/png;base64," in frame.text
