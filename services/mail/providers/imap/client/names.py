"""Names of folders for people: modified UTF-7 (RFC 3501, section 5.1.3), decoded leniently.

Commands take the name as the server wrote it: encoding a decoded name again can give another one.
"""

import base64
import binascii
import re
from typing import Final

_SHIFTED: Final = re.compile(r"&([A-Za-z0-9+,]*)-")


def decode_name(raw: bytes) -> str:
    """Return a folder's name. What is not modified UTF-7 stays as it is; UTF-8 is read as such."""
    return _SHIFTED.sub(_decode_shifted, raw.decode("utf-8", "replace"))


def _decode_shifted(found: re.Match[str]) -> str:
    coded = found[1].replace(",", "/")
    if not coded:
        return "&"
    try:
        return base64.b64decode(coded + "=" * (-len(coded) % 4), validate=True).decode("utf-16-be")
    except (binascii.Error, UnicodeDecodeError):
        return found[0]
