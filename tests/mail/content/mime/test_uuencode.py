"""Files in a text, as they were sent before MIME, are attachments; the text around them stays."""

import binascii
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.mail.content import parse_raw
from services.mail.content.mime.raw import read_raw
from services.mail.content.mime.uuencode import extract_files
from tests.support.mail.samples import multipart, parse, parse_as_gmail, raw


def uuencode(data: bytes, name: str, *, backtick: bool = True) -> str:
    """A file as uuencode(1) writes it."""
    lines = [binascii.b2a_uu(data[at : at + 45], backtick=backtick).decode() for at in range(0, len(data), 45)]
    return f"begin 644 {name}\n{''.join(lines)}`\nend\n"


class TestFilesInText:
    @pytest.mark.parametrize("backtick", [False, True])
    @pytest.mark.parametrize("line_end", ["\n", "\r\n"])
    def test_a_file_is_attached_and_its_text_left_out(self, backtick: bool, line_end: str) -> None:
        body = f"Hi\n\n{uuencode(bytes(range(100)), 'a photo.jpg', backtick=backtick)}Bye\n".replace("\n", line_end)
        data = raw("Content-Type: text/plain", body=body)
        for message in (parse_raw(data), parse_as_gmail(data)):
            [attachment] = message.attachments
            assert (attachment.part_id, attachment.filename, attachment.mime_type) == ("0", "a photo.jpg", "image/jpeg")
            assert (attachment.size, attachment.inline, message.has_attachments) == (100, False, True)
            assert message.text == "Hi\n\nBye\n"
        [part] = read_raw(data).root.children
        assert part.content == bytes(range(100))

    def test_several_files_within_a_part_have_ids_of_their_own(self) -> None:
        text = f"\n{uuencode(b'abc', 'a.txt')}between\n{uuencode(b'de', '../b.pdf')}"
        message = parse_raw(multipart("mixed", text, "Content-Type: image/png; name=c.png\n\nx"))
        assert [(each.part_id, each.filename, each.size) for each in message.attachments] == [
            ("0.0", "a.txt", 3),
            ("0.1", "b.pdf", 2),
            ("1", "c.png", 1),
        ]
        assert message.text == "between\n"

    def test_base64_between_begin_and_end_is_a_file_too(self) -> None:
        body = "see\nbegin-base64 644 a.bin\nSGVsbG8=\n====\nthere\n"
        message = parse(body=body)
        assert [(each.filename, each.size) for each in message.attachments] == [("a.bin", 5)]
        assert message.text == "see\nthere\n"

    @pytest.mark.parametrize(
        "body",
        [
            "begin 644 a.txt\n#86)C\n`\n",
            "begin 644 of these\nAND MORE\nend\n",
            "begin 644 a\nthis is prose\nend\n",
            "begin at 644 the house\nend\n",
            " begin 644 a.txt\n#86)C\n`\nend\n",
            "begin 644 a.txt\n#86)CCCCCCC\n`\nend\n",
        ],
    )
    def test_what_has_not_its_form_stays_text(self, body: str) -> None:
        message = parse(body=body)
        assert (message.text, message.attachments) == (body, ())

    def test_html_is_not_searched(self) -> None:
        body = "<pre>\n" + uuencode(b"abc", "a.txt") + "</pre>"
        assert parse("Content-Type: text/html", body=body).attachments == ()

    @settings(max_examples=200)
    @given(
        data=st.binary(max_size=300),
        name=st.from_regex(r"[a-z]{1,8}( [a-z]{1,4})?\.[a-z]{3}", fullmatch=True),
        before=st.text(alphabet="ab \n", max_size=20),
        behind=st.text(alphabet="ab \n", max_size=20),
    )
    def test_any_file_comes_out_as_it_went_in(self, data: bytes, name: str, before: str, behind: str) -> None:
        text, files = extract_files(f"{before}\n{uuencode(data, name)}{behind}".encode())
        assert [(file.name, file.data) for file in files] == [(name.encode(), data)]
        assert text == f"{before}\n{behind}".encode()

    @pytest.mark.parametrize(
        "piece", [b"begin 644 a\n", b"begin 644 a\n#86)C\n", b"begin-base64 644 a\nAAAA\n", b"begin "]
    )
    def test_hostile_text_takes_linear_time(self, piece: bytes) -> None:
        started = time.process_time()
        extract_files(piece * (1_000_000 // len(piece)))
        assert time.process_time() - started < 5
