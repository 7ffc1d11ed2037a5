"""Content-Transfer-Encoding (RFC 2045 section 6) and base64url, read leniently: decoding never fails."""

import binascii
import io
import re

from services.mail.content.mime.uuencode import decode_uuencode

_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_BASE64_LETTERS = _BASE64 + b"-_="
_STANDARD_ALPHABET = bytes.maketrans(b"-_", b"+/")
_NOT_BASE64 = bytes(set(range(256)) - set(_BASE64 + b"-_"))
_NOT_BASE64_TEXT = bytes(set(range(256)) - set(_BASE64 + b"-_=\r\n"))
_BASE64_LINES = re.compile(rb"[A-Za-z0-9+/_=\r\n\t-]*")
_PADDING = re.compile(rb"=+")
_WELL_FORMED = re.compile(r"[A-Za-z0-9+/_-]*={0,2}")
# Characters, in whole groups of four.
_PIECE = 256 * 1024
_TOKEN = re.compile(r"[a-z0-9-]+")
_UU_NAMES = {"x-uuencode", "uuencode", "x-uue", "uue"}
# White space before a line's end; beginning with the line break it is found ten times as fast.
_QP_PADDED = re.compile(rb"\n(?:(?<=[ \t]\n)|(?<=[ \t]\r\n))")
_FOREIGN_SHARE = 0.1
_SHORTEST_SURE_LINE = 60
# A line that separates a footer or a signature, or one with a character that base64 does not have.
_FOOTER_LINE = re.compile(rb"\n(?:(?P<separator>[_-]{4,}\s|--[ \t]*\r?\n)|[^\n]{0,998}?[^A-Za-z0-9+/=_\s-])")
_SURE_LINE = re.compile(rb"^[A-Za-z0-9+/]{%d,}=*\r?$" % _SHORTEST_SURE_LINE, re.MULTILINE)
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")


def decode_transfer(body: bytes, encoding: str, *, is_text: bool = False) -> bytes:
    """Remove the transfer encoding of `body`; an unknown encoding, and one that plainly lies, changes nothing."""
    name = _read_name(encoding)
    if name == "base64":
        if is_text:
            return body if _is_plain_text(body) else decode_base64(_cut_footer(body))
        return body if _is_not_base64(body) else decode_base64(body)
    if name == "quoted-printable":
        return _decode_quoted_printable(body)
    if name in _UU_NAMES:
        return decode_uuencode(body)
    return body


def is_encoded(encoding: str) -> bool:
    """Return whether a body with this encoding differs from its content."""
    return _read_name(encoding) in ("base64", "quoted-printable", *_UU_NAMES)


def measure_transfer(body: bytes, encoding: str) -> int:
    """Count the bytes that `decode_transfer` gives, without decoding base64, which most attachments have."""
    if _read_name(encoding) != "base64" or _is_not_base64(body):
        return len(decode_transfer(body, encoding))
    return sum(_count_digits(segment) * 3 // 4 for segment in _split_segments(body))


def _read_name(encoding: str) -> str:
    match = _TOKEN.search(encoding.lower())
    return match.group() if match else ""


def decode_base64(data: bytes) -> bytes:
    """Decode base64 in either alphabet, whatever white space, padding and stray characters it has.

    What follows the padding counts only if it looks like base64 too: mailing lists append plain footers there.
    """
    return b"".join(map(_decode_segment, _split_segments(data)))


def decode_base64_text(data: str) -> bytes:
    """Decode base64 in a string as it comes in JSON. Well-formed base64, which is the rule, is not copied first."""
    if len(data) <= _PIECE or not _WELL_FORMED.fullmatch(data):
        return decode_base64(data.encode("ascii", "ignore"))
    decoded = io.BytesIO()
    for at in range(0, len(data), _PIECE):
        decoded.write(_decode_segment(data[at : at + _PIECE].rstrip("=").encode()))
    return decoded.getvalue()


def _split_segments(data: bytes) -> list[bytes]:
    """Split base64 at its paddings."""
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
    """Return whether a body that is declared base64 is plain text: a tenth of its start is foreign to the encoding."""
    # Padding ends the encoded data, but newsletters may begin with a line of =.
    start = body[:4096].lstrip(b"= \t\r\n").partition(b"=")[0].strip()
    return len(start) - len(start.translate(None, _NOT_BASE64_TEXT)) > _FOREIGN_SHARE * len(start)


def _is_plain_text(body: bytes) -> bool:
    """Return whether a text that is declared base64 is none: its first line is not of that form, or decodes to no text.

    Only the first line tells: a mailing list may append a plain footer to a body in base64.
    """
    line = body.lstrip(b"= \t\r\n").partition(b"\n")[0].strip()
    is_of_its_form = not line.translate(None, _BASE64_LETTERS)
    if is_of_its_form and len(line) >= _SHORTEST_SURE_LINE:
        return False
    decoded = decode_base64(line)
    is_readable = bool(decoded) and not _CONTROL.search(decoded) and _is_utf8(decoded)
    if _is_not_base64(body):
        return not (is_of_its_form and is_readable)
    if not is_of_its_form:
        return not is_readable
    return len(line) % 4 > 0 and _CONTROL.search(decoded) is not None


def _cut_footer(body: bytes) -> bytes:
    """Cut plain text off the end of a body in base64: it would decode to noise."""
    if not body.translate(None, _BASE64_LETTERS + b"\r\n") and b"____" not in body and b"----" not in body:
        return body
    footer = _FOOTER_LINE.search(body)
    if footer is None:
        return body
    text = body[footer.start() :].lstrip(b"_- \t\r\n")
    is_text = not _SURE_LINE.search(text) if footer["separator"] else _is_not_base64(text)
    return body[: footer.start()] if text and is_text else body


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _decode_quoted_printable(body: bytes) -> bytes:
    """Decode without white space at line ends: it was added on the way (RFC 2045 section 6.7 rule 3)."""
    if body.endswith((b" ", b"\t")) or _QP_PADDED.search(body):
        body = b"\n".join(map(_strip_line, body.split(b"\n")))
    return binascii.a2b_qp(body)


def _strip_line(line: bytes) -> bytes:
    return line[:-1].rstrip(b" \t") + b"\r" if line.endswith(b"\r") else line.rstrip(b" \t")
