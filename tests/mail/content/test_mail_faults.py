"""Minimal messages that mail programs get wrong, one fault each, and the right values.

None is real mail: they were made for this purpose. Each stands for a kind of fault; more of the kind are in the tests
of the module that reads it. Five further messages of the collection concern the sanitiser of HTML (tests/gateway/html).
"""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from services.mail.content import Address, ParsedMessage, parse_raw
from tests.support.mail.samples import parse_as_gmail


@dataclass(frozen=True)
class Case:
    """A message, the field that is wrong where its fault is not handled, and the right value."""

    name: str
    data: bytes
    field: str
    right: object


def _pairs(addresses: tuple[Address, ...]) -> list[tuple[str, str]]:
    return [(address.name, address.email) for address in addresses]


_FIELDS: dict[str, Callable[[ParsedMessage], object]] = {
    "subject": lambda message: message.subject,
    "from": lambda message: _pairs(message.authors),
    "to": lambda message: _pairs(message.to),
    "date": lambda message: message.sent_at and message.sent_at.isoformat(),
    "text": lambda message: message.text,
    "html": lambda message: message.html,
    "has_attachments": lambda message: message.has_attachments,
    "names": lambda message: [each.filename for each in message.attachments],
    "calendar_methods": lambda message: [each.method for each in message.calendar],
}
# The right value is a part of the field.
_PARTS = {"latin1-nbsp-run-html", "lying-base64-link", "named-only-text", "related-start-second"}
# The provider decodes these wrongly before they reach the parser.
_LOST_AT_GMAIL = {"lying-base64-link"}
CASES = [
    Case(
        "latin1-nbsp-run-html",
        (
            b"MIME-Version: 1.0\n"
            b"Content-Type: text/html; charset=iso-8859-1\n"
            b"Content-Transfer-Encoding: quoted-printable\n"
            b"\n"
            b"<p>Tea=A0=A0=A0=A0=A0=A04.00</p>\n"
        ),
        "html",
        "Tea\xa0\xa0\xa0\xa0\xa0\xa04.00",
    ),
    Case(
        "latin1-vowel-list",
        (
            b"MIME-Version: 1.0\n"
            b"Content-Type: text/plain; charset=iso-8859-1\n"
            b"Content-Transfer-Encoding: 8bit\n"
            b"\n"
            b"Vocali: \xe0\xe8\xec\xf2\xf9\n"
        ),
        "text",
        "Vocali: àèìòù\n",
    ),
    Case(
        "utf8-subject-cut",
        (b"Subject: \xd0\xa1\xd1\x87\xd1\x91\xd1\x82 \xd0\xb7\xd0\xb0 \xd0\xb8\xd1\x8e\xd0\xbb\xd1\n\nx\n"),
        "subject",
        "Счёт за июл�",
    ),
    Case(
        "utf8-word-cut",
        (b"Subject: =?UTF-8?Q?Z=C3=BCrich_=E2=80=93_Gr=C3=B6=C3?=\n\nx\n"),
        "subject",
        "Zürich – Grö�",
    ),
    Case(
        "named-only-text",
        (
            b"MIME-Version: 1.0\n"
            b"Content-Type: multipart/mixed; boundary=b\n"
            b"\n"
            b"--b\n"
            b'Content-Type: text/plain; name="body.txt"\n'
            b"\n"
            b"The text.\n"
            b"--b\n"
            b'Content-Type: application/pdf; name="a.pdf"\n'
            b"\n"
            b"x\n"
            b"--b--\n"
        ),
        "text",
        "The text.",
    ),
    Case(
        "related-start-second",
        (
            b"MIME-Version: 1.0\n"
            b'Content-Type: multipart/related; boundary=b; start="<r@x>"; type="text/html"\n'
            b"\n"
            b"--b\n"
            b"Content-Type: image/png\n"
            b"Content-ID: <i@x>\n"
            b"\n"
            b"x\n"
            b"--b\n"
            b"Content-Type: text/html\n"
            b"Content-ID: <r@x>\n"
            b"\n"
            b"<p>The text.</p>\n"
            b"--b--\n"
        ),
        "html",
        "The text.",
    ),
    Case(
        "date-unix",
        (b"Date: Tue Jun  3 10:20:30 PDT 2014\n\nx\n"),
        "date",
        "2014-06-03T17:20:30+00:00",
    ),
    Case(
        "date-comment-in-time",
        (b"Date: Tue, 3 Jun 2014 10(h):20:30 +0200\n\nx\n"),
        "date",
        "2014-06-03T08:20:30+00:00",
    ),
    Case(
        "date-lower-zone",
        (b"Date: Tue, 3 Jun 2014 10:20:30 pst\n\nx\n"),
        "date",
        "2014-06-03T18:20:30+00:00",
    ),
    Case(
        "date-slashes",
        (b"Date: 2014/06/03 Tue 10:20:30 CDT\n\nx\n"),
        "date",
        "2014-06-03T15:20:30+00:00",
    ),
    Case(
        "addr-undisclosed-at-host",
        (b"To: undisclosed-recipients:;@mx.example.com\n\nx\n"),
        "to",
        [],
    ),
    Case(
        "addr-comment-only",
        (b"To: (no To-header on input)\n\nx\n"),
        "to",
        [],
    ),
    Case(
        "addr-comment-inside",
        (b"To: Ann <ann(home)@example.com(work)>\n\nx\n"),
        "to",
        [("Ann", "ann@example.com")],
    ),
    Case(
        "addr-space-around-dots",
        (b"To: ann . lee @ example . com\n\nx\n"),
        "to",
        [("", "ann.lee@example.com")],
    ),
    Case(
        "addr-ipv6-literal",
        (b"From: Ann <ann@[IPv6:2001:db8::1]>\n\nx\n"),
        "from",
        [("Ann", "ann@[IPv6:2001:db8::1]")],
    ),
    Case(
        "addr-missing-comma",
        (b"To: Ann <a@example.com> Bob <b@example.com>\n\nx\n"),
        "to",
        [("Ann", "a@example.com"), ("Bob", "b@example.com")],
    ),
    Case(
        "addr-two-in-brackets",
        (b"To: <a@example.com, b@example.com>\n\nx\n"),
        "to",
        [("", "a@example.com"), ("", "b@example.com")],
    ),
    Case(
        "addr-name-behind",
        (b"From: <ann@example.com> (Ann Lee)\n\nx\n"),
        "from",
        [("Ann Lee", "ann@example.com")],
    ),
    Case(
        "qp-padding-after-soft-break",
        (
            b"MIME-Version: 1.0\n"
            b"Content-Type: text/plain; charset=utf-8\n"
            b"Content-Transfer-Encoding: quoted-printable\n"
            b"\n"
            b"one= \n"
            b"two\n"
        ),
        "text",
        "onetwo\n",
    ),
    Case(
        "lying-base64-link",
        (
            b"MIME-Version: 1.0\n"
            b"Content-Type: text/plain; charset=utf-8\n"
            b"Content-Transfer-Encoding: base64\n"
            b"\n"
            b"https://example.com/verify/0123456789abcdef0123456789abcdef\n"
        ),
        "text",
        "https://example.com/verify/",
    ),
    Case(
        "amp-no-paperclip",
        (
            b"MIME-Version: 1.0\n"
            b"Content-Type: multipart/alternative; boundary=b\n"
            b"\n"
            b"--b\n"
            b"Content-Type: text/plain\n"
            b"\n"
            b"plain\n"
            b"--b\n"
            b"Content-Type: text/x-amp-html\n"
            b"\n"
            b"<html amp4email></html>\n"
            b"--b\n"
            b"Content-Type: text/html\n"
            b"\n"
            b"<b>html</b>\n"
            b"--b--\n"
        ),
        "has_attachments",
        False,
    ),
    Case(
        "uuencode-inline",
        (b"Content-Type: text/plain\n\nHi\n\nbegin 644 a.txt\n#86)C\n`\nend\nBye\n"),
        "names",
        ["a.txt"],
    ),
    Case(
        "flowed",
        (b"Content-Type: text/plain; charset=utf-8; format=flowed\n\nThis is a \nlong line.\nNext\n"),
        "text",
        "This is a long line.\nNext\n",
    ),
    Case(
        "invite-method-inside",
        (
            b"MIME-Version: 1.0\n"
            b"Content-Type: multipart/alternative; boundary=b\n"
            b"\n"
            b"--b\n"
            b"Content-Type: text/plain\n"
            b"\n"
            b"Meet\n"
            b"--b\n"
            b"Content-Type: text/calendar; charset=utf-8\n"
            b"\n"
            b"BEGIN:VCALENDAR\n"
            b"METHOD:CANCEL\n"
            b"END:VCALENDAR\n"
            b"--b--\n"
        ),
        "calendar_methods",
        ["CANCEL"],
    ),
    Case(
        "type-multipart-star",
        (b"MIME-Version: 1.0\nContent-Type: multipart/*; boundary=b\n\n--b\nContent-Type: text/plain\n\nhi\n--b--\n"),
        "text",
        "hi",
    ),
    Case(
        "2231-whole-and-sections",
        (
            b"Content-Type: application/pdf\n"
            b"Content-Disposition: attachment; filename*=UTF-8''report.pdf; "
            b"filename*0*=UTF-8''rep; filename*1*=ort.pdf\n"
            b"\n"
            b"x\n"
        ),
        "names",
        ["report.pdf"],
    ),
    Case(
        "name-zero-width",
        (b"From: pay\xe2\x80\x8bpal <a@example.com>\n\nx\n"),
        "from",
        [("paypal", "a@example.com")],
    ),
    Case(
        "report-rfc822-header",
        (
            b"MIME-Version: 1.0\n"
            b"Content-Type: multipart/report; boundary=b\n"
            b"\n"
            b"--b\n"
            b"Content-Type: text/plain\n"
            b"\n"
            b"failed\n"
            b"--b\n"
            b"Content-Type: text/rfc822-header\n"
            b"\n"
            b"Subject: y\n"
            b"--b--\n"
        ),
        "text",
        "failed",
    ),
    Case(
        "html-hidden",
        (
            b"MIME-Version: 1.0\n"
            b"Content-Type: text/html; charset=utf-8\n"
            b"\n"
            b'<div style="display:none">Not shown</div><p>Hello</p>\n'
        ),
        "text",
        "Hello",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_value_is_right(case: Case) -> None:
    messages = [parse_raw(case.data)]
    if case.name not in _LOST_AT_GMAIL:
        messages.append(parse_as_gmail(case.data))
    for message in messages:
        value = _FIELDS[case.field](message)
        if case.name in _PARTS:
            assert isinstance(value, str)
            assert isinstance(case.right, str)
            assert case.right in value
        else:
            assert value == case.right
