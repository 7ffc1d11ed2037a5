"""Bytes of MIME entities as they were sent, which the standard library's parser does not keep."""

import re

_BLANK_LINE = re.compile(rb"\r?\n\r?\n")


def body_of(entity: bytes) -> bytes:
    """Return the part of an entity behind its header block."""
    if entity.startswith((b"\n", b"\r\n")):
        return entity.partition(b"\n")[2]
    blank = _BLANK_LINE.search(entity)
    return entity[blank.end() :] if blank else b""


def split_multipart(body: bytes, boundary: str) -> list[bytes]:
    """Return the entities between the delimiters of a multipart; the line break before a delimiter belongs to it."""
    mark = re.escape(boundary.encode("utf-8", "surrogateescape"))
    # Begins with a literal, so that megabytes of attachments are searched and not matched byte by byte.
    lines = re.finditer(rb"--" + mark + rb"(--)?[ \t]*(?:(?=\r?\n)|\Z)", body)
    delimiters = [each for each in lines if each.start() == 0 or body[each.start() - 1 : each.start()] == b"\n"]
    entities = []
    for delimiter, following in zip(delimiters, [*delimiters[1:], None], strict=True):
        if delimiter.group(1):
            break
        end = len(body) if following is None else _line_end(body, following.start())
        entities.append(body[delimiter.end() : end].partition(b"\n")[2])
    return entities


def _line_end(body: bytes, start: int) -> int:
    """Where the line before the one at `start` ends, without its line break."""
    return start - (2 if body[start - 2 : start] == b"\r\n" else 1)
