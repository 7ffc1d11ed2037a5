"""Messages for the content tests: raw ones from headers and a body, and the Gmail resource of a raw one."""

import tarfile
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from services.mail.content import ParsedMessage, parse_raw
from services.mail.providers.gmail.payload import parse_gmail
from services.sandbox.mime.part_tree import Part, parse_message

# Only raw bytes show broken header lines and boundaries.
_ONLY_SEEN_RAW = {"8-bit-header", "header-line-without-field", "multipart-not-closed", "boundary-guessed"}
CORPUS = Path(__file__).resolve().parents[4] / "shared" / "corpus" / "real-mail.tar.gz"


def raw(*headers: str | bytes, body: str | bytes = "") -> bytes:
    """A message with LF line ends, as it is."""
    lines = [line if isinstance(line, bytes) else line.encode() for line in headers]
    return b"\n".join((*lines, b"", body if isinstance(body, bytes) else body.encode()))


def parse(*headers: str | bytes, body: str | bytes = "") -> ParsedMessage:
    """A raw message, parsed."""
    return parse_raw(raw(*headers, body=body))


def multipart(kind: str, *parts: str | bytes, boundary: str = "b") -> bytes:
    """A multipart as one part: Content-Type, blank line, and the given parts (headers, blank line, body)."""
    pieces = [part if isinstance(part, bytes) else part.encode() for part in parts]
    start = f"\n--{boundary}\n".encode()
    head = f'Content-Type: multipart/{kind}; boundary="{boundary}"\n\n'.encode()
    return head + b"".join(start + piece for piece in pieces) + f"\n--{boundary}--\n".encode()


def gmail_resource(
    data: bytes | Part, *, by_reference: Callable[[Part], bool] = lambda part: part.is_attachment
) -> dict[str, Any]:
    """The `format=full` resource of a raw message or its tree. Parts chosen by `by_reference` have no bytes in it."""
    tree = data if isinstance(data, Part) else parse_message(data)
    return {"id": "1", "payload": _payload(tree, "", by_reference)}


def read_part(tree: Part, part_id: str) -> bytes:
    """The provider's answer to a request for the bytes of a part."""
    part = tree.find(part_id)
    assert part is not None
    return part.read()


def parse_as_gmail(data: bytes | Part) -> ParsedMessage:
    """A raw message, or the sandbox's tree of one, by way of its Gmail resource; what Gmail leaves out is fetched."""
    tree = data if isinstance(data, Part) else parse_message(data)
    resource = gmail_resource(tree)
    first = parse_gmail(resource)
    fetched = {part.part_id: read_part(tree, part.part_id) for part in first.missing_parts}
    return parse_gmail(resource, fetched=fetched) if fetched else first


def differences(raw: ParsedMessage, gmail: ParsedMessage) -> dict[str, tuple[object, object]]:
    """Fields in which one message differs between its two formats, but for the defects that only raw bytes show."""
    out = {}
    for field in fields(ParsedMessage):
        one, other = getattr(raw, field.name), getattr(gmail, field.name)
        if field.name == "defects":
            one, other = set(one) - _ONLY_SEEN_RAW, set(other) - _ONLY_SEEN_RAW
        if one != other:
            out[field.name] = (one, other)
    return out


def read_corpus() -> list[tuple[str, bytes]]:
    """Names and bytes of the corpus of real mail; skips the test where it is absent."""
    if not CORPUS.exists():
        pytest.skip(f"no corpus of real mail at {CORPUS}")
    with tarfile.open(CORPUS) as archive:
        files = [(member.name, archive.extractfile(member)) for member in archive if member.isfile()]
        return [(Path(name).stem, file.read()) for name, file in files if file is not None]


def _payload(part: Part, part_id: str, by_reference: Callable[[Part], bool]) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "partId": part_id,
        "mimeType": part.mime_type,
        "filename": part.filename,
        "headers": [{"name": name, "value": value} for name, value in part.headers],
        "body": _body(part, part_id, by_reference),
    }
    if part.parts:
        prefix = f"{part_id}." if part_id else ""
        payload["parts"] = [_payload(child, f"{prefix}{i}", by_reference) for i, child in enumerate(part.parts)]
    return payload


def _body(part: Part, part_id: str, by_reference: Callable[[Part], bool]) -> dict[str, Any]:
    if part.content is None or part.size == 0:
        return {"size": 0}
    if by_reference(part):
        return {"attachmentId": f"ANGjdJ-{part_id}", "size": part.size}
    return {"size": part.size, "data": urlsafe_b64encode(part.read()).decode()}
