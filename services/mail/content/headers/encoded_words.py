"""RFC 2047 encoded words in header values, as senders really write them."""

import binascii
import re

from services.mail.content.mime.transfer import decode_base64
from services.mail.content.text.charset_labels import find_codec
from services.mail.content.text.charsets import decode_text

# No word runs past the start of the next one, so that many unfinished words still take linear time.
ENCODED_WORD = re.compile(r"=\?([^?\s]{1,80})\?([bBqQ])\?((?:[^?=]++|\?(?!=)|=(?!\?[^=]))*+)\?=")
_UNKNOWN_BUT_COMMON = re.compile(r"(?:x-)?unknown(?:-8bit)?|default|none")


def decode_words(value: str) -> str:
    """Decode the encoded words of `value`; a word that cannot be decoded stays as it is.

    Adjacent words of one charset are joined as bytes first: many senders split them within a character.
    """
    if "=?" not in value:
        return value
    pieces: list[str] = []
    run: list[re.Match[str]] = []
    end = 0
    for word in ENCODED_WORD.finditer(value):
        between = value[end : word.start()]
        if run and not between.strip():
            run.append(word)
        else:
            pieces += (_decode_run(run), between)
            run = [word]
        end = word.end()
    return "".join((*pieces, _decode_run(run), value[end:]))


def _decode_run(words: list[re.Match[str]]) -> str:
    """Decode words with nothing but white space between them, which is dropped."""
    decoded: list[str] = []
    start = 0
    for index in range(1, len(words) + 1):
        if index == len(words) or _label(words[index]) != _label(words[start]):
            decoded.append(_decode_same_charset(words[start:index]))
            start = index
    return "".join(decoded)


def _label(word: re.Match[str]) -> str:
    """Return the charset label without the language that RFC 2231 allows behind it."""
    return word.group(1).partition("*")[0].lower()


def _decode_same_charset(words: list[re.Match[str]]) -> str:
    label = _label(words[0])
    data = _join_bytes(words)
    known = find_codec(label) is not None or _UNKNOWN_BUT_COMMON.fullmatch(label)
    if not known and not _is_utf8(data):
        return " ".join(word.group() for word in words)
    return decode_text(data, label)[0]


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _join_bytes(words: list[re.Match[str]]) -> bytes:
    """Decode the bytes of all words. Base64 that goes on in the next word without padding is decoded as one."""
    decoded: list[bytes] = []
    pending = ""
    for word in words:
        encoded = word.group(3)
        if word.group(2) in "bB":
            pending += encoded
            if len(pending) % 4 == 0 or pending.endswith("="):
                decoded.append(decode_base64(pending.encode()))
                pending = ""
        else:
            decoded += (decode_base64(pending.encode()), binascii.a2b_qp(encoded.encode(), header=True))
            pending = ""
    return b"".join((*decoded, decode_base64(pending.encode())))
