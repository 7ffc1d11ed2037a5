"""Characters that Postgres or readers cannot take, and resources with missing fields."""

import json
import re
from typing import Any

import pytest

from services.mail.content import clean_line, clean_text, parse_raw, sanitise_filename
from services.mail.providers.gmail.payload import parse_gmail
from tests.support.mail.samples import parse


def gmail_text(text: str, **headers: str) -> dict[str, Any]:
    """A resource with headers as they stand in the JSON, and an empty body."""
    return {
        "payload": {"headers": [{"name": name, "value": value} for name, value in headers.items()], "snippet": text}
    }


class TestNul:
    """U+0000 reaches no text."""

    def test_it_is_removed_from_headers_bodies_and_names(self) -> None:
        message = parse(
            b"Subject: a\0b",
            b"From: x\0y <z\0@x.org>",
            b'Content-Type: text/html; name="f\0.html"',
            b"Message-ID: <a\0@x>",
            body=b"<p>t\0ext</p>",
        )
        assert message.subject == "ab"
        assert message.text == "text"
        assert "\0" not in repr(message).replace("\\x00", "\0")

    def test_it_is_removed_from_gmail_json(self) -> None:
        message = parse_gmail(json.loads('{"payload": {"headers": [{"name": "Sub\\u0000ject", "value": "a\\u0000"}]}}'))
        assert message.headers == (("Subject", "a"),)

    def test_clean_text_is_the_choke_point(self) -> None:
        assert clean_text("a\0b") == "ab"


class TestSurrogates:
    """Lone surrogates become U+FFFD, pairs become the character."""

    def test_lone_ones_are_replaced_after_json(self) -> None:
        resource = json.loads('{"payload": {"headers": [{"name": "Subject", "value": "a\\ud83d b"}]}}')
        assert parse_gmail(resource).subject == "a\ufffd b"

    def test_lone_ones_among_percent_signs_are_replaced(self) -> None:
        header = {"name": "Content-Disposition", "value": "attachment; filename*=utf-8''%D0%9F\ud83d.txt"}
        [attachment] = parse_gmail({"payload": {"mimeType": "text/plain", "headers": [header]}}).attachments
        assert re.fullmatch("П\ufffd+.txt", attachment.filename)

    def test_pairs_are_joined(self) -> None:
        assert clean_text("\ud83d\ude00") == "😀"

    def test_cesu_bytes_are_read(self) -> None:
        message = parse("Content-Type: text/plain; charset=utf-8", body=b"hi \xed\xa0\xbd\xed\xb8\x80 \xed\xa0\xbd!")
        assert message.text == "hi 😀 \ufffd!"


class TestControls:
    """Controls and invisible characters stay in bodies and go from single lines."""

    def test_bodies_keep_them(self) -> None:
        text = "a\x07b\u202ec\u200bd\ufdd0e"
        assert parse("Content-Type: text/plain; charset=utf-8", body=text).text == text

    def test_subjects_names_and_file_names_lose_them(self) -> None:
        assert parse("Subject: a\x07b\u202ec").subject == "abc"
        assert parse("From: pay\u202epal <a@x.org>").authors[0].name == "paypal"
        assert sanitise_filename("invoice\u202efdp.exe\u200b\x07") == "invoicefdp.exe"
        assert clean_line("a\u0085b") == "a b"


class TestMissingFields:
    """Any field of the resource may be missing, unknown or of another type."""

    @pytest.mark.parametrize(
        "resource",
        [
            {},
            {"id": "1", "labelIds": None, "unknown": {"x": [1]}},
            {"payload": None},
            {"payload": {}},
            {"payload": {"headers": None, "parts": None, "body": None}},
            {"payload": {"headers": [None, 7, {"name": 1}, {"value": "x"}, {"name": "a"}], "parts": [None, "x"]}},
            {
                "payload": {
                    "mimeType": 7,
                    "filename": 7,
                    "partId": 7,
                    "body": {"size": "x", "data": 7, "attachmentId": 7},
                }
            },
            {"payload": {"mimeType": "multipart/mixed", "parts": [{}, {"parts": [{}]}]}},
        ],
    )
    def test_the_message_is_parsed_with_defaults(self, resource: dict[str, Any]) -> None:
        message = parse_gmail(resource)
        assert (message.subject, message.from_, message.sent_at, message.attachments) == (None, None, None, ())

    def test_no_bytes_at_all_are_an_empty_message(self) -> None:
        message = parse_raw(b"")
        assert (message.headers, message.text, message.subject) == ((), "", None)
