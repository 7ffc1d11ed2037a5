"""Base64 of JSON, which is decoded in pieces where it is large."""

import base64
import random

import pytest

from services.mail.content.mime.transfer import decode_base64, decode_base64_text

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
