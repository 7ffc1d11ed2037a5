"""Decoding of bytes to text, whatever charset is declared.

Order: byte order mark, UTF-8 (providers deliver text that is already UTF-8 under the old label), the declared charset,
the one that an HTML document names, detection, windows-1252. A declared charset is believed unless the text is plainly
in another script. A few broken bytes never change the charset of the others: they are U+FFFD.
"""

import codecs
import re
from collections.abc import Sequence

from services.mail.content.text.charset_detection import contradicts_latin, detect_charset
from services.mail.content.text.charset_labels import find_codec
from services.mail.content.text.iso_2022_jp import decode_microsoft_jis

_EAST_ASIAN = {"gb18030", "hz", "cp949", "cp932", "euc_jp", "cp950", "big5hkscs"}
_WIDE = {"utf_16", "utf_16_le", "utf_16_be", "utf_32", "utf_32_le", "utf_32_be"}
_SEVEN_BIT = {"iso2022_jp", "iso2022_jp_1", "iso2022_jp_2", "iso2022_jp_ext", "iso2022_kr", "hz", "utf_7"}
_WESTERN = {"cp1252", "cp1254", "iso8859_15"}
_META_CHARSET = re.compile(
    rb"<meta[^<>]{0,200}?charset\s{0,5}=\s{0,5}[\"']?\s{0,5}([A-Za-z0-9_:.-]{1,40})", re.IGNORECASE
)
_META_WINDOW = 2048
_CONTROL = re.compile(rb"[\x00-\x08]")
_REPLACEMENT = "\ufffd"
# How many broken characters a text in UTF-8 may have per good one that is not ASCII. Two valid UTF-8 bytes in a row are
# no accident in most charsets, so that few good characters are evidence enough; none in one that is declared and fits.
_BROKEN_PER_GOOD = {"utf_8": 1.0, None: 0.5}
_BROKEN_PER_GOOD_UNDER_ANOTHER_LABEL = 0.1
_CUT_CHARACTER = re.compile(rb"(?:[\xc2-\xdf]|[\xe0-\xef][\x80-\xbf]?|[\xf0-\xf4][\x80-\xbf]{0,2})\Z")
_LONGEST_CUT = 3


def decode_text(data: bytes, declared: str | None, *, html: bool = False) -> tuple[str, bool]:
    """Decode `data`; the second value says that the charset had to be guessed. Never fails."""
    codec = find_codec(declared)
    if data.isascii():
        return _decode_ascii(data, codec), False
    if codec == "ascii":
        codec = None
    text = _decode_marked(data) or _decode_wide(data, codec) or _decode_utf8(data, codec)
    if text is None and codec and not _is_mislabelled(data, codec):
        text = _decode_declared(data, codec)
    if text is not None:
        return text.removeprefix("\ufeff"), False
    return _guess(data, codec, html=html), True


def decode_together(values: Sequence[bytes], declared: str | None) -> list[str]:
    """Decode short values, each UTF-8 or else all in one charset: the declared one or the one detected."""
    texts = [_decode_strictly(value, "utf_8") for value in values]
    has_utf8 = any(text is not None and not value.isascii() for value, text in zip(values, texts, strict=True))
    label = "utf_8" if has_utf8 else None
    texts = [
        _decode_damaged_utf8(value, label) if text is None else text for value, text in zip(values, texts, strict=True)
    ]
    joined = b"\n".join(value for value, text in zip(values, texts, strict=True) if text is None)
    codec = find_codec(declared)
    if joined and (
        codec in (None, "ascii") or _is_mislabelled(joined, codec) or _decode_declared(joined, codec) is None
    ):
        codec = detect_charset(joined)
    codec = codec or "cp1252"
    return [
        _decode_strictly(value, codec) or value.decode(codec, "replace") if text is None else text
        for value, text in zip(values, texts, strict=True)
    ]


def _find_charset(data: bytes, declared: str | None) -> str:
    if declared is None or declared == "ascii" or _is_mislabelled(data, declared):
        return detect_charset(data) or "cp1252"
    return declared if _decode_declared(data, declared) is not None else detect_charset(data) or "cp1252"


def _decode_ascii(data: bytes, codec: str | None) -> str:
    if codec in _WIDE and _CONTROL.search(data):
        wide = _decode_wide(data, codec)
        if wide is not None:
            return wide.removeprefix("\ufeff")
    elif codec in _SEVEN_BIT or b"\x1b$" in data:
        seven_bit = _decode_strictly(data, codec if codec in _SEVEN_BIT else "iso2022_jp")
        if seven_bit is not None:
            return seven_bit
    return data.decode("ascii")


def _decode_marked(data: bytes) -> str | None:
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return _decode_mostly(data, "utf_32")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return _decode_mostly(data[: len(data) & ~1], "utf_16")
    if data.startswith(codecs.BOM_UTF8):
        return _decode_strictly(data, "utf_8") or _decode_damaged_utf8(data, "utf_8")
    return None


def _decode_wide(data: bytes, codec: str | None) -> str | None:
    """Decode UTF-16 or UTF-32 without a mark: the high bytes are the ones that vary least."""
    if codec not in _WIDE or not data:
        return None
    if codec == "utf_16":
        codec = "utf_16_be" if len(set(data[:4096:2])) < len(set(data[1:4096:2])) else "utf_16_le"
    unit = 4 if codec.startswith("utf_32") else 2
    return _decode_mostly(data[: len(data) // unit * unit], codec)


def _decode_utf8(data: bytes, codec: str | None) -> str | None:
    """Decode valid UTF-8, or nearly valid UTF-8 unless it is valid in the East Asian charset that is declared."""
    text = _decode_strictly(data, "utf_8")
    # Two-byte pairs of an East Asian charset can pass as UTF-8, but only as letters below U+0800.
    if codec in _EAST_ASIAN and (text is None or max(text) < "\u0800"):
        return _decode_strictly(data, codec) or text or _decode_damaged_utf8(data, codec)
    return text or _decode_damaged_utf8(data, codec)


def _decode_damaged_utf8(data: bytes, codec: str | None) -> str | None:
    """Decode UTF-8 with surrogates in it (CESU-8) or with broken bytes; None if too few good ones show that it is."""
    try:
        return data.decode("utf-8", "surrogatepass").encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    except UnicodeDecodeError:
        text = data.decode("utf-8", "replace")
    good = len(text) - len(text.encode("ascii", "ignore")) - text.count(_REPLACEMENT)
    broken = text.count(_REPLACEMENT) - data.count(_REPLACEMENT.encode())
    is_cut = _CUT_CHARACTER.search(data[-_LONGEST_CUT:]) is not None
    # A single byte above 0xE0 at the end may as well be a letter of windows-1252: `caf\xe9`.
    if not good and broken == 1 and is_cut and codec == "utf_8" and data[-1] < 0xE0:
        return text
    most = _BROKEN_PER_GOOD.get(codec, _BROKEN_PER_GOOD_UNDER_ANOTHER_LABEL) * good
    return text if good and broken - is_cut <= most else None


def _decode_declared(data: bytes, codec: str) -> str | None:
    return _decode_strictly(data, codec) or _decode_mostly(data, codec)


def _decode_mostly(data: bytes, codec: str) -> str | None:
    """Decode with U+FFFD for broken bytes; None if those are more than one and a tenth of the text.

    A text that is cut within its last character is whole up to there.
    """
    text = data.decode(codec, "replace")
    broken = text.count(_REPLACEMENT)
    good = len(text) - len(text.encode("ascii", "ignore")) - broken
    broken_within = broken - text.endswith(_REPLACEMENT)
    return text if not broken or (good and broken_within <= 1 + good // 10 and 3 * broken_within <= good) else None


def _decode_strictly(data: bytes, codec: str) -> str | None:
    try:
        return data.decode(codec)
    except UnicodeError:
        pass
    if codec.startswith("iso2022_jp"):
        text = decode_microsoft_jis(data)
        return text if 3 * text.count(_REPLACEMENT) <= len(text) else None
    if codec == "cp950":
        return _decode_strictly(data, "big5hkscs")
    if codec == "cp1252":
        # The five bytes that windows-1252 leaves open are C1 controls, as in ISO 8859-1.
        return data.decode("cp1252", "latin1-for-undefined")
    return None


def _decode_undefined_as_latin1(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)  # noqa: S101 - registered for decoding only
    return error.object[error.start : error.end].decode("latin-1"), error.end


codecs.register_error("latin1-for-undefined", _decode_undefined_as_latin1)


def _is_mislabelled(data: bytes, codec: str) -> bool:
    """Return whether a Latin label cannot be true. Those decode any bytes, so only the text itself can tell."""
    return codec in _WESTERN and contradicts_latin(data)


def _guess(data: bytes, codec: str | None, *, html: bool) -> str:
    named = _META_CHARSET.search(data, 0, _META_WINDOW) if html else None
    hinted = find_codec(named.group(1).decode("ascii")) if named else None
    for candidate in (hinted, detect_charset(data)):
        text = _decode_declared(data, candidate) if candidate and candidate not in _WIDE else None
        if text is not None:
            return text
    return data.decode(codec if codec in _EAST_ASIAN else "cp1252", "replace")
