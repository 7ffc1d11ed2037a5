"""Conversion of Gmail's `format=full` message resource to the part tree.

Header values arrive decoded and bodies without their transfer encoding; text is in the charset of its header or already
in UTF-8. Any field of the resource may be missing or of the wrong type.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from services.mail.content import limits
from services.mail.content.headers.parameters import read_mime_type
from services.mail.content.mime.raw import read_entity
from services.mail.content.mime.transfer import decode_base64_text
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
from services.mail.content.model import ParsedMessage
from services.mail.content.parse import build_message
from services.mail.content.text.clean import clean_text

_NOTHING_FETCHED: Mapping[str, bytes] = {}


def parse_gmail(message: Mapping[str, Any], *, fetched: Mapping[str, bytes] = _NOTHING_FETCHED) -> ParsedMessage:
    """Parse a message resource of `format=full`.

    When the result names `missing_parts`, fetch them and parse again with their decoded bytes by part id.
    """
    return build_message(read_gmail(message, fetched=fetched))


def read_gmail(message: Mapping[str, Any], *, fetched: Mapping[str, bytes]) -> Tree:
    """Return the tree of a message resource. `fetched` holds the bytes of parts delivered by reference, by part id."""
    payload = message.get("payload")
    return _GmailReader(fetched).read(payload if isinstance(payload, Mapping) else {})


class _GmailReader:
    def __init__(self, fetched: Mapping[str, bytes]) -> None:
        self._fetched = fetched
        self._budget = Budget()
        self._waiting: deque[tuple[Part, Sequence[Any], int]] = deque()

    def read(self, payload: Mapping[str, Any]) -> Tree:
        headers = self._bound(_read_headers(payload))
        self._budget.parts = 1
        root = self._read_part(payload, "", "text/plain", headers=headers, depth=0)
        root.headers = headers
        self._read_attached_messages()
        return Tree(root, self._budget.truncated, self._budget.defects)

    def _bound(self, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
        left = limits.HEADER_BYTES
        if sum([len(name) + len(value) + 4 for name, value in headers]) <= left:
            return headers
        self._budget.cut("headers-too-long")
        for index, (name, value) in enumerate(headers):
            left -= len(name) + len(value) + 4
            if left < 0:
                return headers[:index]
        return headers

    def _read_part(
        self, source: Mapping[str, Any], part_id: str, default_type: str, *, headers: list[tuple[str, str]], depth: int
    ) -> Part:
        claimed_type = read_mime_type(_text(source.get("mimeType")).lower(), default_type)
        claimed_name = _text(source.get("filename"))
        part = build_part(part_id, index_fields(headers), default_type=claimed_type, claimed_name=claimed_name)
        self._read_body(part, _mapping(source.get("body")))
        children = _sequence(source.get("parts"))
        if part.is_multipart and depth >= limits.DEPTH:
            self._budget.cut("too-deep")
        elif part.is_multipart and children:
            self._read_children(part, children, depth=depth)
        elif part.is_multipart:
            self._read_undivided(part)
        elif part.is_message:
            self._waiting.append((part, children, depth))
        else:
            take_out_files(part, self._budget)
        return part

    def _read_undivided(self, part: Part) -> None:
        """Read a multipart that has no parts in the resource: split it here, or take it for text."""
        if part.content:
            read_entity(part.content, part, self._budget)
        elif part.handle:
            part.mime_type = "text/plain"

    def _read_body(self, part: Part, body: Mapping[str, Any]) -> None:
        data = _text(body.get("data"))
        part.handle = clean_text(_text(body.get("attachmentId"))) or None
        part.size = _integer(body.get("size"))
        if part.part_id in self._fetched:
            part.content = self._fetched[part.part_id]
        elif data or part.handle is None:
            part.content = decode_base64_text(data)
        if part.content is not None and (data or not part.size):
            part.size = len(part.content)

    def _read_children(self, part: Part, children: Sequence[Any], *, depth: int) -> None:
        for index, source in enumerate(children):
            if not isinstance(source, Mapping):
                continue
            if not self._budget.take_part():
                return
            part.children.append(self._read_child(part, source, index, child_type(part), depth=depth + 1))

    def _read_child(self, part: Part, source: Mapping[str, Any], index: int, default_type: str, *, depth: int) -> Part:
        part_id = clean_text(_text(source.get("partId"))) or child_id(part.part_id, index)
        headers = self._bound(_read_headers(source))
        child = self._read_part(source, part_id, default_type, headers=headers, depth=depth)
        if part.is_message:
            child.headers = headers
        return child

    def _read_attached_messages(self) -> None:
        """Read the contents of attached messages within bounds of their own: truncating them truncates nothing else."""
        if not self._waiting:
            return
        budget, self._budget = self._budget, Budget()
        while self._waiting:
            part, children, depth = self._waiting.popleft()
            source = next((child for child in children if isinstance(child, Mapping)), None)
            if source is not None and depth < limits.DEPTH and self._budget.take_part():
                part.children.append(self._read_child(part, source, 0, "text/plain", depth=depth + 1))
            elif source is None and part.content:
                read_entity(part.content, part, self._budget)
        self._budget = budget


def _read_headers(source: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return names and values in order, without line breaks and surrounding white space."""
    headers = []
    for header in _sequence(source.get("headers")):
        fields = _mapping(header)
        name = fields.get("name")
        if isinstance(name, str):
            value = _text(fields.get("value"))
            if "\n" in value or "\r" in value:
                value = value.replace("\r", "").replace("\n", "")
            headers.append((name.strip(), value.strip(" \t")))
    return headers


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _mapping(value: Any) -> Mapping[str, Any]:
    # A dict is the usual case, and checking for the abstract type takes ten times as long.
    return value if isinstance(value, dict) or isinstance(value, Mapping) else {}  # noqa: SIM101 - a union is as slow


def _sequence(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def _integer(value: Any) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63 else 0
