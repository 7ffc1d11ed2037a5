"""Pictures that belong into the HTML of a message, as data URLs: its frame loads nothing."""

import asyncio
import base64
import re
from collections.abc import Awaitable, Callable

from services.console.gateway.client import Json
from services.console.gateway.errors import GatewayError

# Types that browsers draw and run nothing of.
_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
# Bytes of one that a page shows.
_LARGEST = 3_000_000
# As the API names them (docs/messages.md).
_SOURCE = re.compile(r'src="/emails/[^"/]+/attachments/([^"/]+)"')

type Fetch = Callable[[str], Awaitable[bytes]]
"""Returns the bytes of the attachment of an id. Raises GatewayError."""


def has_pictures(email: Json) -> bool:
    """Return whether the HTML of a message shows pictures of its own."""
    return bool(email["html"]) and bool(_wanted(email))


async def with_pictures(email: Json, fetch: Fetch) -> str:
    """Return the HTML with the pictures in it. One that cannot be had stays out."""
    wanted = _wanted(email)
    found = await asyncio.gather(*(_data_url(kind, fetch, attachment_id) for attachment_id, kind in wanted.items()))
    urls = dict(zip(wanted, found, strict=True))
    return _SOURCE.sub(lambda match: f'src="{urls.get(match[1], "")}"', email["html"])


def _wanted(email: Json) -> dict[str, str]:
    """Return the types of the pictures that the HTML names, by id."""
    known = {
        each["id"]: each["mime_type"]
        for each in email["attachments"]
        if each["mime_type"] in _TYPES and each["size"] <= _LARGEST
    }
    named = dict.fromkeys(_SOURCE.findall(email["html"]))
    return {attachment_id: known[attachment_id] for attachment_id in named if attachment_id in known}


async def _data_url(kind: str, fetch: Fetch, attachment_id: str) -> str:
    try:
        content = await fetch(attachment_id)
    except GatewayError:
        return ""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
