"""Generated ugly messages: nothing raises, everything is clean and within bounds, Gmail and raw agree."""

import base64
from dataclasses import fields, is_dataclass
from email.header import Header
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.mail.content import (
    ParsedMessage,
    clean_text,
    cut_utf8,
    html_to_text,
    parse_raw,
    sanitise_filename,
)
from services.mail.content.headers.addresses import parse_addresses
from services.mail.content.text.indexable import indexable
from services.mail.providers.gmail.message import plain_snippet
from services.mail.providers.gmail.payload import parse_gmail
from tests.support.mail.comparison import DOCUMENTED, compare_where_email_is_sure
from tests.support.mail.samples import gmail_resource, parse_as_gmail

SHORT = settings(max_examples=100, suppress_health_check=list(HealthCheck))
LONG = settings(max_examples=5000, derandomize=False, suppress_health_check=list(HealthCheck))

_CHARSETS = [
    *("utf-8", "us-ascii", "iso-8859-1", "windows-1251", "koi8-r", "gb2312", "iso-2022-jp", "utf-7", "utf-16"),
    *("big5", "shift_jis", "euc-kr", "x-unknown", "default", '"utf-8', "", "hz", "utf-8\0", "unicode-escape"),
    "idna",
]
_ENCODINGS = [
    *("7bit", "8bit", "binary", "base64", "quoted-printable", "x-uuencode", "BASE64 (x)", "", "base64;", "what"),
]
_TYPES = [
    *("text/plain", "text/html", "text/calendar; method=REQUEST", "text/enriched", "image/png", "application/pdf"),
    *("message/rfc822", "message/delivery-status", "application/pkcs7-mime", "application/ics", "text", ""),
    *("a/b/c", "multipart/mixed", 'multipart/alternative; boundary=""', "multipart/mixed; boundary=b0"),
    "text/rfc822-headers",
]
_KINDS = [
    *("mixed", "alternative", "related", "digest", "report", "encrypted", "signed", "x-odd"),
]
_PIECES = [
    *("=?utf-8?b?0J/R?=", "=?utf-8?q?=D0?=", "=?koi8-r?B?18XU?=", "=?x?q?=e9?=", "=?utf-8?b?", "?=", '"', "\\"),
    *("(", ")", "<", ">", "@", ",", ";", ":", "a@x.org", "<a@x.org>", "Doe, John", "undisclosed-recipients:;"),
    *("\n ", "\r\n\t", "Tue, 3 Sep 2002 12:34:56 +0200", "+2400", "0000", "PM", "\0", "\u202e", "\u200b", "ё"),
    *("漢字", "\ud83d", "=", "*0*=", "; filename=", "; name*=utf-8''%D0", "; filename*1=", "../", "&amp;", "<b"),
    *("<!--", "-->", "<script>", "</p>", "\n", "--b0", "\n--b0\n", "\n--b0--\n", "begin 644 x\n"),
    "begin:vcalendar",
]
_NAMES = [
    *("Subject", "subject ", "From", "To", "Cc", "Bcc", "Reply-To", "Date", "Message-ID", "References"),
    *("In-Reply-To", "Content-Type", "Content-Disposition", "Content-Transfer-Encoding", "Content-ID", "Received"),
    *("X", "", "no colon"),
]


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


_TEXT = st.lists(st.one_of(st.sampled_from(_PIECES), st.text(max_size=8)), max_size=12).map("".join)
_CODED = st.builds(
    lambda text, codec: text.encode(codec, "replace"),
    st.text(alphabet="абвгдеёжзий ПРИВЕТ漢字テスト한글 abcé", max_size=60),
    st.sampled_from(
        ["utf-8", "cp1251", "koi8_r", "gb18030", "cp932", "euc_kr", "utf_16", "utf_7", "iso2022_jp", "cp1252"]
    ),
)
_BYTES = st.one_of(_TEXT.map(_encode), _CODED, st.binary(max_size=60))
_HEADER = st.builds(lambda name, value: name.encode() + b": " + value, st.sampled_from(_NAMES), _BYTES)
_HEADERS = st.lists(_HEADER, max_size=6).map(b"\n".join)
_LEAF = st.builds(
    lambda mime, charset, encoding, headers, body: (
        f"Content-Type: {mime}; charset={charset}\nContent-Transfer-Encoding: {encoding}\n".encode()
        + (headers + b"\n" if headers else b"")
        + b"\n"
        + body
    ),
    st.sampled_from(_TYPES),
    st.sampled_from(_CHARSETS),
    st.sampled_from(_ENCODINGS),
    _HEADERS,
    _BYTES,
)


def _join(kind: str, boundary: str, parts: list[bytes], closed: str) -> bytes:
    head = f'Content-Type: multipart/{kind}; boundary="{boundary}"\n\npreamble'.encode()
    return head + b"".join(f"\n--{boundary}\n".encode() + part for part in parts) + closed.encode()


_TREE = st.recursive(
    _LEAF,
    lambda children: st.builds(
        _join,
        st.sampled_from(_KINDS),
        st.sampled_from(["b0", "b", "b00", "b 0", "b'()+_,-./:=?"]),
        st.lists(children, max_size=4),
        st.sampled_from(["\n--b0--\n", "\n--b--", "", "\nepilogue"]),
    ),
    max_leaves=8,
)
MESSAGES = st.one_of(
    st.builds(lambda headers, tree: headers + (b"\n" if headers else b"") + tree, _HEADERS, _TREE),
    st.builds(lambda headers, body: headers + b"\n\n" + body, _HEADERS, _BYTES),
    st.binary(max_size=200),
)
_LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
UGLY = st.builds(lambda data, line_end: data.replace(b"\n", line_end), MESSAGES, _LINE_ENDS)

_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), _TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=5,
)
_PAYLOAD = st.recursive(
    st.dictionaries(
        st.sampled_from(["partId", "mimeType", "filename", "headers", "body", "parts", "odd"]),
        st.one_of(
            _JSON,
            st.sampled_from(["text/plain", "text/html", "multipart/mixed"]),
            st.fixed_dictionaries({"data": _TEXT, "size": st.integers()}),
            st.lists(st.fixed_dictionaries({"name": st.sampled_from(_NAMES), "value": _TEXT}), max_size=4),
        ),
    ),
    lambda inner: st.fixed_dictionaries({"mimeType": st.just("multipart/mixed"), "parts": st.lists(inner, max_size=4)}),
    max_leaves=6,
)


def check(message: ParsedMessage) -> None:
    """Every text can be stored, and nothing exceeds its bound."""
    check_storable(message)
    for line in (message.subject, *(address.name for address in message.authors)):
        assert line is None or (line == line.strip() and "\n" not in line and "\u202e" not in line)
    for attachment in message.attachments:
        assert "/" not in attachment.filename
        assert attachment.size >= 0
        assert len(attachment.filename.encode()) <= 200
    assert len({part.part_id for part in message.attachments}) == len(message.attachments)
    if message.from_ is not None:
        assert message.from_.name or message.from_.email
    if message.sent_at is not None:
        assert 1970 <= message.sent_at.year < 2100


def check_storable(message: ParsedMessage) -> None:
    """No NUL and no lone surrogate anywhere."""
    for text in _texts(message):
        text.encode()
        assert "\0" not in text


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, tuple):
        return [text for item in value for text in _texts(item)]
    if is_dataclass(value):
        return [text for field in fields(value) for text in _texts(getattr(value, field.name))]
    return []


def check_raw(data: bytes) -> None:
    message = parse_raw(data)
    check(message)
    assert parse_raw(data) == message


def check_gmail(data: bytes) -> None:
    """The resource of an ugly message is parsed as cleanly, and a body is never lost on that way."""
    message = parse_as_gmail(data)
    check(message)
    assert message.missing_parts == ()


class TestShort:
    """A few hundred examples, for every run."""

    @SHORT
    @given(UGLY)
    def test_raw_messages_parse(self, data: bytes) -> None:
        check_raw(data)

    @SHORT
    @given(UGLY)
    def test_their_gmail_resources_parse(self, data: bytes) -> None:
        check_gmail(data)

    @SHORT
    @given(_PAYLOAD)
    def test_any_resource_parses(self, payload: dict[str, Any]) -> None:
        check_storable(parse_gmail({"payload": payload}))

    @SHORT
    @given(st.text())
    def test_text_functions_give_clean_text(self, text: str) -> None:
        check_text_functions(text)

    @SHORT
    @given(_TEXT)
    def test_text_functions_survive_ugly_text(self, text: str) -> None:
        check_text_functions(text)


@pytest.mark.long
class TestLong:
    """Thousands of examples."""

    @LONG
    @given(UGLY)
    def test_raw_messages_parse(self, data: bytes) -> None:
        check_raw(data)

    @LONG
    @given(UGLY)
    def test_their_gmail_resources_parse(self, data: bytes) -> None:
        check_gmail(data)

    @LONG
    @given(_PAYLOAD)
    def test_any_resource_parses(self, payload: dict[str, Any]) -> None:
        check_storable(parse_gmail({"payload": payload}))


def check_text_functions(text: str) -> None:
    for result in (clean_text(text), plain_snippet(text), html_to_text(text), indexable(clean_text(text))):
        result.encode()
        assert "\0" not in result
    assert clean_text(clean_text(text)) == clean_text(text)
    assert len(cut_utf8(clean_text(text), 10)[0].encode()) <= 10
    assert sanitise_filename(sanitise_filename(text)) == sanitise_filename(text)
    parse_addresses(clean_text(text))


class TestLikeEmail:
    """The same examples in every run: others would be broken in ways that do not occur in mail."""

    @settings(SHORT, max_examples=400)
    @given(UGLY)
    def test_what_differs_is_documented(self, data: bytes) -> None:
        assert [each for each in compare_where_email_is_sure(data) if each.kind not in DOCUMENTED] == []

    @pytest.mark.long
    @settings(SHORT, max_examples=5000)
    @given(UGLY)
    def test_what_differs_in_thousands_is_documented(self, data: bytes) -> None:
        assert [each for each in compare_where_email_is_sure(data) if each.kind not in DOCUMENTED] == []


class TestAgreement:
    """Well-formed messages are the same from Gmail and from raw bytes."""

    @SHORT
    @given(
        subject=st.text(alphabet='abc ёж漢é,<>@"()', max_size=30).map(lambda text: " ".join(text.split())),
        body=st.text(alphabet="abc \nёж漢é=.-", max_size=200),
        charset=st.sampled_from(["utf-8", "gb18030", "utf-16"]),
    )
    def test_text_in_any_charset(self, subject: str, body: str, charset: str) -> None:
        headers = f"Subject: {Header(subject, 'utf-8').encode()}\nContent-Type: text/plain; charset={charset}"
        encoded = base64.encodebytes(body.encode(charset))
        data = f"{headers}\nContent-Transfer-Encoding: base64\n\n".encode() + encoded
        message = parse_raw(data)
        assert message.subject == subject
        assert message == parse_gmail(gmail_resource(data))
