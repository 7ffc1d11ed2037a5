"""Invitations (RFC 5546, iMIP in RFC 6047)."""

import re
from collections.abc import Collection, Sequence

from services.mail.content.model import Attachment

_TYPES = {"text/calendar", "application/ics"}
_FOLD = re.compile(r"\n[ \t]")
_METHOD = re.compile(r"^METHOD(?:;[^:\n]*)?:[ \t]*([A-Z0-9-]{1,40})[ \t]*$", re.IGNORECASE | re.MULTILINE)
_COMPONENT = re.compile(r"^BEGIN:(?!VCALENDAR)", re.IGNORECASE | re.MULTILINE)
# The calendar's own properties stand before its components.
_HEAD = 4096


def read_method(calendar: str) -> str | None:
    """Read the METHOD of an iCalendar object, in upper case; None if it has none. Line ends are LF."""
    head = _FOLD.sub("", calendar[:_HEAD])
    component = _COMPONENT.search(head)
    method = _METHOD.search(head, 0, component.start() if component else len(head))
    return method.group(1).upper() if method else None


def list_invitations_once(attachments: Sequence[Attachment], in_body: Collection[str]) -> list[Attachment]:
    """Keep only the file of an invitation that comes twice, as unnamed text and as a file.

    `in_body` holds the part ids of invitations that are part of the body.
    """
    if not any(_is_calendar(item) and item.part_id not in in_body for item in attachments):
        return list(attachments)
    return [item for item in attachments if not (item.part_id in in_body and _is_calendar(item))]


def _is_calendar(attachment: Attachment) -> bool:
    return attachment.mime_type in _TYPES or attachment.filename.lower().endswith(".ics")
