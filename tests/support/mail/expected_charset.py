"""The text of some bytes, found without the parser: by the standard for a labelled charset, else by other means."""

import re
from collections.abc import Iterator

from charset_normalizer import from_bytes

# What labels mean (WHATWG Encoding) where Python's codec of the name is narrower, or unknown.
_MEANT = {
    **dict.fromkeys(("iso-8859-1", "latin1", "us-ascii", "ascii"), "cp1252"),
    **dict.fromkeys(("gb2312", "gbk", "gb_2312-80"), "gb18030"),
    **dict.fromkeys(("euc-kr", "ks_c_5601-1987"), "cp949"),
    **dict.fromkeys(("shift_jis", "x-sjis"), "cp932"),
    "iso-8859-9": "cp1254",
    "big5": "big5hkscs",
    "iso-2022-jp": "iso2022_jp",
}
# Letters beside ASCII of the languages that these charsets are made for: those that windows-1252 has not, and others.
_ALPHABETS = {
    "cp1254": ("ğış", "çöüâî"),
    "cp1250": ("čďěňřťůąćęłńśźżőű", "áéíóšúýžöü"),
    "cp1257": ("āčēģīķļņūąęėįų", "šžõäöü"),
}
_ANY_ASCII = ("", "us-ascii", "ascii", "unknown-8bit", "x-unknown", "default")
_META = re.compile(rb"<meta[^<>]*charset\s*=\s*[\"']?([A-Za-z0-9_-]+)", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]+")
_LONGEST_FOREIGN_WORD = 2
_FOREIGN_SHARE = 0.3


def expected_texts(data: bytes, label: str) -> Iterator[str]:
    """Every text that the bytes may be taken for; a parser whose text is none of them has wrong letters."""
    label = label.lower()
    # ISO-2022-JP is told by its escapes, whatever is declared.
    if b"\x1b$" in data:
        yield from _decode(data, "iso2022_jp")
    if _is_utf8(data):
        yield data.decode()
        return
    if "\ufffd" in (damaged := data.decode("utf-8", "replace")) and _is_mostly_whole(damaged):
        yield damaged
    if label not in _ANY_ASCII:
        yield from _decode(data, _MEANT.get(label, label))
    yield from (text for meta in _META.findall(data[:4096]) for text in _decode(data, _named(meta)))
    if label in _ANY_ASCII:
        national = [
            text
            for codec, (own, shared) in _ALPHABETS.items()
            for text in _decode(data, codec)
            if _is_of(text, own, shared)
        ]
        yield from national or (text for text in _decode(data, "cp1252") if _is_latin(text))
        for codec in ("gb18030", "big5hkscs"):
            yield from (text for text in _decode(data, codec) if _has_only_signs(text))
        best = from_bytes(data).best()
        if best is not None:
            yield str(best)


def _is_of(text: str, own: str, shared: str) -> bool:
    """Whether the letters beside ASCII are of these, two at least of those that windows-1252 has not."""
    letters = {letter.lower() for letter in text if letter.isalpha() and not letter.isascii()}
    return not letters - set(own + shared) and len(letters & set(own)) > 1


def _has_only_signs(text: str) -> bool:
    """Whether all beside ASCII are signs, none of which leads a word."""
    return not re.search(r"[^\W\d_](?<![A-Za-z])|[^\x00-\x7f](?=[A-Za-z])", text)


def _named(meta: bytes) -> str:
    name = meta.decode().lower()
    return _MEANT.get(name, name)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_mostly_whole(text: str) -> bool:
    return 3 * text.count("\ufffd") < sum(not character.isascii() for character in text)


def _decode(data: bytes, codec: str) -> list[str]:
    """The text in this charset, if Python has it; bytes that windows-1252 leaves open are controls."""
    try:
        text = data.decode(codec, "replace")
    except LookupError:
        return []
    if codec != "cp1252":
        return [text]
    return ["".join(map(_windows_1252, data))]


def _windows_1252(byte: int) -> str:
    try:
        return bytes((byte,)).decode("cp1252")
    except UnicodeDecodeError:
        return chr(byte)


def _is_latin(text: str) -> bool:
    """Whether accented letters mostly stand within words of ASCII, or nearly alone, as they do in Latin script."""
    letters = sum(not letter.isascii() for word in _WORD.findall(text) for letter in word)
    foreign = [word for word in _WORD.findall(text) if not any(map(str.isascii, word))]
    return sum(len(word) for word in foreign if len(word) > _LONGEST_FOREIGN_WORD) <= _FOREIGN_SHARE * letters
