"""Transfer encodings: base64 of JSON, padded lines of quoted-printable, and base64 that is none."""

import base64
import binascii
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.mail.content.mime.transfer import decode_base64, decode_base64_text, decode_transfer

LARGE = random.Random(1).randbytes(700_001)


class TestLargeText:
    @pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
    @pytest.mark.parametrize("padding", ["", "=", "=="])
    def test_is_what_was_encoded_in_either_alphabet_and_however_padded(self, encode: object, padding: str) -> None:
        assert callable(encode)
        encoded = encode(LARGE).decode().rstrip("=") + padding
        assert decode_base64_text(encoded) == LARGE

    def test_with_line_breaks_and_stray_characters_is_read_as_leniently_as_a_small_one(self) -> None:
        encoded = base64.encodebytes(LARGE).decode().replace("\n", "\r\n ")
        assert decode_base64_text(encoded) == LARGE
        assert decode_base64_text("é" + encoded) == decode_base64(encoded.encode())


class TestQuotedPrintablePadding:
    """White space at the end of a line was added on the way (RFC 2045 section 6.7 rule 3)."""

    @pytest.mark.parametrize(
        ("body", "decoded"),
        [
            (b"one= \ntwo\n", b"onetwo\n"),
            (b"one=\t \r\ntwo\r\n", b"onetwo\r\n"),
            (b"one \t\ntwo  ", b"one\ntwo"),
            (b"one=20\ntwo=09 \n", b"one \ntwo\t\n"),
            (b"  indented\n\n \n", b"  indented\n\n\n"),
            (b"=  ", b""),
            (b"plain = text\n", b"plain = text\n"),
        ],
    )
    def test_it_is_left_out(self, body: bytes, decoded: bytes) -> None:
        assert decode_transfer(body, "quoted-printable") == decoded

    @settings(max_examples=300)
    @given(data=st.binary(max_size=300), padding=st.sampled_from([b" ", b"\t", b" \t  "]), crlf=st.booleans())
    def test_no_padding_changes_what_was_encoded(self, data: bytes, padding: bytes, crlf: bool) -> None:
        encoded = binascii.b2a_qp(data, istext=False)
        padded = encoded.replace(b"\n", padding + b"\n") + padding
        assert decode_transfer(padded.replace(b"\n", b"\r\n") if crlf else padded, "quoted-printable") == data

    def test_long_runs_of_space_take_linear_time(self) -> None:
        started = time.process_time()
        decode_transfer((b" " * 1000 + b"x") * 2000 + b" \n", "quoted-printable")
        assert time.process_time() - started < 5


class TestLyingBase64:
    """A text that only claims to be base64 is shown as it stands."""

    @pytest.mark.parametrize(
        "body",
        [
            b"https://example.com/verify/0123456789abcdef0123456789abcdef\n",
            b"Hello\n",
            b"Thanks\n\nAnn",
            b"Your code: 12345",
            b"Dear Ann, your order 123456789012345678901234567890 has shipped\n",
            "Здравствуйте!\n".encode(),
            b"<html><body>https</body></html>\n",
        ],
    )
    def test_plain_text_stays(self, body: bytes) -> None:
        assert decode_transfer(body, "base64", is_text=True) == body

    @pytest.mark.parametrize(
        ("body", "decoded"),
        [
            (b"SGVsbG8=", b"Hello"),
            (b"SGVsbG8", b"Hello"),
            (b"SGVs bG8s\n IHdv\ncmxk\n", b"Hello, world"),
            (b"SGVsbG8h\n____\nTo unsubscribe, write to us: x@example.com\n", b"Hello!"),
            (b"SGVsbG8h\nMailing list x, y and z\n", b"Hello!"),
            (b"SGVsbG8h\r\n-- \r\nAnn Smith\r\n", b"Hello!"),
            (
                b"SGVsbG8h\n" + 47 * b"_" + b"\nnews mailing list\nnews@lists.example.org\n"
                b"https://lists.example.org/mailman/listinfo/news\n",
                b"Hello!",
            ),
            (b"Q2Fm6SE=", b"Caf\xe9!"),
            (base64.b64encode("Привет, мир".encode("koi8-r")), "Привет, мир".encode("koi8-r")),
            (base64.encodebytes("Привет".encode("utf-16")), "Привет".encode("utf-16")),
        ],
    )
    def test_real_base64_is_decoded(self, body: bytes, decoded: bytes) -> None:
        assert decode_transfer(body, "base64", is_text=True) == decoded

    def test_no_base64_behind_a_separator_is_cut_off(self) -> None:
        body = b"SGVsbG8h\n----\n" + 20 * b"SGVs" + b"\n"
        assert decode_transfer(body, "base64", is_text=True).endswith(20 * b"Hel")

    @settings(max_examples=300)
    @given(text=st.text(min_size=1, max_size=300), codec=st.sampled_from(["utf-8", "utf-16", "cp1251", "gb18030"]))
    def test_any_text_is_decoded(self, text: str, codec: str) -> None:
        data = text.encode(codec, "replace" if codec == "cp1251" else "surrogatepass")
        assert decode_transfer(base64.encodebytes(data), "base64", is_text=True) == data

    @settings(max_examples=300)
    @given(words=st.lists(st.from_regex(r"[A-Za-z]{1,9}[,.:!?]", fullmatch=True), min_size=3, max_size=30))
    def test_no_prose_is_decoded(self, words: list[str]) -> None:
        body = " ".join(words).encode()
        assert decode_transfer(body, "base64", is_text=True) == body
