"""Many calls in one HTTP request: Google's multipart/mixed batch format.

Source: Gmail API guide "Batching requests"; RFC 2046 section 5.1.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

BOUNDARY = "mailroom_batch"
CONTENT_TYPE = f"multipart/mixed; boundary={BOUNDARY}"
_STATUS = re.compile(rb"HTTP/\d(?:\.\d)? (\d{3})")
_CONTENT_ID = re.compile(rb"^content-id:[ \t]*<?response-(?:item-)?(\d+)>?", re.IGNORECASE | re.MULTILINE)
_RETRY_AFTER = re.compile(rb"^retry-after:[ \t]*([^\r\n]+)", re.IGNORECASE | re.MULTILINE)
_BOUNDARY_PARAMETER = re.compile(r'boundary="?([^";]+)"?', re.IGNORECASE)
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")


class MalformedBatchError(Exception):
    """The answer is not a batch answer."""


@dataclass(frozen=True, slots=True)
class Part:
    """One call's answer."""

    status: int
    body: bytes
    retry_after: str | None


def encode(paths: Sequence[str]) -> bytes:
    """The body that asks for all these paths with GET."""
    head = f"--{BOUNDARY}\r\nContent-Type: application/http\r\n"
    parts = [f"{head}Content-ID: <item-{place}>\r\n\r\nGET {path} HTTP/1.1\r\n\r\n" for place, path in enumerate(paths)]
    return "".join([*parts, f"--{BOUNDARY}--\r\n"]).encode()


def decode(content_type: str, body: bytes) -> dict[int, Part]:
    """The answers by the place of their call; a part that cannot be read is left out. Raises MalformedBatchError."""
    match = _BOUNDARY_PARAMETER.search(content_type)
    if match is None:
        raise MalformedBatchError(f"no boundary in {content_type[:80]!r}")
    # A boundary is only one at the start of a line, and JSON has no raw line breaks inside of strings.
    delimiter = b"\n--" + match[1].strip().encode()
    chunks = (b"\n" + body).split(delimiter)[1:]
    parts: dict[int, Part] = {}
    for place, chunk in enumerate(chunks):
        if chunk.startswith(b"--"):
            break
        part = _decode_part(chunk)
        if part is not None:
            parts[_place(chunk, default=place)] = part
    return parts


def _place(chunk: bytes, *, default: int) -> int:
    # Google answers in order; the id decides where it is echoed.
    head = _BLANK_LINE.split(chunk, maxsplit=1)[0]
    match = _CONTENT_ID.search(head)
    return default if match is None else int(match[1])


def _decode_part(chunk: bytes) -> Part | None:
    pieces = _BLANK_LINE.split(chunk, maxsplit=2)
    if len(pieces) < 3:
        return None
    status = _STATUS.match(pieces[1])
    if status is None:
        return None
    retry_after = _RETRY_AFTER.search(pieces[1])
    return Part(int(status[1]), pieces[2], None if retry_after is None else retry_after[1].decode("ascii", "replace"))
