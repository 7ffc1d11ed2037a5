"""Downloads of files embedded in a text, delivered inline or by reference."""

import base64
from typing import Any

import httpx
import pytest

from services.mail.content import parse_raw
from services.mail.providers.errors import PartMissingError
from services.mail.providers.gmail.payload import parse_gmail
from tests.support.mail.gmail_calls import TOKEN, gmail_that_answers

UUENCODED = b"Hi\n\nbegin 644 a.txt\n#86)C\n`\nend\nBye\n"
DIVIDED = b"--b\nContent-Type: text/plain\n\nHi\n--b\nContent-Type: image/png; name=a.png\n\nPNG\n--b--\n"


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()


class Gmail:
    """A server with one message of one part; counts the calls for its bytes."""

    def __init__(self, mime_type: str, content: bytes, *, by_reference: bool, size: int | None = None) -> None:
        self.attachments = 0
        self._content = content
        body: dict[str, Any] = {"size": size or len(content)}
        body |= {"attachmentId": "a"} if by_reference else {"data": encode(content)}
        headers = [{"name": "Content-Type", "value": mime_type}]
        self.resource = {"id": "m", "payload": {"mimeType": mime_type, "headers": headers, "body": body}}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/attachments/a"):
            return httpx.Response(200, json=self.resource)
        self.attachments += 1
        return httpx.Response(200, json={"data": encode(self._content), "size": len(self._content)})


async def download(gmail: Gmail, part_id: str) -> bytes:
    copy = bytearray()

    async def write(data: bytes) -> None:
        copy.extend(data)

    async with gmail_that_answers(gmail) as adapters:
        await adapters.downloads.copy_part(TOKEN, "m", part_id, write)
    return bytes(copy)


@pytest.mark.parametrize("by_reference", [False, True])
class TestFilesInText:
    async def test_a_uuencoded_file_is_decoded(self, by_reference: bool) -> None:
        gmail = Gmail("text/plain", UUENCODED, by_reference=by_reference)
        listed = parse_gmail(gmail.resource, fetched={"": UUENCODED}).attachments
        assert [(each.part_id, each.filename) for each in listed] == [("0", "a.txt")]
        assert await download(gmail, "0") == b"abc"
        assert gmail.attachments == (1 if by_reference else 0)

    async def test_a_multipart_that_gmail_did_not_split_is_split(self, by_reference: bool) -> None:
        gmail = Gmail("multipart/mixed", DIVIDED, by_reference=by_reference)
        message = parse_gmail(gmail.resource, fetched={"": DIVIDED})
        assert (message.text, [each.part_id for each in message.attachments]) == ("Hi", ["1"])
        assert message.text == parse_raw(b"Content-Type: multipart/mixed\n\n" + DIVIDED).text
        assert await download(gmail, "1") == b"PNG"

    async def test_an_unknown_part_is_missing(self, by_reference: bool) -> None:
        for part_id in ("1", "0.0", "7", "x"):
            with pytest.raises(PartMissingError):
                await download(Gmail("text/plain", UUENCODED, by_reference=by_reference), part_id)


async def test_a_text_too_long_for_memory_is_not_searched() -> None:
    gmail = Gmail("text/plain", UUENCODED, by_reference=True, size=64 * 1024 * 1024)
    with pytest.raises(PartMissingError):
        await download(gmail, "0")
    assert gmail.attachments == 0
