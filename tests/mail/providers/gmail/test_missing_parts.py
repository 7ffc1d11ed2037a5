"""Text delivered by reference: how much of it is fetched, its cost, and the truncation of the rest."""

import base64
import json
import re

import httpx
import pytest

from services.mail.content.limits import BODY_BYTES
from services.mail.content.model import MissingPart
from services.mail.model import ProviderMessage
from services.mail.providers.base import PartialMessage
from services.mail.providers.gmail.missing_parts import MOST_PARTS, parts_to_fetch
from tests.support.mail.gmail_calls import COSTS, MESSAGE, TOKEN, gmail_that_answers

MIB = 1024 * 1024


def parts(*sizes: int, mime_type: str = "text/plain", first: int = 0) -> list[MissingPart]:
    """Return parts of these sizes, numbered from `first`."""
    return [MissingPart(f"{first + n}", f"a{first + n}", mime_type, size) for n, size in enumerate(sizes)]


def chosen(missing: list[MissingPart]) -> list[str]:
    """Return the ids of the chosen parts."""
    return [part.part_id for part in parts_to_fetch(missing)]


class TestChoice:
    @pytest.mark.parametrize(
        ("sizes", "ids"),
        [
            ([10], ["0"]),
            ([3 * MIB, 3 * MIB, 3 * MIB], ["0", "1"]),
            ([BODY_BYTES, 1], ["0"]),
            ([BODY_BYTES - 1, 5, 5], ["0", "1"]),
            ([50 * MIB, 50 * MIB], ["0"]),
        ],
    )
    def test_stops_at_the_stored_length(self, sizes: list[int], ids: list[str]) -> None:
        assert chosen(parts(*sizes)) == ids

    def test_counts_plain_text_and_html_separately(self) -> None:
        html = parts(5 * MIB, 1, mime_type="text/html", first=2)
        assert chosen([*parts(5 * MIB, 1), *html]) == ["0", "2"]

    def test_counts_other_text_types_as_plain(self) -> None:
        assert chosen([*parts(5 * MIB, mime_type="text/enriched"), *parts(1, first=1)]) == ["0"]

    def test_includes_an_invitation_beside_a_long_text(self) -> None:
        assert chosen([*parts(5 * MIB), *parts(1, mime_type="text/calendar", first=1)]) == ["0", "1"]

    @pytest.mark.parametrize("size", [0, 1])
    def test_has_at_most_eight_parts_of_any_size(self, size: int) -> None:
        assert len(chosen(parts(*[size] * 500))) == MOST_PARTS


class Gmail:
    """A server with one message whose text parts of `size` bytes come by reference; counts calls."""

    def __init__(self, count: int, size: int) -> None:
        self.attachments = 0
        self._size = size
        self._parts = [
            {"partId": str(n), "mimeType": "text/plain", "body": {"attachmentId": f"a{n}", "size": size}}
            for n in range(count)
        ]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        attachment = re.search(r"/attachments/a(\d+)$", request.url.path)
        if attachment is None:
            return httpx.Response(
                200, json={"id": "m", "payload": {"mimeType": "multipart/mixed", "parts": self._parts}}
            )
        self.attachments += 1
        text = (f"part {attachment[1]} " + "word " * self._size)[: self._size]
        return httpx.Response(200, text=json.dumps({"data": base64.urlsafe_b64encode(text.encode()).decode()}))


async def completed(gmail: Gmail) -> tuple[int, ProviderMessage]:
    """Complete the message; return the units and the whole message."""
    async with gmail_that_answers(gmail) as at:
        partial = (await at.provider.fetch(TOKEN, [MESSAGE]))["m"]
        assert isinstance(partial, PartialMessage)
        return partial.units, await at.provider.complete(TOKEN, partial)


class TestCompletion:
    async def test_of_twelve_large_parts_costs_two_calls(self) -> None:
        gmail = Gmail(count=12, size=2_600_000)
        units, message = await completed(gmail)
        assert (units, gmail.attachments) == (2 * COSTS.attachment, 2)
        text = message.content.text or ""
        assert len(text) == BODY_BYTES
        assert [f"part {n} " in text for n in range(3)] == [True, True, False]
        assert message.content.truncated
        assert message.content.missing_parts == ()
        assert message.content.defects.count("body-too-long") == 1

    async def test_of_many_small_parts_is_bounded(self) -> None:
        gmail = Gmail(count=300, size=100)
        units, message = await completed(gmail)
        assert (units, gmail.attachments) == (MOST_PARTS * COSTS.attachment, MOST_PARTS)
        assert f"part {MOST_PARTS - 1} " in (message.content.text or "")
        assert message.content.truncated
        assert message.content.missing_parts == ()

    async def test_within_the_stored_length_is_not_truncated(self) -> None:
        gmail = Gmail(count=2, size=1_000_000)
        units, message = await completed(gmail)
        assert (units, gmail.attachments) == (2 * COSTS.attachment, 2)
        assert len(message.content.text or "") >= 2_000_000
        assert (message.content.truncated, message.content.defects) == (False, ())
