"""Reading RFC 5322 bytes into the part tree.

Boundaries are found with one search per multipart over the bytes, lines are never split: 25 MB of base64 cost little.
"""

import re
from collections import deque
from dataclasses import dataclass
from operator import itemgetter

from services.mail.content import limits
from services.mail.content.mime.transfer import decode_transfer, is_encoded, measure_transfer
from services.mail.content.mime.tree import (
    Budget,
    Part,
    Tree,
    build_part,
    child_id,
    child_type,
    index_fields,
    take_out_files,
)
from services.mail.content.text.charsets import decode_together

_HEADERS_END = re.compile(rb"\n\r*\n")
_FOLD = re.compile(r"\n[ \t]+")
_FIELDS = re.compile(r"^([!-9;-~]++)[ \t]*+:[ \t]*+(.*)$", re.MULTILINE)
_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")
_LEADING_JUNK = re.compile(rb"(?:[\r\n]{1,8}(?=[!-9;-~]{1,80}[ \t]*:)|\xef\xbb\xbf)")
_ENVELOPE_LINE = re.compile(rb">?From [^\n]*\n")
_CHARSET = re.compile(rb"charset\s{0,5}=\s{0,5}[\"']?([A-Za-z0-9_:.-]{1,40})", re.IGNORECASE)
_CHARSET_WINDOW = 16 * 1024
_SAYS_NOTHING = {b"us-ascii", b"ascii", b"utf-8", b"utf8"}
_BOUNDARY_LINE = re.compile(rb"(?:\A|\n)--([^\s\r\n-][^\r\n]{0,199}?)[ \t]*\r?\n(?=Content-)", re.IGNORECASE)
_DELIMITER_END = re.compile(rb"(--)?[ \t]*\r*(?=\n|\Z)")


def read_raw(data: bytes, *, keeps_content: bool = False) -> Tree:
    """Read a message into its tree, with the contents of attachments if it `keeps_content`.

    Bounds as in `limits`; never fails.
    """
    return _RawReader(data, Budget(), keeps_content=keeps_content).read(data)


def read_entity(data: bytes, part: Part, budget: Budget) -> None:
    """Fill a part whose body a provider delivered whole: children of a multipart, the root of an attached message.

    Parts within it cannot be fetched apart: every one keeps its content.
    """
    reader = _RawReader(data, budget, keeps_content=True)
    if part.is_message:
        reader.queue_message(part, (data, 0, len(data)), level=1)
        reader.read_attached_messages()
    else:
        reader.read_multipart(part, (b"\n" + data, 1, len(data) + 1))


@dataclass(frozen=True, slots=True)
class _AttachedMessage:
    """An attached message that is read once the message that holds it has been."""

    part: Part
    source: tuple[bytes, int, int]
    level: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Delimiter:
    """A delimiter line of a multipart, from the line break before it."""

    start: int
    end: int
    closes: bool


class _RawReader:
    def __init__(self, data: bytes, budget: Budget, *, keeps_content: bool = False) -> None:
        self._budget = budget
        self._keeps_content = keeps_content
        self._scannable = max(len(data), limits.LARGE_BYTES) * limits.BOUNDARY_SCAN_FACTOR
        self._waiting: deque[_AttachedMessage] = deque()
        self._level = 0

    def read(self, data: bytes) -> Tree:
        # Old Macintosh messages end lines with CR alone.
        data = data.replace(b"\r", b"\n") if b"\n" not in data and b"\r" in data else data
        self._budget.parts = 1
        root = self._read_message((data, 0, len(data)), part_id="", level=0)
        self.read_attached_messages()
        return Tree(root, self._budget.truncated, self._budget.defects)

    def queue_message(self, part: Part, source: tuple[bytes, int, int], *, level: int) -> None:
        if level <= limits.ATTACHED_LEVELS:
            self._waiting.append(_AttachedMessage(part, source, level))

    def read_attached_messages(self) -> None:
        """Read the contents of attached messages, within bounds of their own: a cut in them truncates nothing else."""
        if not self._waiting:
            return
        budget, self._budget = self._budget, Budget()
        while self._waiting:
            attached = self._waiting.popleft()
            if self._budget.take_part():
                part_id = child_id(attached.part.part_id, 0)
                root = self._read_message(attached.source, part_id=part_id, level=attached.level)
                attached.part.children.append(root)
        self._budget = budget

    def _read_message(self, source: tuple[bytes, int, int], *, part_id: str, level: int) -> Part:
        """Read a message; its root part holds the header fields in order."""
        data, start, end = source
        start = _skip_junk(data, start, end)
        lines, body = self._split_headers(data, start, end)
        headers = self._decode_headers(lines, data[start : min(body + _CHARSET_WINDOW, end)])
        root = build_part(part_id, index_fields(headers), default_type="text/plain")
        root.headers = headers
        self._level = level
        self._read_body(root, (data, min(body, end), end), depth=0)
        return root

    def _split_headers(self, data: bytes, start: int, end: int) -> tuple[list[tuple[str, str]], int]:
        """Return the unfolded header fields in order, and where the body starts."""
        if data.startswith((b"\n", b"\r\n"), start, end):
            return [], data.index(b"\n", start) + 1
        blank = _HEADERS_END.search(data, start, end)
        headers_end, body = (blank.start(), blank.end()) if blank else (end, end)
        block = data[start:headers_end]
        if len(block) > limits.HEADER_BYTES:
            block = block[: block.rfind(b"\n", 0, limits.HEADER_BYTES) + 1 or limits.HEADER_BYTES]
            self._budget.cut("headers-too-long")
        fields, is_clean = _split_fields(block)
        if not is_clean:
            self._budget.note("header-line-without-field")
            missing_blank = _find_body(block)
            if missing_blank is not None:
                return _split_fields(block[:missing_blank])[0], start + missing_blank
        return fields, body

    def _decode_headers(self, fields: list[tuple[str, str]], window: bytes) -> list[tuple[str, str]]:
        """Decode header values. Raw 8-bit ones: UTF-8, then the charset that the message names, then detection."""
        if all(map(str.isascii, map(itemgetter(1), fields))):
            return fields
        self._budget.note("8-bit-header")
        named = next((label for label in _CHARSET.findall(window) if label.lower() not in _SAYS_NOTHING), None)
        texts = decode_together([value.encode("latin-1") for _, value in fields], named and named.decode("ascii"))
        return [(name, text) for (name, _), text in zip(fields, texts, strict=True)]

    def _read_body(self, part: Part, source: tuple[bytes, int, int], *, depth: int) -> None:
        if not part.is_multipart:
            self._read_leaf(part, source)
        elif depth >= limits.DEPTH:
            self._budget.cut("too-deep")
            part.size = source[2] - source[1]
        else:
            self.read_multipart(part, source, depth=depth)

    def _read_leaf(self, part: Part, source: tuple[bytes, int, int]) -> None:
        data, start, end = source
        encoding = part.fields.get("content-transfer-encoding", "")
        if part.mime_type.startswith("text/"):
            part.content = decode_transfer(data[start:end], encoding, is_text=True)
            part.size = len(part.content)
            take_out_files(part, self._budget)
        elif part.is_message and is_encoded(encoding):
            # RFC 2046 section 5.2.1 forbids it, some programs do it.
            message = decode_transfer(data[start:end], encoding)
            part.size = len(message)
            self.queue_message(part, (message, 0, len(message)), level=self._level + 1)
        elif part.is_message:
            part.size = end - start
            self.queue_message(part, source, level=self._level + 1)
        else:
            part.size = measure_transfer(data[start:end], encoding)
        if self._keeps_content and part.content is None:
            part.content = decode_transfer(data[start:end], encoding)

    def read_multipart(self, part: Part, source: tuple[bytes, int, int], *, depth: int = 0) -> None:
        """Read the children of a multipart; without any boundary it is text."""
        data, start, end = source
        encoding = part.fields.get("content-transfer-encoding", "")
        delimiters = self._find_delimiters(part, data, start, end)
        if not delimiters and is_encoded(encoding):
            # RFC 2045 section 6.4 forbids an encoded multipart; some senders make one.
            data = b"\n" + decode_transfer(data[start:end], encoding)
            start, end = 1, len(data)
            delimiters = self._find_delimiters(part, data, start, end)
        part.size, part.content = 0, None
        if not delimiters and data[start:end].strip():
            self._budget.note("multipart-without-parts")
            part.mime_type = "text/plain"
            part.size, part.content = end - start, data[start:end]
        self._read_children(part, (data, end), delimiters, depth=depth)

    def _read_children(
        self, part: Part, source: tuple[bytes, int], delimiters: list[_Delimiter], *, depth: int
    ) -> None:
        data, end = source
        for index, delimiter in enumerate(delimiters):
            if delimiter.closes:
                return
            is_last = index + 1 == len(delimiters)
            following = end if is_last else delimiters[index + 1].start
            if following == delimiter.end and not is_last:
                # The delimiter is there twice.
                continue
            if not self._budget.take_part():
                return
            if not is_last and data[following - 1 : following] == b"\r":
                following -= 1
            first = min(delimiter.end + 1, following)
            lines, body = self._split_headers(data, first, max(first, following))
            fields = index_fields(self._decode_headers(lines, b""))
            child = build_part(child_id(part.part_id, len(part.children)), fields, default_type=child_type(part))
            self._read_body(child, (data, min(body, following), max(first, following)), depth=depth + 1)
            part.children.append(child)
        if delimiters:
            self._budget.note("multipart-not-closed")

    def _find_delimiters(self, part: Part, data: bytes, start: int, end: int) -> list[_Delimiter]:
        """Find the delimiter lines of a multipart, the closing one last."""
        boundary = part.parameters.get("boundary", "").encode("utf-8", "surrogateescape").rstrip()
        found = self._scan(boundary, data, start, end) if boundary else []
        if found:
            return found
        guess = _BOUNDARY_LINE.search(data, max(start - 1, 0), end)
        if guess is None:
            return []
        self._budget.note("boundary-guessed")
        return self._scan(guess.group(1), data, start, end)

    def _scan(self, boundary: bytes, data: bytes, start: int, end: int) -> list[_Delimiter]:
        self._scannable -= end - start
        if self._scannable < 0:
            self._budget.cut("too-nested")
            return []
        # The line break before a delimiter belongs to it; the one before the first ends the headers. Boundaries are
        # searched for as bytes: to compile a pattern for each costs more than the search.
        mark = b"\n--" + boundary
        found: list[_Delimiter] = []
        position = data.find(mark, max(start - 1, 0), end)
        while position >= 0:
            following = position + 1
            if match := _DELIMITER_END.match(data, position + len(mark), end):
                found.append(_Delimiter(start=position, end=match.end(), closes=match.group(1) is not None))
                following = match.end()
                if found[-1].closes or len(found) > limits.PARTS + 1:
                    break
            position = data.find(mark, following, end)
        return found


def _skip_junk(data: bytes, start: int, end: int) -> int:
    """Return where a message starts behind blank lines, a byte order mark and an mbox's envelope line."""
    for pattern in (_LEADING_JUNK, _ENVELOPE_LINE):
        match = pattern.match(data, start, end)
        start = match.end() if match else start
    return start


def _split_fields(block: bytes) -> tuple[list[tuple[str, str]], bool]:
    """Unfold the header fields of a block; the second value says whether every line was one. 8-bit is latin-1."""
    tidy = block.replace(b"\r\n", b"\n").replace(b"\r", b" ") if b"\r" in block else block
    text = _FOLD.sub(" ", tidy.decode("latin-1"))
    fields = [(name, value.rstrip(" \t")) for name, value in _FIELDS.findall(text)]
    is_clean = len(fields) > text.count("\n") or len(fields) == sum(map(bool, text.split("\n")))
    return fields, is_clean


def _find_body(block: bytes) -> int | None:
    """Find the body in a block that lacks the blank line before it: it starts at a line that is no header field.

    None if every such line is followed by a field: then they are junk among the headers, to be passed over.
    """
    lines = block.split(b"\n")
    position = 0
    for index, line in enumerate(lines):
        is_header = _FIELD.match(line) or (index and line.startswith((b" ", b"\t"))) or not line.strip()
        if not is_header and (index + 1 == len(lines) or not _FIELD.match(lines[index + 1])):
            return position
        position += len(line) + 1
    return None
