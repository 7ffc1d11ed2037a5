"""The batch format: multipart/mixed bodies whose parts are HTTP requests or responses.

Source: "Batching requests" of the Gmail API guide. Requests have CRLF or LF as line ends; responses have CRLF.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from services.sandbox.google.gmail.errors import CallRefusedError, GoogleError

_REASONS = {
    200: "OK",
    204: "No Content",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    409: "Conflict",
    412: "Precondition Failed",
    413: "Request Entity Too Large",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


class PartReply(Protocol):
    """The response to one part."""

    @property
    def status(self) -> int: ...
    @property
    def body(self) -> bytes: ...
    @property
    def content_type(self) -> str: ...


@dataclass(slots=True)
class BatchPart:
    """One request inside a batch. `headers` have lower-case names."""

    content_id: str | None
    verb: str
    target: str
    headers: dict[str, str]
    body: bytes


def _boundary(content_type: str) -> bytes:
    kind, _, rest = content_type.partition(";")
    if kind.strip().lower() != "multipart/mixed":
        raise CallRefusedError(GoogleError(400, "badRequest", "The batch request must be multipart/mixed"))
    for parameter in rest.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "boundary" and (text := value.strip().strip('"')):
            return text.encode()
    raise CallRefusedError(GoogleError(400, "badRequest", "Missing end boundary in multipart body."))


def _split_head(data: bytes) -> tuple[bytes, bytes]:
    """Split at the blank line into header lines, with LF as their line end, and the body."""
    crlf, lf = data.find(b"\r\n\r\n"), data.find(b"\n\n")
    if crlf >= 0 and (lf < 0 or crlf < lf):
        return data[:crlf].replace(b"\r\n", b"\n"), data[crlf + 4 :]
    if lf >= 0:
        return data[:lf], data[lf + 2 :]
    return data.replace(b"\r\n", b"\n"), b""


def _headers(lines: Sequence[bytes]) -> dict[str, str]:
    out = {}
    for line in lines:
        name, colon, value = line.decode("latin-1").partition(":")
        if colon:
            out[name.strip().lower()] = value.strip()
    return out


def _part(chunk: bytes) -> BatchPart:
    outer, inner = _split_head(chunk)
    head, body = _split_head(inner.lstrip(b"\r\n"))
    request_line, *lines = head.split(b"\n")
    words = request_line.decode("latin-1").split()
    if len(words) < 2:
        raise CallRefusedError(
            GoogleError(400, "badRequest", "Failed to parse batch request, error: inner request is malformed")
        )
    target = words[1]
    if target.startswith(("http://", "https://")):
        target = "/" + target.split("/", 3)[-1]
    headers = _headers(lines)
    length = headers.get("content-length", "")
    body = body[: int(length)] if length.isdigit() and int(length) <= len(body) else body.rstrip(b"\r\n")
    return BatchPart(_headers(outer.split(b"\n")).get("content-id"), words[0].upper(), target, headers, body)


def read_batch(body: bytes, content_type: str) -> list[BatchPart]:
    """Parse the requests of a batch in order. Raises CallRefusedError (400) for a malformed one."""
    mark = b"--" + _boundary(content_type)
    chunks = (b"\n" + body).split(b"\n" + mark)
    if len(chunks) < 2:
        raise CallRefusedError(GoogleError(400, "badRequest", "Failed to parse batch request, error: 0 items"))
    parts = []
    for chunk in chunks[1:]:
        if chunk.startswith(b"--"):
            break
        parts.append(_part(chunk.lstrip(b" \t").removeprefix(b"\r").removeprefix(b"\n")))
    if not parts:
        raise CallRefusedError(GoogleError(400, "badRequest", "Failed to parse batch request, error: 0 items"))
    return parts


def _answer_id(content_id: str) -> str:
    """Return the Content-ID of the response to a request: `<a>` becomes `<response-a>`, else `response-a`."""
    if content_id.startswith("<"):
        return "<response-" + content_id[1:]
    return "response-" + content_id


def write_batch(parts: Sequence[BatchPart], replies: Sequence[PartReply]) -> tuple[bytes, str]:
    """Return body and content type of a batch response; `replies` are in the order of `parts`."""
    boundary = f"batch_{secrets.token_urlsafe(24)}"
    mark = b"--" + boundary.encode()
    chunks: list[bytes] = []
    for part, reply in zip(parts, replies, strict=True):
        chunks += (mark, b"\r\nContent-Type: application/http\r\n")
        if part.content_id is not None:
            chunks.append(f"Content-ID: {_answer_id(part.content_id)}\r\n".encode("latin-1"))
        chunks.append(f"\r\nHTTP/1.1 {reply.status} {_REASONS.get(reply.status, 'Unknown')}\r\n".encode())
        if reply.body:
            chunks.append(f"Content-Type: {reply.content_type}\r\nContent-Length: {len(reply.body)}\r\n".encode())
        chunks += (b"Vary: Origin, X-Origin, Referer\r\n\r\n", reply.body, b"\r\n")
    chunks += (mark, b"--\r\n")
    return b"".join(chunks), f"multipart/mixed; boundary={boundary}"
