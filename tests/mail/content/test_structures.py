"""How messages are put together: multiparts, attached and encrypted messages, invitations."""

import base64

import pytest

from services.mail.content import Attachment, parse_raw
from services.mail.providers.gmail.payload import parse_gmail
from tests.support.mail.samples import gmail_resource, multipart, parse, parse_as_gmail


class TestStructures:
    """Nested, endless and broken multiparts."""

    def test_the_usual_rich_message_is_taken_apart(self) -> None:
        related = multipart(
            "related",
            "Content-Type: text/html\n\n<img src=cid:i>",
            "Content-Type: image/png\nContent-ID: <i>\n\nPNG",
            boundary="r",
        )
        alternative = multipart("alternative", "Content-Type: text/plain\n\nplain", related, boundary="a")
        pdf = "Content-Type: application/pdf; name=x.pdf\nContent-Disposition: attachment\n\nPDF"
        data = multipart("mixed", alternative, pdf, boundary="m")
        for message in (parse_raw(data), parse_as_gmail(data)):
            assert (message.text, message.html) == ("plain", "<img src=cid:i>")
            assert message.attachments == (
                Attachment("0.1.1", "", "image/png", 3, inline=True, content_id="i"),
                Attachment("1", "x.pdf", "application/pdf", 3, inline=False, content_id=None),
            )
            assert message.has_attachments

    def test_fifty_levels_are_read_and_more_than_a_hundred_cut(self) -> None:
        part = b"Content-Type: text/plain\n\ndeep"
        for level in range(120):
            part = multipart("mixed", part, boundary=f"level{level}-")
            if level == 50:
                assert parse_raw(part).text == "deep"
        message = parse_raw(part)
        assert message.truncated
        assert "too-deep" in message.defects
        assert "too-deep" in parse_gmail(gmail_resource(part)).defects

    def test_more_than_a_thousand_parts_are_cut(self) -> None:
        data = multipart("mixed", *["Content-Type: image/png\n\nx"] * 1500)
        for message in (parse_raw(data), parse_gmail(gmail_resource(data))):
            assert len(message.attachments) == 999
            assert message.truncated

    def test_a_boundary_that_is_not_declared_is_guessed(self) -> None:
        body = multipart("mixed", "Content-Type: text/plain\n\nhello").partition(b"\n\n")[2]
        message = parse("Content-Type: multipart/mixed", body=body)
        assert message.text == "hello"
        assert "boundary-guessed" in message.defects

    def test_a_multipart_without_any_boundary_is_text(self) -> None:
        assert parse('Content-Type: multipart/mixed; boundary="b"', body="just text").text == "just text"

    def test_the_same_boundary_twice_and_one_that_starts_another_are_told_apart(self) -> None:
        inner = multipart("alternative", "Content-Type: text/plain\n\ninner", boundary="abc")
        assert parse_raw(multipart("mixed", inner, "\nlast", boundary="ab")).text == "inner\nlast"
        assert parse_raw(multipart("mixed", inner, "\nlast", boundary="abc")).text is not None

    def test_preamble_and_epilogue_are_no_part_of_the_text(self) -> None:
        data = multipart("mixed", "\nhello") + b"epilogue"
        assert parse_raw(data.replace(b"\n\n", b"\n\npreamble\n", 1)).text == "hello"

    def test_a_missing_closing_boundary_loses_nothing(self) -> None:
        data = multipart("mixed", "\none", "\ntwo").replace(b"--b--", b"")
        assert parse_raw(data).text == "one\ntwo\n\n"


class TestMessagesWithin:
    """The contents of an attached message never show outside of its description."""

    INNER = "Subject: inner\nFrom: inner@x.org\nContent-Type: text/plain\n\ninner text"

    @pytest.mark.parametrize("encoding", ["7bit", "base64"])
    def test_an_attached_message_is_one_attachment(self, encoding: str) -> None:
        inner = base64.encodebytes(self.INNER.encode()).decode() if encoding == "base64" else self.INNER
        part = f"Content-Type: message/rfc822\nContent-Transfer-Encoding: {encoding}\n\n{inner}"
        message = parse_raw(b"Subject: outer\n" + multipart("mixed", "\nouter text", part))
        [attachment] = message.attachments
        assert (attachment.mime_type, attachment.size, attachment.part_id) == ("message/rfc822", len(self.INNER), "1")
        assert (message.subject, message.text, message.from_) == ("outer", "outer text", None)

    def test_gmail_expands_it_and_it_stays_one_attachment(self) -> None:
        data = b"Subject: outer\n" + multipart("mixed", "\nouter", f"Content-Type: message/rfc822\n\n{self.INNER}")
        resource = gmail_resource(data)
        assert resource["payload"]["parts"][1]["parts"]
        assert parse_gmail(resource) == parse_raw(data)

    def test_reports_and_partial_messages_are_attachments(self) -> None:
        data = multipart(
            "report",
            "\nIt failed.",
            "Content-Type: message/delivery-status\n\nStatus: 5.0.0\n\nFinal-Recipient: x",
            "Content-Type: text/rfc822-headers\n\nSubject: inner",
            "Content-Type: message/partial; id=x\n\nhalf",
        )
        message = parse_raw(data)
        assert message.text == "It failed."
        assert [each.mime_type for each in message.attachments] == [
            "message/delivery-status",
            "text/rfc822-headers",
            "message/partial",
        ]

    def test_parts_of_a_digest_are_messages(self) -> None:
        assert parse_raw(multipart("digest", f"\n{self.INNER}")).attachments[0].mime_type == "message/rfc822"


class TestEncrypted:
    """Encrypted mail is flagged and kept as attachments; it has no body."""

    def test_pgp_mime(self) -> None:
        data = multipart(
            "encrypted; protocol=application/pgp-encrypted",
            "Content-Type: application/pgp-encrypted\n\nVersion: 1",
            "Content-Type: application/octet-stream; name=encrypted.asc\n\nPGP",
        )
        message = parse_raw(data)
        assert (message.encrypted, message.text, len(message.attachments)) == (True, None, 2)

    @pytest.mark.parametrize(
        ("smime_type", "encrypted"), [("enveloped-data", True), ("signed-data", False), (None, True)]
    )
    def test_smime(self, smime_type: str | None, encrypted: bool) -> None:
        parameter = f"; smime-type={smime_type}" if smime_type else ""
        message = parse(f"Content-Type: application/pkcs7-mime{parameter}; name=smime.p7m", body="x")
        assert (message.encrypted, message.text) == (encrypted, None)
        assert message.attachments[0].filename == "smime.p7m"

    def test_inline_pgp_keeps_its_armour(self) -> None:
        message = parse(body="-----BEGIN PGP MESSAGE-----\nabc")
        assert message.encrypted
        assert message.text == "-----BEGIN PGP MESSAGE-----\nabc"

    def test_signed_mail_and_winmail_are_not_encrypted(self) -> None:
        signed = multipart("signed", "\nhello", "Content-Type: application/pgp-signature; name=s.asc\n\nsig")
        tnef = multipart("mixed", "\nhello", "Content-Type: application/ms-tnef; name=winmail.dat\n\nx")
        for message in (parse_raw(signed), parse_raw(tnef)):
            assert (message.encrypted, message.text, len(message.attachments)) == (False, "hello", 1)


class TestInvitations:
    """An invitation is no body text and is listed once."""

    EVENT = "BEGIN:VCALENDAR\nMETHOD:CANCEL\nEND:VCALENDAR"

    def test_an_unnamed_alternative_with_its_file_is_listed_once(self) -> None:
        alternative = multipart(
            "alternative",
            "Content-Type: text/plain\n\nmeeting",
            f"Content-Type: text/calendar; method=cancel\n\n{self.EVENT}",
            boundary="a",
        )
        file = "Content-Type: application/ics; name=invite.ics\nContent-Disposition: attachment\n\n" + self.EVENT
        data = multipart("mixed", alternative, file)
        for message in (parse_raw(data), parse_as_gmail(data)):
            [invitation] = message.calendar
            assert (invitation.part_id, invitation.method, invitation.text) == ("0.1", "CANCEL", self.EVENT)
            assert [each.filename for each in message.attachments] == ["invite.ics"]
            assert message.text == "meeting"

    def test_without_a_file_the_alternative_is_the_attachment(self) -> None:
        data = multipart("alternative", "\nmeeting", f"Content-Type: text/calendar; method=REQUEST\n\n{self.EVENT}")
        message = parse_raw(data)
        assert [each.part_id for each in message.attachments] == ["1"]
        assert message.calendar[0].method == "CANCEL"
