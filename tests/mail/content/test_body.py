"""Body text, attachments and neither of both, as mail programs tell them apart; the same in both formats."""

import itertools
import time
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.mail.content import Attachment, ParsedMessage, parse_raw
from services.mail.content.invitations import read_method
from services.mail.providers.gmail.payload import parse_gmail
from tests.support.mail.samples import differences, multipart, parse, parse_as_gmail

PLAIN = "Content-Type: text/plain\n\nplain"
HTML = "Content-Type: text/html\n\n<p>rich</p>"
PDF = 'Content-Type: application/pdf; name="a.pdf"\n\nx'
AMP = "Content-Type: text/x-amp-html\n\n<html amp4email></html>"


def in_both_formats(data: bytes) -> ParsedMessage:
    """The message, having checked that it is the same by way of Gmail's resource."""
    message = parse_raw(data)
    assert differences(message, parse_as_gmail(data)) == {}
    return message


def names(message: ParsedMessage) -> list[str]:
    return [each.filename for each in message.attachments]


class TestNamedBodies:
    """The first part is the body, whatever its name (RFC 8621 section 4.1.4)."""

    @pytest.mark.parametrize(
        "headers",
        [
            'Content-Type: text/plain; name="body.txt"',
            "Content-Type: text/plain\nContent-Disposition: inline; filename=body.txt",
            "Content-Disposition: inline; filename=body.txt",
        ],
    )
    def test_a_named_text_in_front_is_the_text(self, headers: str) -> None:
        message = in_both_formats(multipart("mixed", f"{headers}\n\nThe text.", PDF))
        assert (message.text, names(message)) == ("The text.", ["a.pdf"])

    def test_a_named_page_in_front_is_the_html(self) -> None:
        page = "Content-Type: text/html; name=mail.html\n\n<p>The text.</p>"
        message = in_both_formats(multipart("mixed", page, PDF))
        assert (message.text, message.html) == ("The text.", "<p>The text.</p>")

    def test_so_is_the_first_part_of_a_multipart_within(self) -> None:
        inner = multipart("mixed", "Content-Type: text/plain; name=b.txt\n\nThe text.", boundary="i")
        assert in_both_formats(multipart("mixed", inner, PDF)).text == "The text."

    def test_later_ones_and_those_meant_as_attachments_are_attached(self) -> None:
        named = "Content-Type: text/plain; name=log.txt"
        message = in_both_formats(multipart("mixed", PLAIN, f"{named}\n\nlog"))
        assert (message.text, names(message)) == ("plain", ["log.txt"])
        message = in_both_formats(multipart("mixed", f"{named}\nContent-Disposition: attachment\n\nlog", PLAIN))
        assert (message.text, names(message)) == ("plain", ["log.txt"])
        message = in_both_formats(multipart("mixed", "Content-Type: text/x-patch; name=a.patch\n\n+a", PLAIN))
        assert (message.text, names(message)) == ("plain", ["a.patch"])


class TestRelatedRoots:
    """`start` names the root of a multipart/related (RFC 2387 section 3.2)."""

    IMAGE = "Content-Type: image/png\nContent-ID: <i@x>\n\nx"
    ROOT = "Content-Type: text/html\nContent-ID: <r@x>\n\n<p>The text.</p><img src=cid:i@x>"

    @pytest.mark.parametrize("start", ['"<r@x>"', "<r@x>", "r@x", '" <r@x> "'])
    def test_it_may_stand_anywhere(self, start: str) -> None:
        for parts in itertools.permutations(
            (self.IMAGE, self.ROOT, "Content-Type: text/css\nContent-ID: <c@x>\n\np {}")
        ):
            message = in_both_formats(multipart(f"related; start={start}", *parts))
            assert (message.text, len(message.attachments)) == ("The text.", 2)
            assert not message.attachments[0].filename

    def test_it_may_be_an_alternative(self) -> None:
        alternative = multipart("alternative", PLAIN, HTML, boundary="a")
        root = alternative.replace(b"\n\n", b"\nContent-ID: <r@x>\n\n", 1)
        message = in_both_formats(multipart("related; start=r@x", self.IMAGE.encode(), root))
        assert (message.text, message.html) == ("plain", "<p>rich</p>")

    @pytest.mark.parametrize("start", ['"<none@x>"', '""'])
    def test_a_start_that_names_no_part_means_the_first(self, start: str) -> None:
        other = "Content-Type: text/html\nContent-ID: <o@x>\n\n<p>a frame</p>"
        message = in_both_formats(multipart(f"related; start={start}", self.ROOT, other))
        assert (message.text, len(message.attachments)) == ("The text.", 1)


class TestFormsOfTheSameText:
    """Forms of a text that programs choose from are no attachments."""

    @pytest.mark.parametrize("kind", ["text/x-amp-html", "text/watch-html", "text/markdown", "text/x-unheard-of"])
    def test_in_an_alternative_they_are_neither_shown_nor_attached(self, kind: str) -> None:
        odd = f"Content-Type: {kind}\n\nodd"
        for parts in itertools.permutations((PLAIN, odd, HTML)):
            message = in_both_formats(multipart("alternative", *parts))
            assert (message.text, message.html, message.attachments) == ("plain", "<p>rich</p>", ())
            assert not message.has_attachments

    def test_elsewhere_amp_is_attached(self) -> None:
        message = in_both_formats(multipart("mixed", PLAIN, AMP))
        assert [each.mime_type for each in message.attachments] == ["text/x-amp-html"]


class TestNestedAlternatives:
    @staticmethod
    def nest(html: str, *, levels: int, plain: str = " ") -> ParsedMessage:
        part = {"mimeType": "multipart/alternative", "parts": [_leaf("text/plain", plain), _leaf("text/html", html)]}
        for _ in range(levels):
            part = {"mimeType": "multipart/alternative", "parts": [part]}
        return parse_gmail({"payload": part})

    @pytest.mark.parametrize("levels", [0, 1, 5])
    @pytest.mark.parametrize("plain", [" ", "Please read the html form."])
    def test_text_is_derived_whatever_the_depth(self, levels: int, plain: str) -> None:
        html = "<p>Hello,</p><p>this is the content of the message.</p>" + "<p></p>" * 10
        message = self.nest(html, levels=levels, plain=plain)
        assert message.text == "Hello,\n\nthis is the content of the message."
        assert message.text_from_html
        assert message.html == html

    @pytest.mark.parametrize("plain", [" ", "html"])
    def test_it_is_derived_once(self, plain: str) -> None:
        html = "<p>" * 60_000
        times = []
        for levels in (0, 90):
            started = time.process_time()
            assert (self.nest(html, levels=levels, plain=plain).text or "").strip() == ""
            times.append(time.process_time() - started)
        assert times[1] < 10 * times[0]


def _leaf(mime_type: str, text: str) -> dict[str, Any]:
    data = urlsafe_b64encode(text.encode()).decode()
    return {"mimeType": mime_type, "body": {"size": len(text), "data": data}}


class TestReports:
    """Of a bounce the first part is the text; the headers of the message it is about are attached (RFC 6522)."""

    @pytest.mark.parametrize(
        "kind",
        ["text/rfc822-headers", "text/rfc822-header", "text/rfc822headers", "text/rfc822", "message/rfc822-headers"],
    )
    def test_headers_of_another_message_are_attached_however_their_type_is_spelt(self, kind: str) -> None:
        status = "Content-Type: message/delivery-status\n\nReporting-MTA: dns; x\n\nAction: failed\n"
        headers = f"Content-Type: {kind}\n\nSubject: y\n"
        for parts in ((headers,), (status, headers)):
            message = in_both_formats(multipart("report", "\nfailed", *parts))
            assert message.text == "failed"
            assert message.attachments[-1].mime_type == kind

    def test_a_text_behind_what_programs_read_is_attached(self) -> None:
        status = "Content-Type: message/delivery-status\n\nAction: failed\n"
        message = in_both_formats(multipart("report", "\nfailed", status, "Content-Type: text/plain\n\nSubject: y"))
        assert (message.text, len(message.attachments)) == ("failed", 2)

    def test_texts_in_front_of_it_are_the_text(self) -> None:
        status = "Content-Type: message/delivery-status\n\nAction: failed\n"
        assert in_both_formats(multipart("report", "\nfailed", "\nfor ever", status)).text == "failed\nfor ever"


class TestInvitations:
    """The method stands in the object (RFC 5546 section 1.4); the parameter repeats it, or not."""

    @pytest.mark.parametrize(
        ("calendar", "method"),
        [
            ("BEGIN:VCALENDAR\nMETHOD:CANCEL\nEND:VCALENDAR", "CANCEL"),
            ("BEGIN:VCALENDAR\nPRODID:x\nmethod:request\nBEGIN:VEVENT\n", "REQUEST"),
            ("BEGIN:VCALENDAR\nMET\n HOD:REP\n\tLY\nEND:VCALENDAR", "REPLY"),
            ("BEGIN:VCALENDAR\nMETHOD;X-A=b: PUBLISH \n", "PUBLISH"),
            ("BEGIN:VCALENDAR\nBEGIN:VEVENT\nMETHOD:CANCEL\nEND:VEVENT", None),
            ("BEGIN:VCALENDAR\nX-METHOD:CANCEL\n", None),
            ("", None),
        ],
    )
    def test_it_is_read_from_the_object(self, calendar: str, method: str | None) -> None:
        assert read_method(calendar) == method

    @pytest.mark.parametrize(
        ("parameter", "inside", "method"),
        [
            ("", "METHOD:CANCEL\r\n", "CANCEL"),
            ("; method=REQUEST", "METHOD:CANCEL\r\n", "CANCEL"),
            ("; method=request", "", "REQUEST"),
            ("", "", None),
        ],
    )
    def test_the_object_decides_and_the_parameter_helps_out(
        self, parameter: str, inside: str, method: str | None
    ) -> None:
        event = f"BEGIN:VCALENDAR\r\n{inside}BEGIN:VEVENT\r\nEND:VEVENT\r\nEND:VCALENDAR"
        data = multipart("alternative", "\nMeet", f"Content-Type: text/calendar; charset=utf-8{parameter}\n\n{event}")
        assert [each.method for each in in_both_formats(data).calendar] == [method]


class TestPictures:
    """A picture that no HTML shows is an attachment: phones send photos as inline parts."""

    @staticmethod
    def picture(*headers: str, name: str = "photo.jpg") -> str:
        return "\n".join((f"Content-Type: image/jpeg; name={name}", *headers, "", "JPEG"))

    INLINE = "Content-Disposition: inline; filename=photo.jpg"
    WITH_ID = "Content-ID: <a@x>"

    @pytest.mark.parametrize(
        "headers", [(INLINE, WITH_ID), (INLINE,), (WITH_ID,), (), ("Content-Disposition: attachment", WITH_ID)]
    )
    @pytest.mark.parametrize("kind", ["mixed", "related"])
    def test_beside_plain_text_or_other_html_it_is_attached(self, kind: str, headers: tuple[str, ...]) -> None:
        html = "Content-Type: text/html\n\n<p>see</p><img src='cid:other@x'>"
        for body in ("\nsee", html):
            message = in_both_formats(multipart(kind, body, self.picture(*headers)))
            [attachment] = message.attachments
            assert (attachment.filename, attachment.inline, message.has_attachments) == ("photo.jpg", False, True)

    def test_alone_it_is_attached(self) -> None:
        message = parse("Content-Type: image/jpeg", self.INLINE, self.WITH_ID, body="JPEG")
        assert message.attachments == (
            Attachment("", "photo.jpg", "image/jpeg", 4, inline=False, content_id="a@x", content_location=None),
        )
        assert message.has_attachments

    @pytest.mark.parametrize(
        ("html", "headers"),
        [
            ("<img src='cid:a@x'>", (INLINE, WITH_ID)),
            ('<IMG SRC="CID:A%40x">', (WITH_ID,)),
            ("<img src=cid:a&#64;x>", (WITH_ID,)),
            ("<td background='cid:a@x'>", (INLINE, WITH_ID)),
            ("<td style=\"background-image:url('cid:a@x')\">", (WITH_ID,)),
            ("<img src='http://x.org/i/p.jpg'>", ("Content-Location: http://x.org/i/p.jpg",)),
            ("<img src=p.jpg>", ("Content-Location: p.jpg", INLINE)),
            ("<img src='photo.jpg'>", ()),
            ('<img src="photo.jpg">', (INLINE,)),
        ],
    )
    @pytest.mark.parametrize("kind", ["mixed", "related"])
    def test_shown_by_the_html_it_is_not(self, kind: str, html: str, headers: tuple[str, ...]) -> None:
        data = multipart(kind, f"Content-Type: text/html\n\n{html}", self.picture(*headers))
        message = in_both_formats(data)
        assert [each.inline for each in message.attachments] == [True]
        assert not message.has_attachments

    def test_shown_but_sent_as_an_attachment_it_is_one(self) -> None:
        picture = self.picture("Content-Disposition: attachment", self.WITH_ID)
        message = in_both_formats(multipart("related", "Content-Type: text/html\n\n<img src=cid:a@x>", picture))
        assert message.has_attachments

    def test_of_several_each_counts_for_itself(self) -> None:
        html = "Content-Type: text/html\n\n<img src=cid:b@x>"
        parts = [self.picture(f"Content-ID: <{each}@x>", name=f"{each}.jpg") for each in "abc"]
        message = in_both_formats(multipart("related", html, *parts))
        assert [(each.filename, each.inline) for each in message.attachments] == [
            ("a.jpg", False),
            ("b.jpg", True),
            ("c.jpg", False),
        ]

    def test_other_inline_parts_keep_their_disposition(self) -> None:
        part = "Content-Type: application/pdf; name=a.pdf\nContent-Disposition: inline\n\nx"
        message = in_both_formats(multipart("mixed", "\nhi", part))
        assert (message.attachments[0].inline, message.has_attachments) == (True, True)

    @settings(max_examples=200)
    @given(
        ids=st.lists(
            st.from_regex(r"[a-z0-9.$-]{1,10}@[a-z]{1,5}", fullmatch=True), min_size=1, max_size=6, unique=True
        ),
        shown=st.sets(st.integers(0, 5)),
        disposition=st.sampled_from(["Content-Disposition: inline", "X: y"]),
    )
    def test_exactly_those_are_inline_that_the_html_shows(
        self, ids: list[str], shown: set[int], disposition: str
    ) -> None:
        tags = "".join(f'<img src="cid:{ids[index]}">' for index in shown if index < len(ids))
        parts = [f"Content-Type: image/png\nContent-ID: <{each}>\n{disposition}\n\nx" for each in ids]
        message = parse_raw(multipart("related", f"Content-Type: text/html\n\n<p>x</p>{tags}", *parts))
        assert [each.inline for each in message.attachments] == [index in shown for index in range(len(ids))]
