"""Bytes of MIME entities as they were sent, which the standard library's parser does not keep."""

import re

_BLANK_LINE = re.compile(rb"\r?\n\r?\n")


def body_of(entity: bytes) -> bytes:
    """What follows the header block of an entity."""
    if entity.startswith((b"\n", b"\r\n")):
        return entity.partition(b"\n")[2]
    blank = _BLANK_LINE.search(entity)
    return entity[blank.end() :] if blank else b""


def split_multipart(body: bytes, boundary: str) -> list[bytes]:
    """The entities between the delimiter lines of a multipart; the line break before a delimiter belongs to it."""
    mark = re.escape(boundary.encode("utf-8", "surrogateescape"))
    delimiters = list(re.finditer(rb"(?:\A|\r?\n)--" + mark + rb"(--)?[ \t]*(?:(?=\r?\n)|\Z)", body))
    entities = []
    for delimiter, following in zip(delimiters, [*delimiters[1:], None], strict=True):
        if delimiter.group(1):
            break
        entities.append(body[delimiter.end() : following.start() if following else len(body)].partition(b"\n")[2])
    return entities
