"""Contents that mail streams, as HTTP responses: ranges and conditions of RFC 9110, names of RFC 6266.

The bytes are written by strangers: they are sent as a download, so that no browser shows them as a page of ours.
"""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, aclosing
from http import HTTPStatus
from urllib.parse import quote

import structlog
from fastapi import HTTPException
from mailroom.mail.v1.mail_pb2 import (
    DownloadAttachmentResponse,
    DownloadCondition,
    DownloadHeader,
    DownloadRawResponse,
)
from starlette.types import Send

from services.gateway.streaming import IDLE_SECONDS, Streamed
from services.kit.errors import AppError

# Types without scripts. All others are sent as application/octet-stream.
_HARMLESS_TYPES = frozenset(
    {
        *("image/png", "image/jpeg", "image/gif", "image/webp", "application/pdf", "application/zip", "text/plain"),
        *("text/csv", "text/calendar", "message/rfc822", "audio/mpeg", "audio/mp4", "audio/ogg", "video/mp4"),
    }
)
_RANGE = re.compile(r"bytes\s*=\s*(\d*)\s*-\s*(\d*)", re.ASCII | re.IGNORECASE)
_ETAG = re.compile(r'(?:W/)?"([^"]*)"')
# Digits of the largest size.
_LARGEST = 10**18 - 1

log = structlog.get_logger()

type Parts = AsyncGenerator[DownloadRawResponse | DownloadAttachmentResponse]


def condition_of(*, wanted: str, if_range: str, if_none_match: str) -> DownloadCondition:
    """Return the condition of the headers Range, If-Range and If-None-Match, which are empty if absent.

    A Range that is malformed or has several ranges is ignored, as RFC 9110 section 14.2 allows.
    """
    # In quotation marks the star is a tag like others, and no tag of ours.
    known = ["*"] if if_none_match.strip() == "*" else [tag for tag in _ETAG.findall(if_none_match) if tag != "*"]
    condition = DownloadCondition(known_etags=known)
    match = _RANGE.fullmatch(wanted.strip())
    if match is None or not (match[1] or match[2]):
        return condition
    first, last = (min(int(digits[:19]), _LARGEST) if digits else None for digits in match.groups())
    if first is not None and last is not None and last < first:
        return condition
    if first is not None:
        condition.first = first
    if last is not None:
        condition.last = last
    # Dates and weak validators never match (RFC 9110 section 13.1.5), nor does an absent one.
    strong = re.fullmatch(r'"([^"]+)"', if_range.strip())
    condition.range_etag = strong[1] if strong else if_range.strip()
    return condition


def content_disposition(filename: str) -> str:
    """Return the header of RFC 6266 with the name in ASCII, and in UTF-8 (RFC 8187) for newer clients."""
    plain = re.sub(r'[^\x20-\x7e]|["\\%]', "_", filename)
    named = f'attachment; filename="{plain}"'
    return named if plain == filename else f"{named}; filename*=UTF-8''{quote(filename, safe='')}"


class Download(Streamed):
    """A response that mail streams; when the client disconnects, the stream from mail ends too."""

    def __init__(self, parts: Parts, *, share: AbstractAsyncContextManager[None]) -> None:
        super().__init__(share)
        self._parts = parts

    async def send_all(self, send: Send) -> None:
        """Send the response. Raises AppError and HTTPException before the first byte is sent."""
        async with aclosing(self._parts) as parts:
            header = (await anext(parts)).header
            status, headers = _head(header)
            encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
            await send({"type": "http.response.start", "status": int(status), "headers": encoded})
            try:
                async for part in parts:
                    async with asyncio.timeout(IDLE_SECONDS):
                        await send({"type": "http.response.body", "body": part.data, "more_body": True})
            except (AppError, TimeoutError) as error:
                # Fewer bytes than announced: the client notices when the connection ends here.
                log.warning("download broke off", error=str(error))
                return
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def _head(header: DownloadHeader) -> tuple[HTTPStatus, dict[str, str]]:
    etag = f'"{header.etag}"'
    if header.unchanged:
        return HTTPStatus.NOT_MODIFIED, {"etag": etag}
    if header.out_of_range:
        outside = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
        raise HTTPException(outside, headers={"Content-Range": f"bytes */{header.total_size}"})
    mime_type = header.mime_type.lower()
    headers = {
        "content-type": mime_type if mime_type in _HARMLESS_TYPES else "application/octet-stream",
        "content-length": str(header.length),
        "content-disposition": content_disposition(header.filename),
        "content-security-policy": "sandbox; default-src 'none'",
        "x-content-type-options": "nosniff",
        "accept-ranges": "bytes",
        "etag": etag,
    }
    if not header.ranged:
        return HTTPStatus.OK, headers
    last = header.offset + header.length - 1
    return HTTPStatus.PARTIAL_CONTENT, headers | {"content-range": f"bytes {header.offset}-{last}/{header.total_size}"}
