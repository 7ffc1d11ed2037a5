"""Names of folders on the wire (RFC 3501, section 5.1.3)."""

import base64
import binascii
import re

_RUN = re.compile(r"[^\x20-\x7e]+|&")
_ENCODED = re.compile(rb"&([^-]*)-")


def encode(name: str) -> bytes:
    """Return a name in modified UTF-7."""

    def encoded(match: re.Match[str]) -> str:
        if match[0] == "&":
            return "&-"
        text = base64.b64encode(match[0].encode("utf-16-be")).decode().rstrip("=").replace("/", ",")
        return f"&{text}-"

    return _RUN.sub(encoded, name).encode("ascii")


def decode(name: bytes) -> str:
    """Return the name that these bytes stand for. Raises ValueError."""

    def decoded(match: re.Match[bytes]) -> bytes:
        if not match[1]:
            return b"&"
        text = match[1].replace(b",", b"/")
        try:
            return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True).decode("utf-16-be").encode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise ValueError("malformed name") from error

    if not name.isascii():
        raise ValueError("a name is ASCII")
    return _ENCODED.sub(decoded, name).decode()
