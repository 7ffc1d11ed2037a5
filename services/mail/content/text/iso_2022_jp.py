"""ISO-2022-JP with the characters that Microsoft adds to it, which Python's codec refuses."""

import re

_ESCAPE = re.compile(rb"\x1b(\$[@B]|\$\([@BDOPQ]|\([BJIH])")
_CHARACTER = re.compile(rb"[\x21-\x7e]{2}|.", re.DOTALL)


def decode_microsoft_jis(data: bytes) -> str:
    """Decode leniently: two-byte runs, moved into Shift_JIS, are code page 932; half a character is U+FFFD."""
    pieces = _ESCAPE.split(data)
    decoded = [pieces[0].decode("ascii", "replace")]
    for escape, piece in zip(pieces[1::2], pieces[2::2], strict=True):
        decoded.append(_decode_run(escape, piece))
    return "".join(decoded)


def _decode_run(escape: bytes, piece: bytes) -> str:
    if escape.startswith(b"$"):
        return "".join(map(_decode_character, _CHARACTER.findall(piece)))
    if escape == b"(I":
        return bytes(byte | 0x80 for byte in piece).decode("cp932", "replace")
    return piece.decode("ascii", "replace")


def _decode_character(character: bytes) -> str:
    """Decode a JIS X 0208 pair by way of Shift_JIS. A control stays as it is, half a pair is U+FFFD."""
    if len(character) == 1:
        return character.decode("ascii") if character <= b" " else "\ufffd"
    first, second = character
    lead = (first + 1) // 2 + (0x70 if first < 0x5F else 0xB0)
    if first % 2:
        return bytes((lead, second + (0x1F if second < 0x60 else 0x20))).decode("cp932", "replace")
    return bytes((lead, second + 0x7E)).decode("cp932", "replace")
