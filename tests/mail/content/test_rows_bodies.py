"""Reference section 8, rows about bodies: 7 to 13, 23 and 24."""

import base64
import re
import time

import pytest

from services.mail.content import Attachment, html_to_text, indexable, parse_gmail, parse_raw
from tests.mail.content.samples import gmail_resource, multipart, parse, parse_as_gmail, raw

RUSSIAN = "Добрый день! Высылаю счёт за июль, прошу оплатить до пятницы."
CHINESE = "您好，附件是七月份的发票，请在星期五之前付款。"
TRADITIONAL = "您好，附件是七月份的發票，請在星期五之前付款。"
JAPANESE = "こんにちは。七月分の請求書をお送りします。"
KOREAN = "안녕하세요. 칠월 청구서를 보내드립니다. 금요일까지 입금해 주세요."
GREEK = "Καλημέρα σας, επισυνάπτω το τιμολόγιο του Ιουλίου."
HEBREW = "שלום רב, מצורפת החשבונית עבור חודש יולי."
THAI = "สวัสดีครับ แนบใบแจ้งหนี้ประจำเดือนกรกฎาคมมาด้วย"
ARABIC = "مرحبا، تجدون في المرفق فاتورة شهر يوليو، يرجى السداد قبل يوم الجمعة."
FRENCH = "Voilà la facture d'été, déjà payée à Noël."


class TestRow07BodyCharsets:
    """The text comes out right whatever charset is declared."""

    @pytest.mark.parametrize(
        ("encoding", "declared", "text"),
        [
            ("utf-8", "utf-8", RUSSIAN),
            ("windows-1251", "windows-1251", RUSSIAN),
            ("windows-1251", "iso-8859-1", RUSSIAN),
            ("windows-1251", "us-ascii", RUSSIAN),
            ("koi8-r", "KOI8-R", RUSSIAN),
            ("koi8-u", "koi8-u", "Їжак і ґава"),
            ("koi8-r", "x-unknown", RUSSIAN),
            ("utf-8", "windows-1251", RUSSIAN),
            ("gb18030", "gb2312", CHINESE + "镕㐀"),
            ("gb18030", "default", CHINESE),
            ("iso-2022-jp", "iso-2022-jp", JAPANESE),
            ("iso-2022-jp", "", JAPANESE),
            ("cp932", "shift_jis", JAPANESE + "①㈱"),
            ("cp932", "unknown-8bit", JAPANESE),
            ("euc-jp", "none", JAPANESE),
            ("cp949", "ks_c_5601-1987", KOREAN),
            ("euc-kr", "us-ascii", KOREAN),
            ("big5", "Big5", TRADITIONAL),
            ("big5", "x-unknown", TRADITIONAL),
            ("cp1253", "x-unknown", GREEK),
            ("cp1255", "iso-8859-1", HEBREW),
            ("cp874", "x-unknown", THAI),
            ("cp1256", "x-unknown", ARABIC),
            ("cp1250", "x-unknown", "Příliš žluťoučký kůň úpěl ďábelské ódy"),
            ("cp1254", "x-unknown", "Değerli müşterimiz, şifreniz değiştirildi"),
            ("utf-7", "utf-7", RUSSIAN),
            ("utf-16-le", "utf-16", RUSSIAN + "hello"),
            ("utf-16-be", "utf-16", RUSSIAN + "hello"),
            ("utf-16", "utf-8", RUSSIAN),
            ("windows-1252", "iso-8859-1", "“" + FRENCH + "” €"),
            ("windows-1252", "x-unknown", FRENCH),
            ("utf-8", "'utf-8'", RUSSIAN),
            ("utf-8", '"utf-8', RUSSIAN),
            ("utf-8", "no-such-charset", RUSSIAN),
            ("utf-8-sig", "utf-8", RUSSIAN),
        ],
    )
    def test_the_text_is_right(self, encoding: str, declared: str, text: str) -> None:
        body = base64.encodebytes(text.encode(encoding))
        headers = (f"Content-Type: text/plain; charset={declared}", "Content-Transfer-Encoding: base64")
        assert parse(*headers, body=body).text == text
        assert parse_as_gmail(raw(*headers, body=body)).text == text

    def test_gmail_may_have_turned_the_text_into_utf8_under_the_old_label(self) -> None:
        for declared in ("gb2312", "shift_jis", "koi8-r", "iso-8859-1"):
            body = CHINESE.encode()
            assert parse(f"Content-Type: text/plain; charset={declared}", body=body).text == CHINESE

    def test_microsoft_characters_in_iso_2022_jp_are_read(self) -> None:
        body = b"\x1b$B-!%F%9%H\x1b(B ok"
        assert parse("Content-Type: text/plain; charset=iso-2022-jp", body=body).text == "①テスト ok"

    def test_html_meta_is_only_a_hint(self) -> None:
        page = '<meta http-equiv="Content-Type" content="text/html; charset={}"><p>' + "Příliš žluťoučký kůň</p>"
        hinted = page.format("iso-8859-2")
        assert parse("Content-Type: text/html", body=hinted.encode("iso-8859-2")).html == hinted
        lying = page.format("windows-1251")
        assert parse("Content-Type: text/html; charset=utf-8", body=lying.encode()).html == lying

    def test_a_few_broken_bytes_do_not_spoil_utf8(self) -> None:
        body = RUSSIAN.encode() + b"\xff" + RUSSIAN.encode()
        assert parse("Content-Type: text/plain; charset=utf-8", body=body).text == RUSSIAN + "\ufffd" + RUSSIAN


class TestRow08TransferEncodings:
    """Broken transfer encodings give what can be read, never an error."""

    @pytest.mark.parametrize(
        ("encoding", "body", "text"),
        [
            ("base64", "SGVs bG8s\n\tIHdv\r\ncmxk", "Hello, world"),
            ("BASE64", "SGVsbG8=LCB3b3JsZA==", "Hello, world"),
            ("base64", "SGVsbG8sIHdvcmxk\nSGVsbG8sIHdvcmxkI", "Hello, worldHello, world"),
            ("base64", "Pz8_Pj4-", "???>>>"),
            ("base64", "SGVsbG8sIHdvcmxk\n=\n", "Hello, world"),
            ("base64", "SGVsbG8sIHdvcmxkIQ==\n____\nTo unsubscribe, write to us.\n", "Hello, world!"),
            ("base64", "This is plain text, whatever the header says. Really!", None),
            ("base64", "==========\nThe week in brief: plain text, whatever the header says.", None),
            ("quoted-printable", "a=ZZb =3D c=\nd=", "a=ZZb = cd"),
            ("Quoted-Printable (really)", "caf=c3=a9", "café"),
            ("x-uuencode", "begin 644 f\n%2&5L;&\\\n`\nend\n", "Hello"),
            ("8bit", "plain=20text", "plain=20text"),
            ("binary", "plain", "plain"),
            ("x-nonsense", "plain", "plain"),
        ],
    )
    def test_they_are_decoded_leniently(self, encoding: str, body: str, text: str | None) -> None:
        assert parse(f"Content-Transfer-Encoding: {encoding}", body=body).text == (text or body)

    def test_an_encoded_multipart_is_taken_apart(self) -> None:
        inner = multipart("mixed", "Content-Type: text/plain\n\nhello").partition(b"\n\n")[2]
        headers = ('Content-Type: multipart/mixed; boundary="b"', "Content-Transfer-Encoding: base64")
        assert parse(*headers, body=base64.encodebytes(inner)).text == "hello"

    def test_seven_bit_that_is_eight_bit_is_read(self) -> None:
        assert parse("Content-Transfer-Encoding: 7bit", body=RUSSIAN).text == RUSSIAN


class TestRow09BodyForms:
    """No body is legal; text is derived from HTML when there is no text worth the name."""

    def test_attachment_only_has_no_text(self) -> None:
        message = parse("Content-Type: application/pdf", body="%PDF")
        assert (message.text, message.html) == (None, None)
        assert message.attachments == (Attachment("", "", "application/pdf", 4, inline=False, content_id=None),)

    def test_an_empty_multipart_has_no_text(self) -> None:
        assert parse_raw(b'Content-Type: multipart/mixed; boundary="b"\n\n--b--\n').text is None
        assert parse_raw(b'Content-Type: multipart/mixed; boundary="b"\n\n').text is None

    def test_a_body_of_no_length_is_an_empty_text(self) -> None:
        assert parse("Content-Type: text/plain").text == ""

    def test_html_only_gives_derived_text(self) -> None:
        page = "<style>p {}</style><script>alert(1)</script><p>Hello,<br>world &amp; all</p><ul><li>one<li>two</ul>"
        message = parse("Content-Type: text/html", body=page)
        assert message.text == "Hello,\nworld & all\n\n- one\n- two"
        assert message.text_from_html
        assert message.html == page

    @pytest.mark.parametrize("plain", ["", "  \n", "Your mail client cannot display HTML. View it in a browser."])
    def test_a_text_that_says_nothing_is_replaced(self, plain: str) -> None:
        page = "<p>" + "The real content of this mail. " * 10 + "</p>"
        data = multipart("alternative", f"Content-Type: text/plain\n\n{plain}", f"Content-Type: text/html\n\n{page}")
        message = parse_raw(data)
        assert message.text == ("The real content of this mail. " * 10).strip()
        assert message.text_from_html

    def test_a_real_text_is_kept_beside_the_html(self) -> None:
        data = multipart("alternative", "Content-Type: text/plain\n\nHi *you*", "Content-Type: text/html\n\n<b>Hi</b>")
        message = parse_raw(data)
        assert (message.text, message.html, message.text_from_html) == ("Hi *you*", "<b>Hi</b>", False)

    def test_every_text_part_of_a_mixed_message_is_kept(self) -> None:
        data = multipart(
            "mixed", "Content-Type: text/html\n\n<p>Hi</p>", "Content-Type: text/plain\n\n-- \nlist <footer>"
        )
        message = parse_raw(data)
        assert message.text == "Hi\n-- \nlist <footer>"
        assert message.html is not None
        assert "<p>Hi</p>" in message.html
        assert "list &lt;footer&gt;" in message.html

    def test_links_stay_readable(self) -> None:
        page = '<a href="https://x.org/a">Read <b>on</b></a> <a href="https://x.org">x.org</a> <a href="#top">up</a>'
        assert html_to_text(page) == "Read on (https://x.org/a) x.org up"


class TestRow10Structures:
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


class TestRow11MessagesWithin:
    """What is inside an attached message never shows outside."""

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


class TestRow12Encrypted:
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


class TestRow13Invitations:
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
        assert message.calendar[0].method == "REQUEST"


class TestRow23Sizes:
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


class TestRow24IndexableText:
    """Text for the index is bounded, without noise and without words that are too long."""

    def test_base64_like_runs_are_dropped(self) -> None:
        run = base64.b64encode(bytes(range(200))).decode()
        assert indexable(f"before {run} after").split() == ["before", "after"]

    def test_words_stay_below_the_limit_of_an_index(self) -> None:
        text = indexable("é!" * 5000 + " " + "漢" * 5000 + " " + "!" * 5000)
        assert max(len(word.encode()) for word in text.split()) <= 2046
        assert text.count("漢") == 5000

    def test_the_whole_stays_below_the_limit_of_a_tsvector(self) -> None:
        text = indexable(" ".join(f"w{i:x}" for i in range(400_000)))
        assert len(text.encode()) <= 200_000

    def test_ordinary_text_is_unchanged(self) -> None:
        assert indexable(RUSSIAN) == RUSSIAN
        assert re.search("https://example.com/path", indexable("see https://example.com/path now"))
