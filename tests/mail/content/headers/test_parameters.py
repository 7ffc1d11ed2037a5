"""Content-Type and Content-Disposition as programs write them: sloppy types, missing semicolons, sections."""

from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.mail.content import parse_raw, sanitise_filename
from services.mail.content.headers.parameters import read_mime_type, split_parameters
from tests.support.mail.samples import multipart, parse, parse_as_gmail

PROPERTY = settings(max_examples=300)


class TestSloppyTypes:
    """A type that is nearly one is taken for what it means (RFC 2045 sections 5.1 and 5.2, RFC 2046 section 5.1.3)."""

    @pytest.mark.parametrize(
        "content_type",
        [
            "multipart/*; boundary=b",
            "multipart/x-unheard-of; boundary=b",
            "Multipart / Mixed ; Boundary=b",
            "multipart/mixed boundary=b",
            'multipart/mixed, boundary="b"',
            "multipart/mixed: boundary=b",
            "multipart; boundary=b",
            'multipart/mixed; type="text/plain" boundary=b',
        ],
    )
    def test_a_multipart_is_taken_apart(self, content_type: str) -> None:
        data = f"Content-Type: {content_type}\n\n".encode() + multipart("mixed", "\nhi").partition(b"\n\n")[2]
        assert parse_raw(data).text == "hi"

    @pytest.mark.parametrize(
        "content_type",
        [
            "text/html; charset=koi8-r",
            "text/html charset=koi8-r",
            "text/html, charset=koi8-r",
            "text/html: charset=koi8-r",
            "TEXT/HTML;;;charset='koi8-r'",
            '"text/html"; charset="koi8-r',
            "text / html; charset = koi8-r",
            "(a page) text/html (really); charset=koi8-r (Cyrillic)",
            "text/html; format=flowed charset=koi8-r",
            'text/html; name="a page.html" charset=koi8-r',
            "html; charset=koi8-r",
        ],
    )
    def test_html_with_its_charset_is_read(self, content_type: str) -> None:
        message = parse(f"Content-Type: {content_type}", body="<p>привет</p>".encode("koi8-r"))
        assert message.html == "<p>привет</p>"

    @pytest.mark.parametrize(
        "content_type", ["text", "text/", "plain", "", ";", "text/*", "what ever", "/", "text/x*y"]
    )
    def test_what_says_little_is_text(self, content_type: str) -> None:
        assert parse(f"Content-Type: {content_type}", body="hi").text == "hi"

    @pytest.mark.parametrize("token", ["a*b", "x%y", "a'b", "a`b", "{x}", "a|b~c", "vnd.a+b-c"])
    def test_every_token_is_a_type(self, token: str) -> None:
        assert read_mime_type(f"application/{token}", "text/plain") == f"application/{token}"

    def test_the_only_form_of_an_alternative_is_shown_whatever_its_type(self) -> None:
        for kind in ("text/*", "text/markdown", "text/x-unheard-of"):
            data = multipart("alternative", f"Content-Type: {kind}\n\nhi")
            assert parse_raw(data).text == "hi"
        usual = multipart("alternative", "Content-Type: text/x-odd\n\nodd", "Content-Type: text/plain\n\nusual")
        assert parse_raw(usual).text == "usual"

    @pytest.mark.parametrize(
        "disposition",
        [
            "attachment; filename=a.pdf",
            "attachment filename=a.pdf",
            "attachment, filename=a.pdf",
            "filename=a.pdf",
            "ATTACHMENT;FILENAME=a.pdf (the report)",
            '"attachment"; filename="a.pdf',
        ],
    )
    def test_a_file_name_is_found(self, disposition: str) -> None:
        [attachment] = parse(
            "Content-Type: application/pdf", f"Content-Disposition: {disposition}", body="x"
        ).attachments
        assert attachment.filename == "a.pdf"

    @pytest.mark.parametrize("name", ["a (1).pdf", "a b=c.pdf", "it's.pdf", "a, b.pdf", "charset.pdf"])
    def test_a_name_without_quotes_is_kept_whole(self, name: str) -> None:
        assert split_parameters(f"attachment; filename={name}; size=1")[1]["filename"] == name


class TestSections:
    """RFC 2231: an extended parameter, its sections and the plain one are three things."""

    @pytest.mark.parametrize(
        "parameters",
        [
            "filename*=UTF-8''report.pdf; filename*0*=UTF-8''rep; filename*1*=ort.pdf",
            "filename*0=rep; filename*1=.doc; filename*=UTF-8''report.pdf",
            "filename=a.doc; filename*0=re; filename*1=port.pdf",
            "filename*1=port.pdf; filename=a.doc; filename*0=re",
            "filename*0*=utf-8''re%70; filename*1=ort.; filename*2*=%70df; filename=x",
            "filename*0*=re%70ort; filename*1*=.pdf",
            "filename*0=report.pdf; filename*2=lost",
            "FILENAME*0=report; FileName*1=.pdf",
            "filename*=utf-8'en'report%2Epdf",
            "filename*=utf-8'report.pdf",
            "filename*=report.pdf",
            "filename*=\"utf-8''report.pdf\"",
        ],
    )
    def test_the_name_is_right(self, parameters: str) -> None:
        headers = ("Content-Type: application/pdf", f"Content-Disposition: attachment; {parameters}")
        [attachment] = parse(*headers, body="x").attachments
        assert attachment.filename == "report.pdf"

    def test_an_apostrophe_in_a_name_is_no_charset(self) -> None:
        assert split_parameters("attachment; filename*=it's.pdf")[1]["filename"] == "it's.pdf"

    @PROPERTY
    @given(
        name=st.text(alphabet="abcё漢é '%;=*.-", min_size=1, max_size=40),
        cuts=st.lists(st.integers(1, 12), min_size=1, max_size=8),
        order=st.randoms(use_true_random=False),
        has_plain=st.booleans(),
        extended=st.sampled_from([None, "the whole.pdf"]),
    )
    def test_any_name_survives_any_sections(
        self, name: str, cuts: list[int], order: object, has_plain: bool, extended: str | None
    ) -> None:
        encoded = quote(name, safe="")
        pieces, position = [], 0
        for cut in cuts:
            pieces.append(encoded[position : position + cut])
            position += cut
        pieces.append(encoded[position:])
        parameters = [
            f"filename*{number}*={piece if number else chr(39).join(('utf-8', '', piece))}"
            for number, piece in enumerate(pieces)
        ]
        parameters += ["filename=plain.doc"] if has_plain else []
        parameters += [f"filename*=utf-8''{quote(extended)}"] if extended else []
        order.shuffle(parameters)  # type: ignore[attr-defined]
        assert split_parameters("attachment; " + "; ".join(parameters))[1]["filename"] == (extended or name)

    def test_they_are_read_in_both_formats(self) -> None:
        part = (
            "Content-Type: application/pdf\nContent-Disposition: attachment;\n"
            " filename*0*=utf-8''%D1%81%D1%87; filename*1*=%D1%91%D1%82; filename*2=.pdf; filename=x.pdf\n\nx"
        )
        data = multipart("mixed", "\nhi", part)
        for message in (parse_raw(data), parse_as_gmail(data)):
            assert [each.filename for each in message.attachments] == [sanitise_filename("счёт.pdf")]
