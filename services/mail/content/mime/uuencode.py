"""Files that stand uuencoded in a text, as they were sent before MIME (POSIX uuencode), and as a transfer encoding."""

import binascii
import re
from dataclasses import dataclass

# Data lines begin with their length and have no lower-case letter, so that `end` is none of them.
_FILE = re.compile(
    rb"^begin [0-7]{3,4} ([^\r\n]{1,255})\r?\n((?:[!-`][ -`]{0,90}\r?\n)*)(?:[ \t]*\r?\n)?end[ \t]*(?:\r?\n|\Z)"
    rb"|^begin-base64 [0-7]{3,4} ([^\r\n]{1,255})\r?\n((?:[A-Za-z0-9+/]{1,100}={0,2}\r?\n)*)====[ \t]*(?:\r?\n|\Z)",
    re.MULTILINE,
)
_BEGIN = re.compile(rb"^begin [0-7]{3,4} [^\n]*\n", re.MULTILINE)
# Some encoders append a checksum character.
_LONGEST_EXCESS = 2


@dataclass(frozen=True, slots=True)
class UuencodedFile:
    """One file: its name as it stands in the text, and its bytes."""

    name: bytes
    data: bytes


def extract_files(text: bytes) -> tuple[bytes, list[UuencodedFile]]:
    """Split a text into the text around its files, and the files. Blocks without an end or data stay text."""
    files: list[UuencodedFile] = []

    def take(match: re.Match[bytes]) -> bytes:
        name, lines, other_name, other_lines = match.groups()
        if name is None:
            files.append(UuencodedFile(other_name, binascii.a2b_base64(other_lines)))
        elif _is_data(lines.splitlines()):
            files.append(UuencodedFile(name, b"".join(map(_decode_line, lines.splitlines()))))
        else:
            return match.group()
        return b""

    return (_FILE.sub(take, text), files) if b"begin" in text else (text, files)


def decode_uuencode(body: bytes) -> bytes:
    """Decode the first file in a body that is declared uuencoded; return the body itself if it holds none."""
    begin = _BEGIN.search(body)
    if begin is None:
        return body
    decoded = []
    for line in body[begin.end() :].splitlines():
        if line.rstrip() == b"end":
            break
        decoded.append(_decode_line(line))
    return b"".join(decoded)


def _is_data(lines: list[bytes]) -> bool:
    """Return whether most lines are as long as their length byte says, and none longer: final spaces may be lost."""
    excess = [len(line.rstrip()) - 1 - (((line[0] - 32) & 63) + 2) // 3 * 4 for line in lines]
    return all(each <= _LONGEST_EXCESS for each in excess) and 2 * sum(each >= 0 for each in excess) >= len(lines)


def _decode_line(line: bytes) -> bytes:
    if not line:
        return b""
    try:
        return binascii.a2b_uu(line)
    except binascii.Error:
        # Some encoders write more characters than the length byte says.
        length = (((line[0] - 32) & 63) * 4 + 5) // 3
    try:
        return binascii.a2b_uu(line[:length])
    except binascii.Error:
        return b""
