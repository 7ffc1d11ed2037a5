"""The text of an API key, `mr_<id>_<secret><check>`: a checksum tells a typo from a key that does not exist."""

import hashlib
import re
import string
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

# Secret scanners recognise keys by it.
PREFIX = "mr_"
_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
# Random bytes, and the digits of base 62 that hold them.
_ID_BYTES, _ID_DIGITS = 8, 11
_SECRET_BYTES, _SECRET_DIGITS = 32, 43
_CHECK_DIGITS = 6
_FORM = re.compile(
    rf"({PREFIX}([0-9A-Za-z]{{{_ID_DIGITS}}})_[0-9A-Za-z]{{{_SECRET_DIGITS}}})([0-9A-Za-z]{{{_CHECK_DIGITS}}})"
)


class MalformedKeyError(Exception):
    """The text is no key: its form is another one, or its checksum does not fit."""


@dataclass(frozen=True, slots=True)
class ApiKeyText:
    """The text of a key, and the id in it, which is no secret."""

    key_id: str
    value: str = field(repr=False)

    @property
    def digest(self) -> bytes:
        """The SHA-256 of the text: 256 random bits need no slow hash."""
        return hashlib.sha256(self.value.encode()).digest()


def generate(random: Callable[[int], bytes]) -> ApiKeyText:
    """Return the text of a new key; `random` returns so many random bytes."""
    key_id = _encoded(int.from_bytes(random(_ID_BYTES)), _ID_DIGITS)
    secret = _encoded(int.from_bytes(random(_SECRET_BYTES)), _SECRET_DIGITS)
    body = f"{PREFIX}{key_id}_{secret}"
    return ApiKeyText(key_id, body + _checksum(body))


def parse(text: str) -> ApiKeyText:
    """Return the key in a text. Raises MalformedKeyError."""
    found = _FORM.fullmatch(text)
    if found is None or _checksum(found[1]) != found[3]:
        raise MalformedKeyError
    return ApiKeyText(found[2], text)


def _checksum(body: str) -> str:
    return _encoded(zlib.crc32(body.encode()), _CHECK_DIGITS)


def _encoded(number: int, digits: int) -> str:
    """Return the number in base 62, with leading zeros."""
    text = ""
    while number:
        number, digit = divmod(number, len(_DIGITS))
        text = _DIGITS[digit] + text
    return text.rjust(digits, _DIGITS[0])
