"""Parses RFC 5322 bytes into a part tree.

Headers are decoded (RFC 2047), transfer encodings are removed, charsets of content stay as declared, and a
`message/rfc822` part has the message inside as its only child.
"""

import binascii
import codecs
import quopri
import re
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field
from email.message import Message as EmailMessage
from email.parser import BytesParser
from email.policy import compat32
from functools import cached_property
from typing import Literal

from services.sandbox.mime.entities import body_of, split_multipart
from services.sandbox.mime.header_charset import guess_charset

MAX_DEPTH = 100
HeaderForm = Literal["decoded", "encoded", "mangled"]
"""Form of header values: decoded; with RFC 2047 words left encoded; or with raw 8-bit bytes as U+FFFD."""
_ENCODED_WORD = re.compile(r"=\?([^?\s]+)\?([bBqQ])\?([^?\s]*)\?=")
_FOLD = re.compile(r"\r?\n[ \t]*|\r")
_SURROGATES = re.compile("[\udc80-\udcff]")
_NOT_CHARSETS = frozenset({"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"})
"""Python codecs that no mail program uses."""
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]")
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_STRAY = re.compile(rb"^(?![ \t]|From )(?:[^:\s]+[ \t]+:|[^:\n]*$)", re.MULTILINE)
# White space that was added at the end of a line on the way (RFC 2045 section 6.7 rule 3).
_QUOTED_PADDING = re.compile(rb"(?<![ \t])[ \t]+(?=\r?\n|\Z)")
_SPACE_BEFORE_COLON = re.compile(rb"^([^:\s]+)[ \t]+:")


@dataclass(slots=True)
class Part:
    """One node. `size` is that of the decoded content; `content` is bytes, a function, or None for a branch."""

    mime_type: str
    filename: str
    headers: list[tuple[str, str]]
    size: int = 0
    content: bytes | Callable[[], bytes] | None = None
    parts: list["Part"] = field(default_factory=list)
    is_attachment: bool = False
    charset: str | None = None

    def read(self) -> bytes:
        """Return the decoded content of a leaf."""
        if self.content is None:
            return b""
        return self.content if isinstance(self.content, bytes) else self.content()

    def find(self, part_id: str) -> "Part | None":
        """Return the part with this id below (and including) the root, or None."""
        part = self
        for step in part_id.split(".") if part_id else []:
            if not step.isdigit() or int(step) >= len(part.parts):
                return None
            part = part.parts[int(step)]
        return part

    def header(self, name: str) -> str | None:
        """Return the first header of this name, or None."""
        lowered = name.lower()
        return next((value for key, value in self.headers if key.lower() == lowered), None)


def decode_text(data: bytes, charset: str, errors: str = "strict") -> str | None:
    """Decode bytes. None for an unknown charset, or where `errors` is strict and the bytes do not fit it."""
    try:
        if codecs.lookup(charset).name in _NOT_CHARSETS:
            return None
        return data.decode(charset, errors)
    except (LookupError, ValueError):
        return None


def _decode_word(encoding: str, text: str) -> bytes | None:
    try:
        if encoding in "bB":
            return binascii.a2b_base64(text + "=" * (-len(text) % 4))
        return binascii.a2b_qp(text.replace("_", " "), header=False)
    except (binascii.Error, ValueError):
        return None


def _decode_run(run: list[tuple[str, str, str, str]]) -> str:
    """Decode adjacent encoded words. Those of one charset are joined as bytes first: a character may span two."""
    out: list[str] = []
    pending = b""
    charset = ""
    literal = ""

    def flush() -> None:
        nonlocal pending, literal
        if literal:
            decoded = decode_text(pending, charset)
            out.append(literal if decoded is None else decoded)
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
    """Decode the encoded words of a header; malformed ones stay as they are (RFC 2047)."""
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


def _unfold(value: object) -> str:
    return _FOLD.sub(" ", str(value)).strip(" \t")


def _content_type(message: EmailMessage) -> str:
    try:
        return message.get_content_type()
    except (ValueError, TypeError, IndexError):
        return "text/plain"


def _charset(message: EmailMessage) -> str | None:
    try:
        return message.get_content_charset()
    except (LookupError, ValueError, TypeError):
        return None


def _any_charset(message: EmailMessage) -> str | None:
    try:
        return next((name for part in message.walk() if (name := _charset(part))), None)
    except RecursionError:
        return None


def _lenient_base64(data: bytes) -> bytes:
    letters = _NOT_BASE64.sub(b"", data)
    if len(letters) % 4 == 1:
        letters = letters[:-1]
    return binascii.a2b_base64(letters + b"=" * (-len(letters) % 4))


def _is_mostly_utf8(data: bytes) -> bool:
    text = data.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    return 3 * broken < sum(not character.isascii() for character in text)


def _encoding(message: EmailMessage) -> str:
    return str(message.get("Content-Transfer-Encoding", "")).strip().lower()


def _leaf_content(message: EmailMessage, source: bytes) -> bytes:
    if _encoding(message) == "quoted-printable" and source and not message.defects:
        return quopri.decodestring(_QUOTED_PADDING.sub(b"", body_of(source)))
    payload = message.get_payload(decode=True)
    data = payload if isinstance(payload, bytes) else b""
    if _encoding(message) != "base64":
        return data
    # Remove Content-Type, or its charset would be applied to the text.
    bare = copy(message)
    del bare["Content-Type"]
    text = bare.get_payload()
    as_sent = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else b""
    # The standard library returns broken base64 undecoded, as one line.
    return _lenient_base64(as_sent) if data == b"".join(as_sent.splitlines()) else data


class _TreeBuilder:
    """Converts the standard library's message objects into parts."""

    def __init__(self, raw: bytes, *, headers: HeaderForm, charset: str | None) -> None:
        self._raw = raw
        self._form = headers
        self._charset = charset

    def part(self, message: EmailMessage, source: bytes, depth: int = 0) -> Part:
        """Convert one entity, whose bytes are `source`, with everything below it."""
        mime_type = _content_type(message)
        filename = self._filename(message)
        disposition = str(message.get("Content-Disposition", "")).strip().lower()
        part = Part(mime_type, filename, self._headers(message), charset=_charset(message))
        part.is_attachment = bool(filename) or disposition.startswith("attachment") or not mime_type.startswith("text/")
        children = self._children(message) if depth < MAX_DEPTH else []
        if children and not mime_type.startswith("message/"):
            part.is_attachment = False
            sources = self._split(message, source, len(children))
            part.parts = [self.part(child, each, depth + 1) for child, each in zip(children, sources, strict=True)]
            return part
        part.content = self._embedded(message, source) if children else _leaf_content(message, source)
        part.size = len(part.content)
        if children and mime_type == "message/rfc822":
            inner = BytesParser(policy=compat32).parsebytes(part.content)
            part.parts = [self.part(inner, part.content, depth + 1)]
        return part

    def _children(self, message: EmailMessage) -> list[EmailMessage]:
        payload = message.get_payload() if message.is_multipart() else None
        return [child for child in payload if isinstance(child, EmailMessage)] if isinstance(payload, list) else []

    def _split(self, message: EmailMessage, source: bytes, count: int) -> list[bytes]:
        """Return the bytes of the children; empty where they are not found as the standard library finds them."""
        entities = []
        with suppress(LookupError, ValueError, TypeError):
            entities = split_multipart(body_of(source), str(message.get_boundary()))
        return entities if len(entities) == count else [b""] * count

    def _embedded(self, message: EmailMessage, source: bytes) -> bytes:
        """Return the bytes in a message/rfc822 or a delivery status, decoded if they are encoded against the rules."""
        body = body_of(source)
        if _encoding(message) == "base64":
            return _lenient_base64(body)
        return quopri.decodestring(body) if _encoding(message) == "quoted-printable" else body

    def _text(self, value: object) -> str:
        text = _unfold(value)
        return self._eight_bit(text.encode("utf-8", "surrogateescape")) if _SURROGATES.search(text) else text

    def _eight_bit(self, data: bytes) -> str:
        """Decode raw 8-bit bytes of a header: as UTF-8, else in the charset of the body, else in the guessed one.

        A few broken bytes among many in UTF-8 are U+FFFD.
        """
        if self._form != "mangled" and not _is_mostly_utf8(data):
            for charset in ("utf-8", self._charset or "utf-8", self._guessed):
                decoded = decode_text(data, charset)
                if decoded is not None:
                    return decoded
        return data.decode("utf-8", "replace")

    @cached_property
    def _guessed(self) -> str:
        return guess_charset(self._raw)

    def _headers(self, message: EmailMessage) -> list[tuple[str, str]]:
        pairs = [(name, self._text(value)) for name, value in message.raw_items()]
        return pairs if self._form == "encoded" else [(name, decode_header(text)) for name, text in pairs]

    def _filename(self, message: EmailMessage) -> str:
        try:
            name = message.get_filename()
        except (LookupError, ValueError, TypeError):
            return ""
        return decode_header(self._text(name)) if name else ""


def _tidy_head(raw: bytes) -> bytes:
    """Remove what would end the header block early: a space before a colon, and stray lines."""
    end = _BLANK_LINE.search(raw)
    head = raw[: end.start()] if end else raw
    if not _STRAY.search(head):
        return raw
    kept = [
        _SPACE_BEFORE_COLON.sub(rb"\1:", line, count=1)
        for line in head.splitlines(keepends=True)
        if line[:1] in b" \t" or b":" in line or line.startswith(b"From ")
    ]
    return b"".join(kept) + raw[len(head) :]


def parse_message(raw: bytes, *, headers: HeaderForm = "decoded") -> Part:
    """Parse a message. Never raises for malformed input."""
    tidy = _tidy_head(raw)
    try:
        message = BytesParser(policy=compat32).parsebytes(tidy)
    except RecursionError:
        # Nested too deeply to parse: one part with the outer headers.
        message = BytesParser(policy=compat32).parsebytes(tidy, headersonly=True)
    return _TreeBuilder(raw, headers=headers, charset=_any_charset(message)).part(message, tidy)
