"""ENVELOPE and BODYSTRUCTURE of a message (RFC 9051, section 7.5.2)."""

from email import utils
from email.message import Message as EmailMessage
from email.parser import BytesParser
from email.policy import compat32

from services.sandbox.imap.wire import string

_CRLF = compat32.clone(linesep="\r\n")
_ADDRESS_FIELDS = ("from", "sender", "reply-to", "to", "cc", "bcc")


def envelope(raw: bytes) -> bytes:
    """Return the ENVELOPE of a message."""
    message = BytesParser(policy=compat32).parsebytes(raw, headersonly=True)
    return _envelope(message)


def body_structure(raw: bytes, *, extended: bool) -> bytes:
    """Return BODYSTRUCTURE, or BODY without extension data."""
    return _structure(BytesParser(policy=compat32).parsebytes(raw), extended=extended)


def _envelope(message: EmailMessage) -> bytes:
    authors = _addresses(message, "from")
    addresses = [_addresses(message, name) for name in _ADDRESS_FIELDS]
    # Sender and Reply-To default to From.
    addresses = [found if found != b"NIL" or at not in (1, 2) else authors for at, found in enumerate(addresses)]
    texts = [_header(message, name) for name in ("date", "subject")]
    ids = [_header(message, name) for name in ("in-reply-to", "message-id")]
    return b"(" + b" ".join([*texts, *addresses, *ids]) + b")"


def _header(message: EmailMessage, name: str) -> bytes:
    value = message.get(name)
    if value is None:
        return b"NIL"
    text = " ".join(str(value).split())
    return string(text.encode("utf-8", "surrogateescape"))


def _addresses(message: EmailMessage, name: str) -> bytes:
    values = [str(value) for value in message.get_all(name, [])]
    pairs = [pair for pair in utils.getaddresses(values) if any(pair)]
    if not pairs:
        return b"NIL"
    return b"(" + b"".join(_address(shown, address) for shown, address in pairs) + b")"


def _address(shown: str, address: str) -> bytes:
    local, at, domain = address.rpartition("@")
    parts = [shown or None, None, local if at else address, domain if at else None]
    return b"(" + b" ".join(string(None if part is None else _bytes(part)) for part in parts) + b")"


def _structure(part: EmailMessage, *, extended: bool) -> bytes:
    payload = part.get_payload()
    children = [child for child in payload if isinstance(child, EmailMessage)] if isinstance(payload, list) else []
    if children and part.get_content_maintype() == "multipart":
        inside = b"".join(_structure(child, extended=extended) for child in children)
        further = b" " + b" ".join([_parameters(part), _disposition(part), b"NIL", b"NIL"]) if extended else b""
        return b"(" + inside + b" " + string(part.get_content_subtype().upper().encode()) + further + b")"
    return _leaf(part, children[0] if children else None, extended=extended)


def _leaf(part: EmailMessage, inner: EmailMessage | None, *, extended: bool) -> bytes:
    payload = part.get_payload()
    # The parser keeps the bytes of a body, line ends included; an attached message is put together again.
    body = _bytes(payload) if isinstance(payload, str) else part.as_bytes(policy=_CRLF).partition(b"\r\n\r\n")[2]
    lines = str(body.count(b"\n")).encode()
    fields = [
        string(part.get_content_maintype().upper().encode()),
        string(part.get_content_subtype().upper().encode()),
        _parameters(part),
        _header(part, "content-id"),
        _header(part, "content-description"),
        string(str(part.get("content-transfer-encoding", "7bit")).strip().upper().encode("ascii", "replace")),
        str(len(body)).encode(),
    ]
    if inner is not None:
        fields += [_envelope(inner), _structure(inner, extended=extended), lines]
    elif part.get_content_maintype() == "text":
        fields.append(lines)
    if extended:
        fields += [b"NIL", _disposition(part), b"NIL", b"NIL"]
    return b"(" + b" ".join(fields) + b")"


def _parameters(part: EmailMessage, header: str = "content-type") -> bytes:
    try:
        pairs = part.get_params(header=header, unquote=True) or []
    except (ValueError, TypeError, IndexError):
        return b"NIL"
    # A value in several parts (RFC 2231) is a tuple of charset, language and text.
    texts = [(name, utils.collapse_rfc2231_value(value)) for name, value in pairs[1:]]
    if not texts:
        return b"NIL"
    return b"(" + b" ".join(string(_bytes(text)) for pair in texts for text in pair) + b")"


def _disposition(part: EmailMessage) -> bytes:
    kind = part.get_content_disposition()
    if kind is None:
        return b"NIL"
    return b"(" + string(_bytes(kind.upper())) + b" " + _parameters(part, "content-disposition") + b")"


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
