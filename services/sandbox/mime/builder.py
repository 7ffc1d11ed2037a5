"""Builds a message from parts, both as RFC 5322 bytes and as the part tree that a parser makes of these bytes."""

import binascii
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

from services.sandbox.mime.part_tree import HeaderForm, Part

LINE = 76


@dataclass(slots=True)
class Leaf:
    """Content before transfer encoding. `content` may be a function that makes it; `size` is known in advance."""

    mime_type: str
    content: bytes | Callable[[], bytes]
    size: int
    encoding: str
    charset: str | None = None
    filename: str = ""
    disposition: str = ""
    content_id: str = ""
    parameters: str = ""

    def read(self) -> bytes:
        """Return the content."""
        return self.content if isinstance(self.content, bytes) else self.content()


@dataclass(slots=True)
class Branch:
    """A multipart entity."""

    mime_type: str
    boundary: str
    children: list["Leaf | Branch"]
    parameters: str = ""


def encode_words(text: str, charset: str, *, quoted: bool) -> str:
    """Encode text as RFC 2047 words on folded lines, in UTF-8 where the charset lacks a character."""
    try:
        text.encode(charset)
    except UnicodeEncodeError:
        charset = "utf-8"
    step = 10 if quoted else 12
    return "\r\n ".join(_word(text[i : i + step], charset, quoted=quoted) for i in range(0, len(text), step))


def _word(text: str, charset: str, *, quoted: bool) -> str:
    data = text.encode(charset)
    if quoted:
        body = "".join(chr(b) if chr(b).isalnum() and b < 128 else f"={b:02X}" for b in data)
        return f"=?{charset}?Q?{body}?="
    return f"=?{charset}?B?{b64encode(data).decode()}?="


def _fold(value: str) -> str:
    if len(value) <= LINE:
        return value
    lines = [""]
    for word in value.split(" "):
        if lines[-1] and len(lines[-1]) + len(word) > LINE:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}" if lines[-1] else word
    return "\r\n ".join(lines)


def _encode_address(value: str, charset: str, *, quoted: bool) -> str:
    name, bracket, rest = value.rpartition(" <")
    if not bracket or name.isascii():
        return value
    return f"{encode_words(name, charset, quoted=quoted)} <{rest}"


_ADDRESSES = frozenset({"From", "To", "Cc", "Reply-To", "Sender"})


def _encode_header(name: str, value: str, charset: str, *, quoted: bool) -> str:
    if value.isascii():
        return _fold(value)
    if name in _ADDRESSES:
        return ",\r\n ".join(_encode_address(part, charset, quoted=quoted) for part in value.split(", "))
    return encode_words(value, charset, quoted=quoted)


def _type_header(node: Leaf | Branch) -> str:
    if isinstance(node, Branch):
        return f'{node.mime_type}; boundary="{node.boundary}"{node.parameters}'
    value = node.mime_type
    if node.charset is not None:
        value += f'; charset="{node.charset}"'
    if node.filename and node.filename.isascii():
        value += f'; name="{node.filename}"'
    return value + node.parameters


def _entity_headers(node: Leaf | Branch) -> list[tuple[str, str]]:
    out = [("Content-Type", _type_header(node))]
    if isinstance(node, Branch):
        return out
    if node.encoding:
        out.append(("Content-Transfer-Encoding", node.encoding))
    if node.disposition:
        out.append(("Content-Disposition", _disposition(node)))
    if node.content_id:
        out.append(("Content-ID", f"<{node.content_id}>"))
    return out


def _disposition(leaf: Leaf) -> str:
    if not leaf.filename:
        return leaf.disposition
    if leaf.filename.isascii():
        return f'{leaf.disposition}; filename="{leaf.filename}"'
    return f"{leaf.disposition}; filename*=utf-8''{quote(leaf.filename, safe='')}"


def _encode_content(leaf: Leaf) -> bytes:
    data = leaf.read()
    if leaf.encoding == "base64":
        lines = b64encode(data)
        return b"\r\n".join(lines[i : i + LINE] for i in range(0, len(lines), LINE))
    if leaf.encoding == "quoted-printable":
        encoded = binascii.b2a_qp(data)
        return encoded if b"\r\n" in data else encoded.replace(b"=\n", b"=\r\n")
    return data


def _body_bytes(node: Leaf | Branch) -> bytes:
    if isinstance(node, Leaf):
        return _encode_content(node)
    mark = b"--" + node.boundary.encode()
    chunks = [mark + b"\r\n" + _entity_bytes(child) for child in node.children]
    return b"\r\n".join([*chunks, mark + b"--\r\n"])


def _entity_bytes(node: Leaf | Branch) -> bytes:
    lines = "".join(f"{name}: {_fold(value)}\r\n" for name, value in _entity_headers(node))
    return lines.encode() + b"\r\n" + _body_bytes(node)


def _node_part(node: Leaf | Branch, headers: list[tuple[str, str]]) -> Part:
    if isinstance(node, Branch):
        part = Part(node.mime_type, "", headers)
        part.parts = [_node_part(child, _entity_headers(child)) for child in node.children]
        return part
    return Part(
        mime_type=node.mime_type,
        filename=node.filename,
        headers=headers,
        size=node.size,
        content=node.content,
        is_attachment=bool(node.filename) or not node.mime_type.startswith("text/"),
        charset=node.charset,
    )


def _body_size(node: Leaf | Branch) -> int:
    if isinstance(node, Branch):
        return sum(_body_size(child) + 200 for child in node.children)
    if node.encoding == "base64":
        return node.size * 4 // 3
    if node.encoding == "quoted-printable" and isinstance(node.content, bytes):
        sample = node.content[:400]
        plain = len(sample.decode("ascii", "ignore"))
        return node.size * (3 * len(sample) - 2 * plain) // max(len(sample), 1)
    return node.size


@dataclass(slots=True)
class ComposedContent:
    """A whole message. Header values are Unicode; `charset` is the one that its mail program encodes them in."""

    headers: list[tuple[str, str]]
    body: Leaf | Branch
    charset: str = "utf-8"
    quoted: bool = False

    def raw(self) -> bytes:
        """Return the RFC 5322 bytes."""
        lines = "".join(
            f"{name}: {_encode_header(name, value, self.charset, quoted=self.quoted)}\r\n"
            for name, value in self.headers
        )
        return lines.encode() + _entity_bytes(self.body)

    def tree(self, *, headers: HeaderForm = "decoded") -> Part:
        """Return the part tree. Only headers that are wanted encoded get encoded; none has raw 8-bit bytes."""
        shown = self._encoded_headers() if headers == "encoded" else self.headers
        return _node_part(self.body, shown + _entity_headers(self.body))

    def _encoded_headers(self) -> list[tuple[str, str]]:
        return [
            (name, _encode_header(name, value, self.charset, quoted=self.quoted).replace("\r\n ", " "))
            for name, value in self.headers
        ]

    def size(self) -> int:
        """Estimate the size in bytes."""
        return sum(len(name) + len(value) + 4 for name, value in self.headers) + _body_size(self.body)
