"""Names of attachments, safe to show and to save under on any system."""

import re
import unicodedata

from services.mail.content.text.clean import clean_text

_LONGEST = 200
_LONGEST_EXTENSION = 20
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_FORBIDDEN = re.compile(r'[<>:"|?*]')
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?:\.|$)", re.IGNORECASE)
_EXTENSIONS = {
    "application/pdf": ".pdf",
    "application/pkcs7-mime": ".p7m",
    "image/gif": ".gif",
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "message/rfc822": ".eml",
    "text/calendar": ".ics",
    "text/html": ".html",
    "text/plain": ".txt",
}


def sanitise_filename(name: str) -> str:
    """Keep the last path component of `name`, without invisible, forbidden or reserved characters.

    At most 200 bytes of UTF-8; the extension survives the cut.
    """
    if not name.isascii() or not name.isprintable():
        name = "".join(character for character in clean_text(name) if unicodedata.category(character) not in _INVISIBLE)
    base = re.split(r"[/\\]", name)[-1]
    base = " ".join(_FORBIDDEN.sub("_", base).split()).rstrip(". ")
    if not base.strip("."):
        return ""
    return _shorten("_" + base if _RESERVED.match(base) else base)


def name_download(filename: str, *, mime_type: str, part_id: str) -> str:
    """Name a download: by the attachment's own name, or one made of its part id and type."""
    return filename or f"attachment-{part_id or 'message'}{_EXTENSIONS.get(mime_type, '.bin')}"


def _shorten(name: str) -> str:
    if len(name.encode()) <= _LONGEST:
        return name
    stem, dot, extension = name.rpartition(".")
    if not dot or len(extension.encode()) > _LONGEST_EXTENSION:
        stem, extension = name, ""
    tail = dot + extension if extension else ""
    return stem.encode()[: _LONGEST - len(tail.encode())].decode("utf-8", "ignore").rstrip(". ") + tail
