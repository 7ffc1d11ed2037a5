"""Charsets: a label that can be true is believed, and a broken byte spoils no other."""

import base64

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from services.mail.content.text.charsets import decode_text
from tests.support.mail.samples import parse

RUSSIAN = "Добрый день! Высылаю счёт за июль, прошу оплатить до пятницы."
CHINESE = "您好，附件是七月份的发票，请在星期五之前付款。"
JAPANESE = "こんにちは。七月分の請求書をお送りします。"
NO_BREAK = "\xa0"
PROPERTY = settings(max_examples=300)


def body_of(data: bytes, charset: str, *, mime_type: str = "text/plain") -> str | None:
    headers = (f"Content-Type: {mime_type}; charset={charset}", "Content-Transfer-Encoding: base64")
    message = parse(*headers, body=base64.encodebytes(data))
    return message.html if mime_type == "text/html" else message.text


class TestDeclaredLatin:
    """The declared charset can be true (RFC 2045 section 5.2, RFC 2046 section 4.1.2)."""

    @pytest.mark.parametrize("declared", ["iso-8859-1", "windows-1252", "iso-8859-15"])
    @pytest.mark.parametrize(
        "text",
        [
            f"Tea{NO_BREAK * 6}4.00",
            f"<td>{NO_BREAK * 4}</td><td>1{NO_BREAK}000{NO_BREAK * 3}kg</td>",
            "Vocali: àèìòù\n",
            "Umlaute: ÄÖÜäöüß",
            "Lettres : éèêëàâçùû",
            "Acentos: ÁÉÍÓÚáéíóúñ",
            "åäöÅÄÖ",
            f"«{NO_BREAK}Été{NO_BREAK}» est fini",
            "°°°° Menu °°°°",
            "·····················",
            "ááá! ééé! ¡¡¡Olé!!!",
            "ÃÕÇÃO É",
        ],
    )
    def test_text_that_needs_it_is_read_in_it(self, declared: str, text: str) -> None:
        assert body_of(text.encode("iso-8859-1"), declared) == text

    def test_html_is_read_in_it_too(self) -> None:
        page = f"<p>Tea{NO_BREAK * 6}4.00</p>"
        assert body_of(page.encode("iso-8859-1"), "iso-8859-1", mime_type="text/html") == page

    @pytest.mark.parametrize("encoding", ["windows-1251", "koi8-r", "iso-8859-5"])
    @pytest.mark.parametrize("text", [RUSSIAN, "Добрый день", "Re: Привет"])
    def test_another_script_is_not(self, encoding: str, text: str) -> None:
        assert body_of(text.encode(encoding, "ignore"), "iso-8859-1") == text

    def test_without_a_label_spaces_and_rules_are_no_letters(self) -> None:
        text = f"Tea{NO_BREAK * 6}4.00 ·····"
        assert body_of(text.encode("iso-8859-1"), "us-ascii") == text

    _LATIN_WORDS = st.lists(st.from_regex("[a-z]{0,3}([éèàçäöüßñø]{1,2}[a-z]{1,3}){0,3}", fullmatch=True), min_size=1)

    @PROPERTY
    @given(words=_LATIN_WORDS, gap=st.sampled_from([" ", NO_BREAK, f"{NO_BREAK}–{NO_BREAK}", f" {NO_BREAK * 9}", "…"]))
    @example(words=["tea", "4.00"], gap=NO_BREAK * 6)
    def test_any_words_of_latin_script_are_read_as_declared(self, words: list[str], gap: str) -> None:
        text = gap.join(words)
        data = text.encode("cp1252")
        # Valid UTF-8 is read as UTF-8: providers deliver it under the old label.
        assume(data.isascii() or decode_text(data, "utf-8")[0] != data.decode("utf-8", "replace"))
        assert decode_text(data, "windows-1252")[0] == text


class TestBrokenBytes:
    """A cut or broken character is U+FFFD, the others stay."""

    @pytest.mark.parametrize(
        ("header", "expected"),
        [
            (b"Subject: " + "Счёт за июл".encode() + b"\xd1", "Счёт за июл\ufffd"),
            (b"Subject: Gr" + "ö".encode() + b"\xff" + "ße".encode(), "Grö\ufffdße"),
            (b"Subject: \x9f" + "Счёт за июль".encode(), "\ufffdСчёт за июль"),
            (b"Subject: =?UTF-8?Q?Z=C3=BCrich_=E2=80=93_Gr=C3=B6=C3?=", "Zürich – Grö\ufffd"),
            (b"Subject: =?UTF-8?Q?Gr=C3?=", "Gr\ufffd"),
            (b"Subject: =?UTF-8?Q?10_=E2=82?=", "10 \ufffd"),
            (b"Subject: =?utf-8?B?0J/RgNC40LLQtdE=?=", "Приве\ufffd"),
            (b"Subject: =?utf-8?Q?=D0=9F=FF=D1=80?=", "П\ufffdр"),
            (b"Subject: =?gb2312?B?t6LG?=", "发\ufffd"),
            (b"Subject: =?windows-1251?Q?=CF=F0=E8=98=E2?=", "При\ufffdв"),
        ],
    )
    def test_in_a_subject(self, header: bytes, expected: str) -> None:
        assert parse(header).subject == expected

    def test_in_a_name(self) -> None:
        message = parse(b"From: " + "Зоя Ёлкин".encode() + b"\xd0 <z@example.com>")
        assert [(each.name, each.email) for each in message.authors] == [("Зоя Ёлкин\ufffd", "z@example.com")]

    def test_another_header_in_utf8_says_what_a_broken_one_is_in(self) -> None:
        message = parse("Subject: Zürich", b"From: \xc3\x96\xff <o@example.com>")
        assert (message.subject, message.authors[0].name) == ("Zürich", "Ö\ufffd")

    @pytest.mark.parametrize(
        ("text", "next_character", "encoding", "declared"),
        [
            (RUSSIAN, "ю", "utf-8", "utf-8"),
            (RUSSIAN, "ю", "utf-8", "us-ascii"),
            (RUSSIAN, "ю", "utf-8", "koi8-r"),
            (CHINESE, "你", "gb18030", "gb2312"),
            (CHINESE * 2, "你", "gb18030", "x-unknown"),
            (JAPANESE, "は", "cp932", "shift_jis"),
            (JAPANESE * 2, "は", "cp932", "x-unknown"),
            (JAPANESE, "は", "euc-jp", "euc-jp"),
        ],
    )
    def test_at_the_end_of_a_body(self, text: str, next_character: str, encoding: str, declared: str) -> None:
        cut = (text + next_character).encode(encoding)
        assert body_of(cut[:-1], declared) == text + "\ufffd"

    @pytest.mark.parametrize(
        ("text", "codec", "broken"),
        [
            (RUSSIAN, "cp1251", b"\x98"),
            ("Καλημέρα σας", "cp1253", b"\xd2"),
            ("Příliš žluťoučký", "cp1250", b"\x81"),
            ("สวัสดีครับ", "cp874", b"\xdb"),
        ],
    )
    def test_a_byte_that_a_charset_leaves_open(self, text: str, codec: str, broken: bytes) -> None:
        assert body_of(text.encode(codec) + broken, codec.replace("cp", "windows-")) == text + "\ufffd"

    def test_half_a_surrogate_pair_in_utf_16(self) -> None:
        data = (RUSSIAN + "😀").encode("utf-16-le")[:-2]
        assert body_of(data, "utf-16le") == RUSSIAN + "\ufffd"

    def test_half_a_character_in_iso_2022_jp(self) -> None:
        assert body_of(b"\x1b$B%F%9%H%", "iso-2022-jp") == "テスト\ufffd"

    def test_a_label_of_utf8_on_a_latin_text_is_no_reason_to_lose_letters(self) -> None:
        for text in ("Café", "Voilà la facture d'été, déjà payée à Noël."):
            assert body_of(text.encode("cp1252"), "utf-8") == text

    @PROPERTY
    @given(
        text=st.text(alphabet="ёжз漢字é😀 abc", min_size=6, max_size=60),
        cut=st.integers(0, 3),
        junk=st.sampled_from([b"", b"\xff", b"\x80", b"\xc3 "]),
        place=st.integers(0, 40),
        declared=st.sampled_from(["utf-8", "us-ascii", "koi8-r", "iso-8859-1"]),
    )
    def test_utf8_with_damage_is_utf8(self, text: str, cut: int, junk: bytes, place: int, declared: str) -> None:
        whole = text[:place].encode() + junk + text[place:].encode()
        data = whole[: len(whole) - cut]
        good = sum(not character.isascii() for character in data.decode("utf-8", "ignore"))
        # Under another label it takes more to be sure.
        assume(good >= (6 if declared in ("utf-8", "us-ascii") else 30))
        assert decode_text(data, declared)[0] == data.decode("utf-8", "replace")
