"""Downloads as gRPC streams: a header, then the bytes in pieces."""

import asyncio
import os
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from mailroom.mail.v1 import mail_pb2

from services.mail.downloads.fetch import Download, Downloads

# Large enough to be quick, small enough for gRPC's windows.
_PIECE = 256 * 1024
_ROOT = "root"


@dataclass(frozen=True, slots=True)
class _Span:
    """The bytes that are sent; `ranged` says that a range was asked for and heeded."""

    offset: int
    length: int
    ranged: bool


def attachment_id_of(part_id: str) -> str:
    """A part's public id: that of the root, a message that is nothing but an attachment, would be empty."""
    return part_id or _ROOT


def part_id_of(attachment_id: str) -> str:
    """The inverse of `attachment_id_of`."""
    return "" if attachment_id == _ROOT else attachment_id


def fields_of(part: mail_pb2.DownloadHeader | bytes) -> dict[str, Any]:
    """A part of a download as the field of the response that carries it."""
    return {"data": part} if isinstance(part, bytes) else {"header": part}


async def stream_parts(
    downloads: Downloads, download: Download, condition: mail_pb2.DownloadCondition
) -> AsyncGenerator[mail_pb2.DownloadHeader | bytes]:
    """The header of a download and what of its bytes the condition wants."""
    header = mail_pb2.DownloadHeader(etag=download.etag, filename=download.filename, mime_type=download.mime_type)
    if download.etag in condition.known_etags or "*" in condition.known_etags:
        header.unchanged = True
        yield header
        return
    descriptor = await downloads.open(download)
    try:
        header.total_size = os.fstat(descriptor).st_size
        span = _span(condition, etag=download.etag, size=header.total_size)
        if span is None:
            header.out_of_range = True
            yield header
            return
        header.offset, header.length, header.ranged = span.offset, span.length, span.ranged
        yield header
        at, end = span.offset, span.offset + span.length
        while at < end:
            piece = await asyncio.to_thread(os.pread, descriptor, min(_PIECE, end - at), at)
            at += len(piece)
            yield piece
    finally:
        os.close(descriptor)


def _span(condition: mail_pb2.DownloadCondition, *, etag: str, size: int) -> _Span | None:
    """None: the range lies outside of the content (RFC 9110 section 14.1.2)."""
    has_first, has_last = condition.HasField("first"), condition.HasField("last")
    if not (has_first or has_last) or condition.range_etag not in ("", etag):
        return _Span(0, size, ranged=False)
    if has_first:
        start = condition.first
        end = min(condition.last + 1, size) if has_last else size
    else:
        start, end = max(0, size - condition.last), size
    return _Span(start, end - start, ranged=True) if 0 <= start < end else None
