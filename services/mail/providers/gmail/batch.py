"""Google's multipart/mixed batch format: several calls in one HTTP request.

Sources: Gmail API guide "Batching requests"; RFC 2046 section 5.1.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

BOUNDARY = "mailroom_batch"
CONTENT_TYPE = f"multipart/mixed; boundary={BOUNDARY}"
_STATUS = re.compile(rb"HTTP/\d(?:\.\d)? (\d{3})")
_CONTENT_ID = re.compile(rb"^content-id:[ \t]*<?(?:response-(?:item-)?|item-)(\d+)>?", re.IGNORECASE | re.MULTILINE)
_RETRY_AFTER = re.compile(rb"^retry-after:[ \t]*([^\r\n]+)", re.IGNORECASE | re.MULTILINE)
_BOUNDARY_PARAMETER = re.compile(r'boundary="?([^";]+)"?', re.IGNORECASE)
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")


class MalformedBatchError(Exception):
    """The answer is not in the batch format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The answer to a single call."""

    status: int
    body: str
    retry_after: str | None


def encode(paths: Sequence[str]) -> bytes:
    """Encode a GET request for each path."""
    head = f"--{BOUNDARY}\r\nContent-Type: application/http\r\n"
    parts = [f"{head}Content-ID: <item-{place}>\r\n\r\nGET {path} HTTP/1.1\r\n\r\n" for place, path in enumerate(paths)]
    return "".join([*parts, f"--{BOUNDARY}--\r\n"]).encode()


def decode(content_type: str, body: bytes | bytearray) -> dict[int, Part]:
    """Return the answers by the index of their call, without those that are malformed. Raises MalformedBatchError.

    Copies nothing of a large body but the contents of the parts.
    """
    match = _BOUNDARY_PARAMETER.search(content_type)
    if match is None:
        raise MalformedBatchError(f"no boundary in {content_type[:80]!r}")
    parts: dict[int, Part] = {}
    for place, (start, end) in enumerate(_chunks(body, b"--" + match[1].strip().encode())):
        part = _decode_part(body, start, end)
        if part is not None:
            parts[_place(body, start, end, default=place)] = part
    return parts


def _chunks(body: bytes | bytearray, delimiter: bytes) -> Iterator[tuple[int, int]]:
    """Yield start and end of each part. The last part may lack its closing boundary."""
    # A boundary counts at the start of a line only, and JSON has no raw line breaks within strings.
    line = b"\n" + delimiter
    at = -1 if body.startswith(delimiter) else body.find(line)
    found = at >= 0 or body.startswith(delimiter)
    while found:
        start = at + len(line)
        at = body.find(line, start)
        found = at >= 0
        if body.startswith(b"--", start):
            return
        yield start, at if found else len(body)


def _place(body: bytes | bytearray, start: int, end: int, *, default: int) -> int:
    # Google answers in order. A Content-ID, where it is echoed, takes precedence.
    blank = _BLANK_LINE.search(body, start, end)
    match = _CONTENT_ID.search(body, start, end if blank is None else blank.start())
    return default if match is None else int(match[1])


def _decode_part(body: bytes | bytearray, start: int, end: int) -> Part | None:
    """Parse a part: its headers, then the headers and the body of the HTTP response in it."""
    outer = _BLANK_LINE.search(body, start, end)
    inner = outer and _BLANK_LINE.search(body, outer.end(), end)
    if outer is None or inner is None:
        return None
    status = _STATUS.match(body, outer.end(), end)
    if status is None:
        return None
    retry_after = _RETRY_AFTER.search(body, outer.end(), inner.start())
    return Part(
        status=int(status[1]),
        body=str(memoryview(body)[inner.end() : end], "utf-8", "replace"),
        retry_after=None if retry_after is None else retry_after[1].decode("ascii", "replace"),
    )
