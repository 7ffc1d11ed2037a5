"""Size and effort: bounds of large and hostile messages, and of what is indexed."""

import base64
import re
import time

import pytest

from services.mail.content import html_to_text, parse_raw
from services.mail.content.text.indexable import indexable
from tests.support.mail.samples import parse

RUSSIAN = "Добрый день! Высылаю счёт за июль, прошу оплатить до пятницы."


class TestSizes:
    """Large and hostile messages stay within bounds."""

    def test_ten_megabytes_of_html_are_cut(self) -> None:
        message = parse("Content-Type: text/html", body=b"<p>" + b"word " * 2_000_000)
        assert message.html is not None
        assert message.text is not None
        assert len(message.html.encode()) <= 4 * 1024 * 1024
        assert len(message.text.encode()) <= 4 * 1024 * 1024
        assert message.truncated

    def test_the_cut_never_splits_a_character(self) -> None:
        message = parse("Content-Type: text/plain; charset=utf-8", body="я" * 3_000_000)
        assert message.text == "я" * (2 * 1024 * 1024)

    def test_a_large_attachment_is_not_decoded_as_text(self) -> None:
        body = base64.encodebytes(bytes(12 * 1024 * 1024))
        started = time.process_time()
        message = parse("Content-Type: application/zip", "Content-Transfer-Encoding: base64", body=body)
        assert message.attachments[0].size == 12 * 1024 * 1024
        assert time.process_time() - started < 2

    @pytest.mark.parametrize("line_end", ["\n", "\r", "\r\n"])
    def test_any_line_end_gives_the_same_message(self, line_end: str) -> None:
        data = "Subject: a\n b\nTo: c@x.org\n\none\ntwo\n".replace("\n", line_end)
        message = parse_raw(data.encode())
        assert (message.subject, message.text) == ("a b", "one\ntwo\n")

    def test_a_line_of_a_million_characters_is_read(self) -> None:
        assert parse(body="x" * 1_000_000).text == "x" * 1_000_000

    @pytest.mark.parametrize(
        "piece", ["<", "<a ", '<a href="', "<!--", "<td>", "&", "&#", '<a "', "<script>", "<pre>", "<title>", " \n"]
    )
    def test_hostile_html_takes_linear_time(self, piece: str) -> None:
        started = time.process_time()
        html_to_text(piece * (500_000 // len(piece)))
        assert time.process_time() - started < 5

    @pytest.mark.parametrize("piece", ['"', '\\"', "(", "<@", "=?a?q?", "a,", "@@:", ",", "a@b "])
    def test_hostile_headers_take_linear_time(self, piece: str) -> None:
        value = piece * (200_000 // len(piece))
        started = time.process_time()
        parse(f'To: "{value}', f"Subject: {value}", f"Content-Type: text/plain; a={value}", f"Date: {value}")
        assert time.process_time() - started < 5


class TestIndexableText:
    """Text for the index is bounded and without encoded data. How long its terms are, the search decides."""

    def test_base64_like_runs_are_dropped(self) -> None:
        run = base64.b64encode(bytes(range(200))).decode()
        assert indexable(f"before {run} after").split() == ["before", "after"]

    def test_the_whole_stays_below_the_limit_of_a_tsvector(self) -> None:
        text = indexable(" ".join(f"w{i:x}" for i in range(400_000)))
        assert len(text.encode()) <= 200_000

    def test_ordinary_text_is_unchanged(self) -> None:
        assert indexable(RUSSIAN) == RUSSIAN
        assert re.search("https://example.com/path", indexable("see https://example.com/path now"))
