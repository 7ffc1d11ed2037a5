"""Bodies: declared and real charsets, broken transfer encodings, missing text."""

import base64

import pytest

from services.mail.content import Attachment, html_to_text, parse_raw
from tests.support.mail.samples import multipart, parse, parse_as_gmail, raw

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


class TestBodyCharsets:
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


class TestTransferEncodings:
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


class TestBodyForms:
    """A message may lack a body; text is derived from HTML if the plain text is missing or says nothing."""

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
