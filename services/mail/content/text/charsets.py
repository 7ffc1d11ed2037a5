"""From bytes to text, whatever charset is declared.

Order: byte order mark, strict UTF-8 (Gmail delivers text that is already UTF-8 under a header that names the old
charset), the declared charset, the one an HTML document names, detection, windows-1252.
"""

import codecs
import re
from collections.abc import Sequence
from encodings.aliases import aliases
from functools import lru_cache

from services.mail.content.text.charset_detection import detect_charset, looks_western

_NOT_TEXT = {
    "base64_codec",
    "bz2_codec",
    "hex_codec",
    "quopri_codec",
    "rot_13",
    "uu_codec",
    "zlib_codec",
    "mbcs",
    "oem",
}
# Codecs that no alias leads to.
_WITHOUT_ALIAS = {
    *("koi8_u", "koi8_t", "cp720", "cp737", "cp856", "cp874", "cp1006"),
    *("mac_arabic", "mac_croatian", "mac_farsi", "mac_romanian"),
}
# Labels that Python does not know, by the codec that they stand for.
_LABELS = {
    "ascii": "usascii",
    "big5": "chinesebig5 xbig5 cnbig5",
    "cp1251": "win1251 xcp1251 1251",
    "cp1252": "xansi ansi",
    "cp862": "dos862",
    "cp874": "windows874 iso885911",
    "euc_jp": "cseucpkdfmtjapanese xeucjp",
    "euc_kr": "ksc56011987 ksc5601 xwindows949 windows949",
    "gb2312": "gb231280 xeuccn",
    "gbk": "xgbk",
    "iso2022_jp": "iso2022jpms cp50220 cp50221 xiso2022jp",
    "iso8859_8": "iso88598i iso88598e",
    "koi8_r": "koi8",
    "koi8_u": "koi8ru",
    "latin_1": "iso88591",
    "mac_cyrillic": "xmaccyrillic",
    "mac_roman": "xmacroman macintosh",
    "shift_jis": "xsjis windows31j",
    "utf_16": "unicode ucs2 iso10646ucs2",
    "utf_7": "unicode11utf7",
    "utf_8": "unicode11utf8 utf8n utf8mb4 xutf8",
}
# What senders mean by a codec's name, where it is not the one that the name stands for (WHATWG Encoding).
_MEANT = {
    "ascii": "cp1252",
    "big5": "cp950",
    "euc_kr": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "iso8859_11": "cp874",
    "iso8859_9": "cp1254",
    "johab": "cp949",
    "latin_1": "cp1252",
    "shift_jis": "cp932",
    "tis_620": "cp874",
    "utf_8_sig": "utf_8",
}
_LABEL_JUNK = re.compile(r"[^a-z0-9]")
_NO_LABEL = {"unknown", "xunknown", "unknown8bit", "xunknown8bit", "default", "charset", "none", "autodetect", "binary"}
_EAST_ASIAN = {"gb18030", "hz", "cp949", "cp932", "euc_jp", "cp950", "big5hkscs"}
_WIDE = {"utf_16", "utf_16_le", "utf_16_be", "utf_32", "utf_32_le", "utf_32_be"}
_SEVEN_BIT = {"iso2022_jp", "iso2022_jp_1", "iso2022_jp_2", "iso2022_jp_ext", "iso2022_kr", "hz", "utf_7"}
_WESTERN = {"cp1252", "cp1254", "iso8859_15"}
_META_CHARSET = re.compile(
    rb"<meta[^<>]{0,200}?charset\s{0,5}=\s{0,5}[\"']?\s{0,5}([A-Za-z0-9_:.-]{1,40})", re.IGNORECASE
)
_META_WINDOW = 2048
_CONTROL = re.compile(rb"[\x00-\x08]")
_MOST_BROKEN_SHARE = 0.1
_JIS_ESCAPE = re.compile(rb"\x1b(\$[@B]|\$\([@BDOPQ]|\([BJIH])")


def decode_text(data: bytes, declared: str | None, *, html: bool = False) -> tuple[str, bool]:
    """The text of `data`, and whether the charset had to be guessed. Never fails."""
    codec = find_codec(declared)
    if data.isascii():
        return _decode_ascii(data, codec), False
    text = _decode_marked(data) or _decode_wide(data, codec) or _decode_utf8(data, codec)
    if text is None and codec and not _is_mislabelled(data, codec):
        text = _decode_strictly(data, codec)
    if text is not None:
        return text.removeprefix("\ufeff"), False
    return _guess(data, codec, html=html), True


def decode_together(values: Sequence[bytes], declared: str | None) -> list[str]:
    """The texts of short values, each UTF-8 or else all in one charset: the declared one or the one detected."""
    texts = [_decode_strictly(value, "utf_8") for value in values]
    joined = b"\n".join(value for value, text in zip(values, texts, strict=True) if text is None)
    codec = find_codec(declared)
    if joined and (codec is None or _is_mislabelled(joined, codec) or _decode_strictly(joined, codec) is None):
        codec = detect_charset(joined)
    codec = codec or "cp1252"
    return [
        _decode_strictly(value, codec) or value.decode("cp1252", "replace") if text is None else text
        for value, text in zip(values, texts, strict=True)
    ]


@lru_cache(maxsize=1024)
def find_codec(label: str | None) -> str | None:
    """The Python codec that a charset label means; None for labels that say nothing or are unknown."""
    plain = _LABEL_JUNK.sub("", label.lower()) if label else ""
    if not plain or plain in _NO_LABEL or len(plain) > 40:
        return None
    codec = _CODECS.get(plain)
    return _MEANT.get(codec, codec) if codec else None


def _list_codecs() -> dict[str, str]:
    names = (_WITHOUT_ALIAS | set(aliases.values())) - _NOT_TEXT
    by_label = {_LABEL_JUNK.sub("", alias): name for alias, name in aliases.items() if name in names}
    by_our_label = {label: codec for codec, labels in _LABELS.items() for label in labels.split()}
    return {_LABEL_JUNK.sub("", name): name for name in names} | by_label | by_our_label


_CODECS = _list_codecs()


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
        return _decode_strictly(data, "utf_32")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return _decode_strictly(data[: len(data) & ~1], "utf_16")
    return None


def _decode_wide(data: bytes, codec: str | None) -> str | None:
    """UTF-16 and UTF-32 without a mark: the high bytes are the ones that vary least."""
    if codec not in _WIDE or not data:
        return None
    if codec == "utf_16":
        codec = "utf_16_be" if len(set(data[:4096:2])) < len(set(data[1:4096:2])) else "utf_16_le"
    unit = 4 if codec.startswith("utf_32") else 2
    return _decode_strictly(data[: len(data) // unit * unit], codec)


def _decode_utf8(data: bytes, codec: str | None) -> str | None:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return _decode_nearly_utf8(data)
    # Two-byte pairs of an East Asian charset can pass as UTF-8, but only as letters below U+0800.
    if codec in _EAST_ASIAN and max(text) < "\u0800":
        return _decode_strictly(data, codec) or text
    return text


def _decode_nearly_utf8(data: bytes) -> str | None:
    """UTF-8 with surrogates in it (CESU-8), or with a few broken bytes among many good ones."""
    try:
        return data.decode("utf-8", "surrogatepass").encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    except UnicodeDecodeError:
        text = data.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    good = len(text) - len(text.encode("ascii", "ignore")) - broken
    return text if broken <= _MOST_BROKEN_SHARE * good else None


def _decode_strictly(data: bytes, codec: str) -> str | None:
    try:
        return data.decode(codec)
    except UnicodeError:
        pass
    if codec.startswith("iso2022_jp"):
        return _decode_microsoft_jis(data)
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
    """Whether a Latin label cannot be true. Those decode any bytes, so only the text's shape can tell."""
    return codec in _WESTERN and not looks_western(data)


def _guess(data: bytes, codec: str | None, *, html: bool) -> str:
    named = _META_CHARSET.search(data, 0, _META_WINDOW) if html else None
    hinted = find_codec(named.group(1).decode("ascii")) if named else None
    for candidate in (hinted, detect_charset(data)):
        if candidate and candidate not in _WIDE:
            text = _decode_strictly(data, candidate)
            if text is not None:
                return text
    return data.decode(codec if codec in _EAST_ASIAN else "cp1252", "replace")


def _decode_microsoft_jis(data: bytes) -> str | None:
    """ISO-2022-JP with Microsoft's additions: its two-byte runs, moved into Shift_JIS, are code page 932."""
    pieces = _JIS_ESCAPE.split(data)
    decoded = [pieces[0].decode("ascii", "replace")]
    for escape, piece in zip(pieces[1::2], pieces[2::2], strict=True):
        decoded.append(_decode_jis_run(escape, piece))
    return "".join(decoded)


def _decode_jis_run(escape: bytes, piece: bytes) -> str:
    if escape.startswith(b"$"):
        pairs = zip(piece[::2], piece[1::2], strict=False)
        return b"".join(_shift_jis_pair(first, second) for first, second in pairs).decode("cp932", "replace")
    if escape == b"(I":
        return bytes(byte | 0x80 for byte in piece).decode("cp932", "replace")
    return piece.decode("ascii", "replace")


def _shift_jis_pair(first: int, second: int) -> bytes:
    """One JIS X 0208 pair in Shift_JIS; anything that is no such pair (a line end) stays as it is."""
    if not (0x21 <= first <= 0x7E and 0x21 <= second <= 0x7E):
        return bytes((first, second))
    lead = (first + 1) // 2 + (0x70 if first < 0x5F else 0xB0)
    if first % 2:
        return bytes((lead, second + (0x1F if second < 0x60 else 0x20)))
    return bytes((lead, second + 0x7E))
