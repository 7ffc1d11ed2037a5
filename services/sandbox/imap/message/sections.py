"""Parts of a message's bytes, as FETCH names them: `1.2`, `HEADER.FIELDS (Subject)`, `TEXT` (RFC 9051, 6.4.5)."""

import re

from services.sandbox.imap.errors import BadError
from services.sandbox.mime.entities import body_of, split_multipart
from services.sandbox.mime.part_tree import parse_message

_SECTION = re.compile(r"(?P<path>\d+(?:\.\d+)*)?\.?(?P<what>[A-Z.]*)(?: \((?P<names>[^)]*)\))?", re.IGNORECASE)
_BOUNDARY = re.compile(rb'boundary\s*=\s*(?:"([^"]+)"|([^\s;]+))', re.IGNORECASE)
_FIELD = re.compile(rb"[^\n]*\n(?:[ \t][^\n]*\n)*")


def split_message(raw: bytes) -> tuple[bytes, bytes]:
    """Return the header block with the empty line after it, and the body."""
    body = body_of(raw)
    return raw[: len(raw) - len(body)], body


def section_of(raw: bytes, section: str) -> bytes | None:
    """Return the bytes of a section, None if the message has no such part. Raises BadError for a malformed name."""
    match = _SECTION.fullmatch(section)
    if match is None:
        raise BadError("malformed section")
    entity, what = raw, match["what"].upper()
    if match["path"]:
        found = _part(raw, [int(step) for step in match["path"].split(".")])
        if found is None:
            return None
        entity = found
        if what in ("HEADER", "TEXT", "HEADER.FIELDS", "HEADER.FIELDS.NOT"):
            # Those of the message inside.
            entity = split_message(entity)[1]
        elif not what:
            return split_message(entity)[1]
    elif what == "MIME":
        raise BadError("MIME needs a part")
    return _named(entity, what, (match["names"] or "").split())


def _named(entity: bytes, what: str, names: list[str]) -> bytes:
    head, body = split_message(entity)
    match what:
        case "":
            return entity
        case "HEADER" | "MIME":
            return head
        case "TEXT":
            return body
        case "HEADER.FIELDS" | "HEADER.FIELDS.NOT":
            return _fields(head, {name.strip('"').lower().encode() for name in names}, wanted=what.endswith("FIELDS"))
        case _:
            raise BadError("unknown section")


def _fields(head: bytes, names: set[bytes], *, wanted: bool) -> bytes:
    kept = [
        field[0]
        for field in _FIELD.finditer(head)
        if field[0].strip() and (field[0].partition(b":")[0].strip().lower() in names) is wanted
    ]
    return b"".join(kept) + b"\r\n"


def _part(entity: bytes, path: list[int]) -> bytes | None:
    """Return the part at a path with its own header, None if there is none. Part 1 of a single part is its body."""
    for depth, number in enumerate(path):
        children = _children(entity)
        if not children:
            return entity if number == 1 and depth == len(path) - 1 else None
        if number > len(children):
            return None
        entity = children[number - 1]
        if depth < len(path) - 1 and parse_message(entity).mime_type == "message/rfc822":
            entity = split_message(entity)[1]
    return entity


def _children(entity: bytes) -> list[bytes]:
    head, body = split_message(entity)
    if not parse_message(head).mime_type.startswith("multipart/"):
        return []
    match = _BOUNDARY.search(head)
    return split_multipart(body, (match[1] or match[2]).decode("latin-1")) if match else []
