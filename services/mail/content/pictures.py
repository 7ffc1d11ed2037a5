"""Pictures that the HTML of a message shows.

Others are attachments, whatever their disposition: phones send photos as inline parts beside plain text.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from html import unescape
from urllib.parse import unquote

from services.mail.content.model import Attachment

_CONTENT_ID = re.compile(r"""\bcid:([^\s"'<>()]{1,998})""", re.IGNORECASE)
_SOURCE = re.compile(
    r"""\b(?:(?:src|background)\s*=\s*(?:"([^"<>]{1,998})"|'([^'<>]{1,998})'|([^\s"'<>]{1,998}))"""
    r"""|url\(\s*["']?([^"'()<>]{1,998}))""",
    re.IGNORECASE,
)


def mark_embedded(attachments: Sequence[Attachment], html: str | None) -> list[Attachment]:
    """Return the attachments, `inline` set for those pictures that the HTML embeds and for no other picture."""
    pictures = [each for each in attachments if _is_picture(each)]
    if not pictures:
        return list(attachments)
    content_ids = {_plain(value) for value in _CONTENT_ID.findall(html)} if html else set()
    is_named = any(each.content_location or each.filename for each in pictures)
    sources = {_plain("".join(values)) for values in _SOURCE.findall(html)} if html and is_named else set()
    return [
        replace(each, inline=each.inline and _is_embedded(each, content_ids, sources)) if _is_picture(each) else each
        for each in attachments
    ]


def _is_picture(attachment: Attachment) -> bool:
    return attachment.mime_type.startswith("image/")


def _plain(address: str) -> str:
    return unquote(unescape(address)).strip().lower()


def _is_embedded(picture: Attachment, content_ids: set[str], sources: set[str]) -> bool:
    if picture.content_id and picture.content_id.lower() in content_ids:
        return True
    return any(name and _plain(name) in sources for name in (picture.content_location, picture.filename))
