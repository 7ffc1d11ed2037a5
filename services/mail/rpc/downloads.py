"""Downloads as gRPC streams: a header, then the bytes in chunks."""

import asyncio
import os
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from mailroom.mail.v1 import mail_pb2

from services.mail.downloads.fetch import Download, Downloads

# Large chunks are faster; larger ones exceed gRPC's flow-control windows.
_PIECE = 256 * 1024
_ROOT = "root"


@dataclass(frozen=True, slots=True)
class _Span:
    """The bytes to send. `ranged` means that they are the requested range."""

    offset: int
    length: int
    ranged: bool


def attachment_id_of(part_id: str) -> str:
    """Return the public id of a part. The root part, whose own id is empty, is called `root`."""
    return part_id or _ROOT


def part_id_of(attachment_id: str) -> str:
    """Return the part id of a public attachment id; the inverse of `attachment_id_of`."""
    return "" if attachment_id == _ROOT else attachment_id


def fields_of(part: mail_pb2.DownloadHeader | bytes) -> dict[str, Any]:
    """Return the field of the download response that carries this part."""
    return {"data": part} if isinstance(part, bytes) else {"header": part}


async def stream_parts(
    downloads: Downloads, download: Download, condition: mail_pb2.DownloadCondition
) -> AsyncGenerator[mail_pb2.DownloadHeader | bytes]:
    """Yield the header of a download, then the bytes that the condition asks for."""
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
    """Return the requested bytes; None if the range lies outside the content (RFC 9110 section 14.1.2)."""
    has_first, has_last = condition.HasField("first"), condition.HasField("last")
    if not (has_first or has_last) or condition.range_etag not in ("", etag):
        return _Span(0, size, ranged=False)
    if has_first:
        start = condition.first
        end = min(condition.last + 1, size) if has_last else size
    else:
        start, end = max(0, size - condition.last), size
    return _Span(start, end - start, ranged=True) if 0 <= start < end else None
