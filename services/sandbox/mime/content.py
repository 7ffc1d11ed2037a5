"""Sources of a message's bytes: stored, or composed at each read."""

import html
import re
from dataclasses import dataclass
from typing import Protocol

from services.sandbox.mime.part_tree import HeaderForm, Part, decode_text, parse_message

SNIPPET_LENGTH = 200
_TAGS = re.compile(r"(?is)<(script|style|head|title)\b.*?</\1\s*>|<[^>]*>")


class Content(Protocol):
    """One message, as bytes and as a part tree."""

    def raw(self) -> bytes:
        """Return the RFC 5322 bytes."""
        ...

    def tree(self, *, headers: HeaderForm = "decoded") -> Part:
        """Return the part tree."""
        ...

    def size(self) -> int:
        """Estimate the length of `raw`."""
        ...


def shorten(text: str) -> str:
    """Flatten text to one line and cut it at a word near 200 characters, as snippets are."""
    flat = " ".join(text[:1000].split())
    if len(flat) <= SNIPPET_LENGTH:
        return flat
    cut = flat[:SNIPPET_LENGTH]
    return cut.rsplit(" ", 1)[0] if " " in cut else cut


def html_as_text(source: str) -> str:
    """Extract the words of HTML, accurately enough for a snippet."""
    return html.unescape(_TAGS.sub(" ", source[:20_000]))


def _first_leaf(part: Part, mime_type: str) -> Part | None:
    if not part.parts:
        return part if part.mime_type == mime_type and not part.is_attachment else None
    if part.mime_type.startswith("message/"):
        return None
    return next((leaf for child in part.parts if (leaf := _first_leaf(child, mime_type))), None)


def _text(part: Part) -> str:
    data = part.read()[:20_000]
    text = decode_text(data, part.charset or "utf-8", "replace")
    return data.decode("utf-8", "replace") if text is None else text


def snippet_of(tree: Part) -> str:
    """Return the first words of a message, unescaped: of its plain text, else of its HTML."""
    plain = _first_leaf(tree, "text/plain")
    if plain is not None and (words := shorten(_text(plain))):
        return words
    rich = _first_leaf(tree, "text/html")
    return shorten(html_as_text(_text(rich)).strip()) if rich is not None else ""


@dataclass(frozen=True, slots=True)
class StoredContent:
    """A message with bytes from outside: delivered, inserted, imported or sent."""

    data: bytes

    def raw(self) -> bytes:
        """Return the bytes."""
        return self.data

    def tree(self, *, headers: HeaderForm = "decoded") -> Part:
        """Parse the bytes."""
        return parse_message(self.data, headers=headers)

    def size(self) -> int:
        """Return the exact number of bytes."""
        return len(self.data)
