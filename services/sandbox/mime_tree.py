"""The part tree of a message as Gmail sees it, read from RFC 5322 bytes.

Headers come out decoded (RFC 2047), content with its transfer encoding removed and its charset left as declared, and a
`message/rfc822` part carries the message inside as its only child.
"""

import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message as EmailMessage
from email.parser import BytesParser
from email.policy import compat32

MAX_DEPTH = 100
_ENCODED_WORD = re.compile(r"=\?([^?\s]+)\?([bBqQ])\?([^?\s]*)\?=")
_FOLD = re.compile(r"\r?\n[ \t]*|\r")
_SURROGATES = re.compile("[\udc80-\udcff]")


@dataclass(slots=True)
class Part:
    """One node: `size` is that of the decoded content; `content` is bytes, or how to make them, or None inside."""

    mime_type: str
    filename: str
    headers: list[tuple[str, str]]
    size: int = 0
    content: bytes | Callable[[], bytes] | None = None
    parts: list["Part"] = field(default_factory=list)
    is_attachment: bool = False
    charset: str | None = None

    def read(self) -> bytes:
        """The decoded content of a leaf."""
        if self.content is None:
            return b""
        return self.content if isinstance(self.content, bytes) else self.content()

    def find(self, part_id: str) -> "Part | None":
        """The part with this id below (and including) the root, or None."""
        part = self
        for step in part_id.split(".") if part_id else []:
            if not step.isdigit() or int(step) >= len(part.parts):
                return None
            part = part.parts[int(step)]
        return part

    def header(self, name: str) -> str | None:
        """The first header of that name."""
        lowered = name.lower()
        return next((value for key, value in self.headers if key.lower() == lowered), None)


def _decode_word(encoding: str, text: str) -> bytes | None:
    try:
        if encoding in "bB":
            return binascii.a2b_base64(text + "=" * (-len(text) % 4))
        return binascii.a2b_qp(text.replace("_", " "), header=False)
    except (binascii.Error, ValueError):
        return None


def _decode_run(run: list[tuple[str, str, str, str]]) -> str:
    """Adjacent encoded words; those of one charset are joined as bytes first, since a character may span two."""
    out: list[str] = []
    pending = b""
    charset = ""
    literal = ""

    def flush() -> None:
        nonlocal pending, literal
        if literal:
            try:
                out.append(pending.decode(charset))
            except (LookupError, UnicodeError):
                out.append(literal)
        pending, literal = b"", ""

    for word_charset, encoding, text, source in run:
        name = word_charset.split("*")[0].lower()
        data = _decode_word(encoding, text)
        if data is None:
            flush()
            out.append(source)
            continue
        if name != charset:
            flush()
            charset = name
        pending += data
        literal += source
    flush()
    return "".join(out)


def decode_header(value: str) -> str:
    """A header's text with its encoded words decoded; broken ones stay as they are (RFC 2047)."""
    if "=?" not in value:
        return value
    out: list[str] = []
    run: list[tuple[str, str, str, str]] = []
    position = 0
    for match in _ENCODED_WORD.finditer(value):
        between = value[position : match.start()]
        if run and between.strip():
            out.append(_decode_run(run))
            run = []
        if between.strip() or not run:
            out.append(between)
        run.append((match[1], match[2], match[3], match[0]))
        position = match.end()
    if run:
        out.append(_decode_run(run))
    out.append(value[position:])
    return "".join(out)


def _header_text(value: object) -> str:
    text = _FOLD.sub(" ", str(value)) if not isinstance(value, str) else _FOLD.sub(" ", value)
    if _SURROGATES.search(text):
        text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return text.strip(" \t")


def _headers(message: EmailMessage, *, decode: bool) -> list[tuple[str, str]]:
    out = []
    for name, value in message.raw_items():
        text = _header_text(value)
        out.append((name, decode_header(text) if decode else text))
    return out


def _filename(message: EmailMessage) -> str:
    try:
        name = message.get_filename()
    except (LookupError, ValueError, TypeError, IndexError):
        return ""
    return decode_header(_header_text(name)) if name else ""


def _leaf_content(message: EmailMessage) -> bytes:
    payload = message.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _content_type(message: EmailMessage) -> str:
    try:
        return message.get_content_type()
    except (ValueError, TypeError, IndexError):
        return "text/plain"


def _charset(message: EmailMessage) -> str | None:
    try:
        return message.get_content_charset()
    except (LookupError, ValueError, TypeError, UnicodeError):
        return None


def _part(message: EmailMessage, *, decode: bool, depth: int) -> Part:
    mime_type = _content_type(message)
    disposition = str(message.get("Content-Disposition", "")).strip().lower()
    part = Part(
        mime_type=mime_type,
        filename=_filename(message),
        headers=_headers(message, decode=decode),
        charset=_charset(message),
    )
    part.is_attachment = (
        bool(part.filename) or disposition.startswith("attachment") or not mime_type.startswith("text/")
    )
    payload = message.get_payload() if message.is_multipart() else None
    if isinstance(payload, list) and depth < MAX_DEPTH:
        children = [child for child in payload if isinstance(child, EmailMessage)]
        part.parts = [_part(child, decode=decode, depth=depth + 1) for child in children]
        if mime_type.startswith("message/") and part.parts:
            part.content = _embedded(children)
            part.size = len(part.content)
        else:
            part.is_attachment = False
        return part
    part.content = _leaf_content(message)
    part.size = len(part.content)
    return part


def _embedded(children: list[EmailMessage]) -> bytes:
    try:
        return b"\r\n\r\n".join(child.as_bytes() for child in children)
    except (UnicodeError, LookupError, ValueError, TypeError, KeyError):
        return b""


def parse_message(raw: bytes, *, decode_headers: bool = True) -> Part:
    """Read a message; never raises on malformed input. `decode_headers` false leaves RFC 2047 words as they stand."""
    try:
        message = BytesParser(policy=compat32).parsebytes(raw)
    except RecursionError:
        # Nested beyond reason: shown as one part, as far as its own headers go.
        message = BytesParser(policy=compat32).parsebytes(raw, headersonly=True)
    return _part(message, decode=decode_headers, depth=0)
