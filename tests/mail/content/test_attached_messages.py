"""Attached messages are described in the model, within bounds; a digest shows its messages."""

import base64
import time
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.mail.content import Address, AttachedMessage, Attachment, ParsedMessage, parse_raw
from services.mail.content.limits import ATTACHED_BYTES, ATTACHED_LEVELS, ATTACHED_TEXT_BYTES
from services.mail.providers.gmail.payload import parse_gmail
from tests.support.mail.samples import differences, gmail_resource, multipart, parse_as_gmail, raw

decode_stored = msgspec.json.Decoder(list[Attachment]).decode

INNER = (
    b"From: Eve <eve@example.net>\nTo: a@example.com, Bob <b@example.com>\nCc: c@example.com\n"
    b"Subject: =?utf-8?q?inn=C3=A9r?=\nDate: Tue, 3 Jun 2014 10:20:30 +0200\n"
) + multipart(
    "mixed",
    "Content-Type: text/html\n\n<p>inner <b>text</b></p>",
    "Content-Type: application/pdf; name=plan.pdf\n\n%PDF",
    boundary="inner",
)


def attach(inner: bytes, *, mime_type: str = "message/rfc822", encoding: str = "") -> bytes:
    """A message with a text and this one attached."""
    headers = f"Content-Type: {mime_type}" + (f"\nContent-Transfer-Encoding: {encoding}" if encoding else "")
    body = base64.encodebytes(inner) if encoding == "base64" else inner
    return b"Subject: outer\n" + multipart("mixed", "\nsee below", headers.encode() + b"\n\n" + body, boundary="outer")


def digest(*messages: bytes, boundary: str = "digest") -> bytes:
    return b"Subject: outer\n" + multipart("digest", *[b"\n" + each for each in messages], boundary=boundary)


def in_both_formats(data: bytes) -> ParsedMessage:
    message = parse_raw(data)
    assert differences(message, parse_as_gmail(data)) == {}
    return message


def described(data: bytes) -> AttachedMessage:
    [attachment] = in_both_formats(data).attachments
    assert attachment.message is not None
    return attachment.message


def without_ids(attachments: tuple[Attachment, ...]) -> list[tuple[str, str, int, bool]]:
    return [(each.filename, each.mime_type, each.size, each.inline) for each in attachments]


class TestDescription:
    @pytest.mark.parametrize(
        "mime_type", ["message/rfc822", "MESSAGE/RFC822; name=a.eml", "message/global", "message/news"]
    )
    def test_it_has_author_recipients_subject_date_text_and_attachments(self, mime_type: str) -> None:
        [attachment] = parse_raw(attach(INNER, mime_type=mime_type)).attachments
        assert attachment.message == AttachedMessage(
            subject="innér",
            from_=Address("Eve", "eve@example.net"),
            to=(Address("", "a@example.com"), Address("Bob", "b@example.com")),
            cc=(Address("", "c@example.com"),),
            sent_at=datetime(2014, 6, 3, 8, 20, 30, tzinfo=UTC),
            text="inner text",
            attachments=(Attachment("1.0.1", "plan.pdf", "application/pdf", 4, inline=False, content_id=None),),
        )

    def test_it_is_the_same_in_both_formats(self) -> None:
        message = in_both_formats(attach(INNER))
        assert (message.subject, message.text, message.html, len(message.attachments)) == (
            "outer",
            "see below",
            None,
            1,
        )
        assert message.attachments[0].size == len(INNER)

    @pytest.mark.parametrize("encoding", ["7bit", "8bit", "base64"])
    def test_a_transfer_encoding_changes_nothing(self, encoding: str) -> None:
        assert described(attach(INNER, encoding=encoding)) == described(attach(INNER))

    def test_a_message_that_is_nothing_but_an_attached_one(self) -> None:
        [attachment] = in_both_formats(b"Content-Type: message/rfc822\n\n" + INNER).attachments
        assert (attachment.part_id, attachment.message and attachment.message.text) == ("", "inner text")
        assert attachment.message
        assert [each.part_id for each in attachment.message.attachments] == ["0.1"]

    def test_a_message_without_anything_in_it(self) -> None:
        nothing = AttachedMessage(None, None, (), (), None, "", ())
        assert described(attach(b"\n")) == nothing

    def test_pictures_invitations_and_encryption_within_concern_it_alone(self) -> None:
        inner = multipart(
            "related",
            "Content-Type: text/html\n\n<img src=cid:a@x>",
            "Content-Type: image/png\nContent-ID: <a@x>\n\nx",
            "Content-Type: text/calendar; method=REQUEST\n\nBEGIN:VCALENDAR",
            "Content-Type: application/pkcs7-mime\n\nx",
            boundary="inner",
        )
        message = in_both_formats(attach(inner))
        assert (message.calendar, message.encrypted, message.has_attachments) == ((), False, True)
        assert [each.inline for each in described(attach(inner)).attachments] == [True, False, False]

    def test_messages_within_are_described_in_turn_to_a_bounded_depth(self) -> None:
        data = INNER
        for level in range(ATTACHED_LEVELS + 3):
            data = b"Subject: level %d\n" % level + multipart(
                "mixed", "\nx", b"Content-Type: message/rfc822\n\n" + data, boundary=f"level{level}"
            )
        message = in_both_formats(data)
        depth, attachments = 0, message.attachments
        while attachments and attachments[0].message:
            depth, attachments = depth + 1, attachments[0].message.attachments
        assert depth == ATTACHED_LEVELS
        assert [each.mime_type for each in attachments] == ["message/rfc822"]

    @settings(max_examples=100)
    @given(
        subject=st.text(alphabet="abc ёж漢é", max_size=20).map(lambda text: " ".join(text.split())),
        text=st.text(alphabet="abc \nёж漢é", max_size=100),
        names=st.lists(st.from_regex(r"[a-z]{1,5}\.(pdf|jpg|eml)", fullmatch=True), max_size=4),
        encoding=st.sampled_from(["8bit", "base64"]),
    )
    def test_it_says_what_the_message_itself_says(
        self, subject: str, text: str, names: list[str], encoding: str
    ) -> None:
        parts = [f"Content-Type: application/x; name={name}\nContent-Disposition: attachment\n\nx" for name in names]
        body = f"Content-Type: text/plain; charset=utf-8\n\n{text}"
        inner = f"Subject: {subject}\nFrom: Ann <ann@example.com>\n".encode() + multipart("mixed", body, *parts)
        whole, part = parse_raw(inner), described(attach(inner, encoding=encoding))
        assert (part.subject, part.from_, part.text) == (whole.subject, whole.from_, whole.text)
        assert without_ids(part.attachments) == without_ids(whole.attachments)


class TestBounds:
    def test_a_long_text_is_cut_and_the_message_not_truncated(self) -> None:
        message = parse_raw(attach(raw("Subject: x", body="ж" * ATTACHED_TEXT_BYTES)))
        [attachment] = message.attachments
        assert attachment.message
        assert len((attachment.message.text or "").encode()) == ATTACHED_TEXT_BYTES
        assert not message.truncated

    @pytest.mark.parametrize(
        "inner",
        [
            raw("Subject: x", body="word " * 20_000),
            raw("Subject: " + "s" * 50_000, body=""),
            raw("To: " + ", ".join(f"User {n} <u{n}@example.com>" for n in range(2000)), body=""),
            raw("Cc: " + ", ".join(f'"{"n" * 1900}" <u{n}@example.com>' for n in range(30)), body=""),
        ],
    )
    def test_all_together_take_no_more_than_there_is_room_for(self, inner: bytes) -> None:
        parts = [b"Content-Type: message/rfc822\n\n" + inner] * 20
        attachments = parse_raw(multipart("mixed", *parts, boundary="outer")).attachments
        assert len(attachments) == 20
        texts = [each.message for each in attachments if each.message]
        size = sum(
            len((each.subject or "") + (each.text or "")) + sum(len(to.name + to.email) for to in (*each.to, *each.cc))
            for each in texts
        )
        assert ATTACHED_BYTES * 0.9 < size <= ATTACHED_BYTES

    def test_thousands_of_parts_within_leave_the_outer_ones_alone(self) -> None:
        inner = multipart("mixed", *["Content-Type: image/png\n\nx"] * 1500, boundary="inner")
        data = multipart(
            "mixed", b"Content-Type: message/rfc822\n\n" + inner, "Content-Type: image/gif\n\nx", boundary="o"
        )
        for message in (parse_raw(data), parse_as_gmail(data)):
            assert [each.mime_type for each in message.attachments] == ["message/rfc822", "image/gif"]
            assert message.attachments[0].message
            assert len(message.attachments[0].message.attachments) < 1000
            assert (message.truncated, message.defects) == (False, ())

    def test_hostile_nesting_takes_linear_time(self) -> None:
        data = b"Content-Type: message/rfc822\n\n" * 30_000
        wide = multipart("mixed", *[b"Content-Type: message/rfc822\n\n" * 20] * 2000)
        started = time.process_time()
        parse_raw(data)
        parse_raw(wide)
        assert time.process_time() - started < 5


class TestDigests:
    FIRST = b"From: Ann <a@example.com>\nSubject: one\nDate: Tue, 3 Jun 2014 10:20:30 +0200\n\nfirst text\n"
    SECOND = b"From: Bob <b@example.com>\nSubject: two\n" + multipart(
        "mixed", "\nsecond text", "Content-Type: application/pdf; name=two.pdf\n\nx", boundary="second"
    )

    def test_its_messages_are_its_text(self) -> None:
        message = in_both_formats(digest(self.FIRST, self.SECOND))
        assert message.text == (
            "From: Ann <a@example.com>\nDate: Tue, 3 Jun 2014 10:20:30 +0200\nSubject: one\n\nfirst text\n"
            "From: Bob <b@example.com>\nSubject: two\n\nsecond text"
        )
        assert message.html is None

    def test_each_is_listed_and_described_but_for_the_text_that_is_shown(self) -> None:
        message = in_both_formats(digest(self.FIRST, self.SECOND))
        assert [(each.part_id, each.mime_type) for each in message.attachments] == [
            ("0", "message/rfc822"),
            ("1", "message/rfc822"),
        ]
        descriptions = [each.message for each in message.attachments if each.message]
        assert [(each.subject, each.text) for each in descriptions] == [("one", None), ("two", None)]
        assert [each.filename for each in descriptions[1].attachments] == ["two.pdf"]

    def test_html_is_shown_as_html(self) -> None:
        page = b"Subject: three\nContent-Type: text/html\n\n<p>third &amp; last</p>"
        message = in_both_formats(digest(self.FIRST, page))
        assert message.text
        assert message.text.endswith("Subject: three\n\nthird & last")
        assert message.html
        assert "<p>third &amp; last</p>" in message.html
        assert "first text" in message.html
        assert "Subject: one" in message.html

    def test_a_list_of_contents_and_a_footer_stand_around_them(self) -> None:
        inner = digest(self.FIRST).partition(b"\n")[2]
        data = multipart("mixed", "\ncontents", inner, "\nfooter", boundary="outer")
        text = in_both_formats(data).text or ""
        assert [each for each in ("contents", "first text", "footer") if each in text] == [
            "contents",
            "first text",
            "footer",
        ]
        assert text.index("contents") < text.index("first text") < text.index("footer")

    def test_messages_outside_of_a_digest_are_not_shown(self) -> None:
        assert "first text" not in (in_both_formats(attach(self.FIRST)).text or "")

    def test_a_digest_within_a_digest_is_shown_too(self) -> None:
        assert "first text" in (in_both_formats(digest(digest(self.FIRST, boundary="within"))).text or "")


class TestGmail:
    """Gmail expands attached messages into parts."""

    def test_text_by_reference_is_not_fetched_for_a_description(self) -> None:
        resource = gmail_resource(attach(INNER), by_reference=lambda part: part.mime_type != "text/plain")
        message = parse_gmail(resource)
        assert message.missing_parts == ()
        [attachment] = message.attachments
        assert attachment.message
        assert (attachment.message.subject, attachment.message.text) == ("innér", None)
        assert [each.filename for each in attachment.message.attachments] == ["plan.pdf"]

    def test_a_message_that_it_did_not_expand_is_read_from_its_bytes_or_not_described(self) -> None:
        resource = gmail_resource(attach(INNER), by_reference=lambda _: False)
        del resource["payload"]["parts"][1]["parts"]
        assert parse_gmail(resource) == parse_raw(attach(INNER))
        resource = gmail_resource(attach(INNER))
        del resource["payload"]["parts"][1]["parts"]
        [attachment] = parse_gmail(resource).attachments
        assert (attachment.mime_type, attachment.message) == ("message/rfc822", None)


class TestStored:
    """Attachments are stored as JSON: older rows are read by newer code, and newer rows by older code."""

    def test_what_was_stored_comes_back(self) -> None:
        attachments = parse_raw(attach(INNER)).attachments
        assert decode_stored(msgspec.json.encode(attachments)) == list(attachments)

    def test_a_row_without_the_newer_fields_is_read(self) -> None:
        row = b'[{"part_id":"0","filename":"a","mime_type":"a/b","size":1,"inline":true,"content_id":null}]'
        assert decode_stored(row) == [Attachment("0", "a", "a/b", 1, inline=True, content_id=None)]

    def test_a_row_with_fields_to_come_is_read(self) -> None:
        row = msgspec.json.decode(msgspec.json.encode(parse_raw(attach(INNER)).attachments))
        row[0]["field_to_come"] = row[0]["message"]["field_to_come"] = 1
        assert decode_stored(msgspec.json.encode(row)) == list(parse_raw(attach(INNER)).attachments)
