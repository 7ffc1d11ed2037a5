"""Content-Transfer-Encoding (RFC 2045 section 6) and Gmail's base64url, read leniently: decoding never fails."""

import binascii
import io
import re

_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_STANDARD_ALPHABET = bytes.maketrans(b"-_", b"+/")
_NOT_BASE64 = bytes(set(range(256)) - set(_BASE64 + b"-_"))
_NOT_BASE64_TEXT = bytes(set(range(256)) - set(_BASE64 + b"-_=\r\n"))
_BASE64_LINES = re.compile(rb"[A-Za-z0-9+/_=\r\n\t-]*")
_PADDING = re.compile(rb"=+")
_WELL_FORMED = re.compile(r"[A-Za-z0-9+/_-]*={0,2}")
# Characters, in whole groups of four.
_PIECE = 256 * 1024
_TOKEN = re.compile(r"[a-z0-9-]+")
_UU_BEGIN = re.compile(rb"^begin [0-7]{3,4} [^\n]*\n", re.MULTILINE)
_UU_NAMES = {"x-uuencode", "uuencode", "x-uue", "uue"}
_FOREIGN_SHARE = 0.1


def decode_transfer(body: bytes, encoding: str) -> bytes:
    """`body` with its transfer encoding removed; an unknown encoding, and one that plainly lies, changes nothing."""
    name = _read_name(encoding)
    if name == "base64":
        return body if _is_not_base64(body) else decode_base64(body)
    if name == "quoted-printable":
        return binascii.a2b_qp(body)
    if name in _UU_NAMES:
        return _decode_uuencode(body)
    return body


def measure_transfer(body: bytes, encoding: str) -> int:
    """How many bytes `decode_transfer` gives. Base64, as most attachments have it, is only counted."""
    if _read_name(encoding) != "base64" or _is_not_base64(body):
        return len(decode_transfer(body, encoding))
    return sum(_count_digits(segment) * 3 // 4 for segment in _split_segments(body))


def _read_name(encoding: str) -> str:
    match = _TOKEN.search(encoding.lower())
    return match.group() if match else ""


def decode_base64(data: bytes) -> bytes:
    """Bytes of base64 in either alphabet: white space, missing or inner padding and stray characters are survived.

    What follows the padding counts only if it looks like base64 too: mailing lists append plain footers there.
    """
    return b"".join(map(_decode_segment, _split_segments(data)))


def decode_base64_text(data: str) -> bytes:
    """The same of a string as it comes in JSON. What is well-formed, as it nearly always is, takes no copy of it."""
    if len(data) <= _PIECE or not _WELL_FORMED.fullmatch(data):
        return decode_base64(data.encode("ascii", "ignore"))
    decoded = io.BytesIO()
    for at in range(0, len(data), _PIECE):
        decoded.write(_decode_segment(data[at : at + _PIECE].rstrip("=").encode()))
    return decoded.getvalue()


def _split_segments(data: bytes) -> list[bytes]:
    """What stands between paddings."""
    padding = data.find(b"=")
    if padding < 0:
        return [data]
    if not data[padding:].strip(b"= \t\r\n") or not _BASE64_LINES.fullmatch(data, padding):
        return [data[:padding]]
    return _PADDING.split(data)


def _decode_segment(data: bytes) -> bytes:
    clean = data.translate(_STANDARD_ALPHABET, _NOT_BASE64)
    if len(clean) % 4 == 1:
        clean = clean[:-1]
    return binascii.a2b_base64(clean + b"=" * (-len(clean) % 4))


def _count_digits(data: bytes) -> int:
    count = len(data.translate(None, _NOT_BASE64))
    return count - 1 if count % 4 == 1 else count


def _is_not_base64(body: bytes) -> bool:
    """Whether a body that is declared base64 is plain text: a tenth of its start is foreign to the encoding."""
    # Padding ends what is encoded, but a line of = at the beginning, as newsletters have it, says nothing yet.
    start = body[:4096].lstrip(b"= \t\r\n").partition(b"=")[0].strip()
    return len(start) - len(start.translate(None, _NOT_BASE64_TEXT)) > _FOREIGN_SHARE * len(start)


def _decode_uuencode(body: bytes) -> bytes:
    begin = _UU_BEGIN.search(body)
    if begin is None:
        return body
    decoded = []
    for line in body[begin.end() :].splitlines():
        if line.rstrip() == b"end":
            break
        decoded.append(_decode_uu_line(line))
    return b"".join(decoded)


def _decode_uu_line(line: bytes) -> bytes:
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
