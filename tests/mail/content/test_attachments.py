"""Attachments: names, content ids, data in any shape."""

import base64
from typing import Any

import pytest

from services.mail.content import MissingPart, name_download, parse_raw, sanitise_filename
from services.mail.providers.gmail.payload import parse_gmail
from tests.support.mail.samples import gmail_resource, multipart, parse, parse_as_gmail, raw


def filename_of(*headers: str | bytes) -> str:
    [attachment] = parse(*headers, body="x").attachments
    return attachment.filename


class TestBounds:
    """Descriptions of attachments stay small, however many and however large their headers are."""

    def test_a_part_with_endless_headers_is_described_in_few_words(self) -> None:
        endless = "x" * 20_000
        [attachment] = parse(
            f"Content-Type: application/{endless}",
            f"Content-Disposition: attachment; filename={endless}.pdf",
            f"Content-ID: <{endless}>",
            body="x",
        ).attachments
        assert (attachment.mime_type, attachment.content_id) == (f"application/{'x' * 127}", None)
        assert len(attachment.filename) == 200


class TestFileNames:
    """Names in every encoding, made safe."""

    @pytest.mark.parametrize(
        ("header", "expected"),
        [
            ("attachment", ""),
            ("attachment; filename=plain.pdf", "plain.pdf"),
            ("attachment; filename=two words.pdf; size=3", "two words.pdf"),
            ('attachment; filename="semi;colon \\"q\\".pdf"', "semi;colon _q_.pdf"),
            ("attachment; filename*=utf-8''%D1%81%D1%87%D1%91%D1%82.pdf", "счёт.pdf"),
            ("attachment; filename*0*=utf-8''%D1%81%D1; filename*1*=%87%D1%91%D1%82; filename*2=.pdf", "счёт.pdf"),
            ("attachment; filename*1=b.pdf; filename*0=a", "ab.pdf"),
            ("attachment; filename=wrong.pdf; filename*=utf-8''right.pdf", "right.pdf"),
            ('attachment; filename="=?utf-8?B?0YHRh9GR0YIucGRm?="', "счёт.pdf"),
            ("attachment; filename==?utf-8?Q?=D1=81.pdf?=", "с.pdf"),
            ("attachment; filename*=iso-8859-1'fr'caf%E9.pdf", "café.pdf"),
            ('attachment; filename="unclosed.pdf', "unclosed.pdf"),
            ('attachment; filename="../../etc/passwd"', "passwd"),
            ('attachment; filename="C:\\\\dir\\\\file.txt"', "file.txt"),
            ('attachment; filename="C:\\dir\\file.txt"', "file.txt"),
            ('attachment; filename=".."', ""),
            ('attachment; filename="con.txt"', "_con.txt"),
            ('attachment; filename="a<b>:c|?*.txt"', "a_b__c___.txt"),
            ('attachment; filename="exe\u202efdp.scr"', "exefdp.scr"),
            ('attachment; filename="dots... "', "dots"),
        ],
    )
    def test_content_disposition(self, header: str, expected: str) -> None:
        assert filename_of("Content-Type: application/pdf", f"Content-Disposition: {header}") == expected

    def test_the_name_of_content_type_is_the_second_choice(self) -> None:
        content_type = "Content-Type: application/pdf; name=second.pdf"
        assert filename_of(content_type) == "second.pdf"
        assert filename_of(content_type, "Content-Disposition: attachment; filename=first.pdf") == "first.pdf"

    def test_a_raw_eight_bit_name_is_read(self) -> None:
        name = "счёт за июль.pdf".encode("windows-1251")
        header = b'Content-Disposition: attachment; filename="' + name + b'"'
        assert filename_of("Content-Type: application/pdf", header) == "счёт за июль.pdf"

    def test_long_names_are_cut_and_keep_their_extension(self) -> None:
        name = sanitise_filename("ж" * 300 + ".docx")
        assert len(name.encode()) <= 200
        assert name.endswith("ж.docx")

    def test_the_same_name_twice_and_no_bytes_are_two_attachments(self) -> None:
        part = "Content-Type: image/png; name=a.png\nContent-Disposition: attachment\n\n"
        data = multipart("mixed", part, part)
        for message in (parse_raw(data), parse_as_gmail(data)):
            assert [(each.part_id, each.filename, each.size) for each in message.attachments] == [
                ("0", "a.png", 0),
                ("1", "a.png", 0),
            ]

    def test_a_download_without_name_gets_one(self) -> None:
        assert name_download("", mime_type="application/pdf", part_id="0.1") == "attachment-0.1.pdf"
        assert name_download("x.pdf", mime_type="text/html", part_id="1") == "x.pdf"

    def test_gmail_fills_in_a_name_that_its_headers_lack(self) -> None:
        payload: dict[str, Any] = {"mimeType": "application/pdf", "filename": "счёт.pdf", "body": {"size": 3}}
        assert parse_gmail({"payload": payload}).attachments[0].filename == "счёт.pdf"


class TestContentIds:
    """The disposition decides what is inline; a Content-ID only maps."""

    def test_an_upload_with_content_id_is_an_attachment(self) -> None:
        part = "Content-Type: image/png; name=a.png\nContent-Disposition: attachment\nContent-ID: <f_1>\nX: y\n\nx"
        message = parse_raw(multipart("mixed", "\nhi", part))
        [attachment] = message.attachments
        assert (attachment.inline, attachment.content_id) == (False, "f_1")
        assert message.has_attachments

    @pytest.mark.parametrize("content_id", ["<a@x>", "a@x", " < a@x > "])
    def test_brackets_are_no_part_of_it(self, content_id: str) -> None:
        image = f"Content-Type: image/png\nContent-Disposition: inline\nContent-ID: {content_id}\n\nx"
        html = "Content-Type: text/html\n\n<img src='cid:a@x'><img src='cid:a@x'><img src='cid:none'>"
        message = parse_raw(multipart("related", html, image))
        [attachment] = message.attachments
        assert (attachment.inline, attachment.content_id) == (True, "a@x")
        assert not message.has_attachments

    def test_an_inline_document_still_counts_as_attached(self) -> None:
        part = "Content-Type: application/pdf; name=a.pdf\nContent-Disposition: inline\n\nx"
        message = parse_raw(multipart("mixed", "\nhi", part))
        assert message.attachments[0].inline
        assert message.has_attachments

    def test_a_named_text_beside_the_body_is_attached(self) -> None:
        part = "Content-Type: text/plain; name=log.txt\nContent-Disposition: inline; filename=log.txt\n\nlog"
        message = parse_raw(multipart("mixed", "\nhi", part))
        assert message.text == "hi"
        assert [each.filename for each in message.attachments] == ["log.txt"]


class TestDelivery:
    """Body data in any shape; parts by reference are listed for fetching."""

    def test_a_body_by_reference_is_missing_until_it_is_supplied(self) -> None:
        data = multipart("alternative", "Content-Type: text/plain\n\nplain", "Content-Type: text/html\n\n<p>rich</p>")
        resource = gmail_resource(data, by_reference=lambda part: part.mime_type == "text/html")
        first = parse_gmail(resource)
        assert first.missing_parts == (MissingPart("1", "ANGjdJ-1", "text/html", 11),)
        assert (first.text, first.html, first.attachments) == ("plain", None, ())
        assert parse_gmail(resource, fetched={"1": b"<p>rich</p>"}) == parse_raw(data)

    def test_a_root_body_by_reference_is_missing_too(self) -> None:
        data = raw("Content-Type: text/plain; charset=koi8-r", body="привет".encode("koi8-r"))
        resource = gmail_resource(data, by_reference=lambda _: True)
        assert [part.part_id for part in parse_gmail(resource).missing_parts] == [""]
        assert parse_gmail(resource, fetched={"": "привет".encode("koi8-r")}).text == "привет"

    def test_a_small_attachment_with_its_bytes_is_the_same_attachment(self) -> None:
        data = multipart("mixed", "\nhi", "Content-Type: image/png; name=a.png\n\nPNG")
        inlined = gmail_resource(data, by_reference=lambda _: False)
        assert parse_gmail(inlined) == parse_gmail(gmail_resource(data)) == parse_raw(data)

    @pytest.mark.parametrize(
        ("data", "text"),
        [
            (base64.urlsafe_b64encode("??>>~~ÿ".encode()).decode(), "??>>~~ÿ"),
            (base64.urlsafe_b64encode("??>>~~ÿ".encode()).decode().rstrip("="), "??>>~~ÿ"),
            (base64.b64encode("??>>~~ÿ".encode()).decode(), "??>>~~ÿ"),
            ("SGVs\r\nbG8", "Hello"),
            ("", ""),
        ],
    )
    def test_any_base64_is_read(self, data: str, text: str) -> None:
        payload = {"mimeType": "text/plain", "body": {"size": len(text.encode()), "data": data}}
        assert parse_gmail({"payload": payload}).text == text
