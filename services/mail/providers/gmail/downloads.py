"""The bytes of Gmail's messages and attachments. Source: users.messages.get (format=raw), users.messages.attachments.

An attachment's id changes between gets, so it is asked for again and used at once.
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx

from services.mail.content.mime.tree import Part
from services.mail.providers.base import (
    MessageGoneError,
    PartMissingError,
    ProviderUnavailableError,
    RejectedError,
    UnitCosts,
    UnreadableMessageError,
    Write,
)
from services.mail.providers.gmail.client import user_url
from services.mail.providers.gmail.errors import parse_error
from services.mail.providers.gmail.json_string_stream import JsonFieldReader
from services.mail.providers.gmail.payload import read_gmail

# Seconds for one call, whatever the pace at which its answer arrives.
_CALL_SECONDS = 120
# A message has at most 50 MB at Gmail, and base64 makes a third more of it.
_LARGEST_ANSWER = 128 * 1024 * 1024
_LARGEST_ERROR = 64 * 1024
# Decoded bytes are written in pieces of at least this size.
_PIECE = 512 * 1024
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
# Line breaks, say, and padding.
_NOT_BASE64 = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_"))


class GmailDownloads:
    """The `DownloadSource` for Gmail, and for stand-ins that follow its protocol."""

    def __init__(self, http: httpx.AsyncClient, *, api_url: str, costs: UnitCosts) -> None:
        self.raw_units = costs.get
        self.part_units = costs.get + costs.attachment
        self._http = http
        self._messages = f"{user_url(api_url)}/messages"

    async def copy_raw(self, access_token: str, external_id: str, write: Write) -> None:
        """messages.get with format=raw."""
        url = f"{self._messages}/{quote(external_id, safe='')}?format=raw"
        await self._copy_field(access_token, url, "raw", write)

    async def copy_part(self, access_token: str, external_id: str, part_id: str, write: Write) -> None:
        """messages.get for the attachment's present id, then attachments.get; small ones may come with the message."""
        url = f"{self._messages}/{quote(external_id, safe='')}"
        part = await self._find_part(access_token, f"{url}?format=full", part_id)
        if part.attachment_id is None:
            await write(part.content or b"")
            return
        try:
            await self.copy_attachment(access_token, external_id, part.attachment_id, write, empty=part.size == 0)
        except (MessageGoneError, RejectedError) as error:
            # The message was there a moment ago: it is the id that did not last.
            raise ProviderUnavailableError("attachment gone") from error

    async def copy_attachment(
        self, access_token: str, external_id: str, attachment_id: str, write: Write, *, empty: bool
    ) -> None:
        """attachments.get; it may have no bytes only where it may be `empty`. Raises what the provider answers."""
        url = f"{self._messages}/{quote(external_id, safe='')}/attachments/{quote(attachment_id, safe='')}"
        await self._copy_field(access_token, url, "data", write, empty=empty)

    async def _find_part(self, access_token: str, url: str, part_id: str) -> Part:
        body = bytearray()
        async with self._answer(access_token, url) as pieces:
            async for piece in pieces:
                body += piece
        root = await asyncio.to_thread(_read_tree, bytes(body))
        waiting = [root]
        while waiting:
            part = waiting.pop()
            if part.part_id == part_id and not part.is_multipart:
                return part
            waiting.extend(part.children)
        raise PartMissingError(part_id)

    async def _copy_field(self, access_token: str, url: str, name: str, write: Write, *, empty: bool = False) -> None:
        """Writes the decoded base64url of one field of the answer; it may be absent only where it may be `empty`."""
        reader, encoded = JsonFieldReader(name), bytearray()
        async with self._answer(access_token, url) as pieces:
            async for piece in pieces:
                encoded += reader.feed(piece).translate(_URL_SAFE, _NOT_BASE64)
                if len(encoded) >= _PIECE:
                    whole = len(encoded) // 4 * 4
                    await write(_decode(encoded[:whole]))
                    del encoded[:whole]
        if not reader.complete and not empty:
            raise ProviderUnavailableError(f"the answer lacks a whole `{name}`")
        await write(_decode(encoded))

    @asynccontextmanager
    async def _answer(self, access_token: str, url: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """The body of a successful answer in pieces. Raises ProviderError."""
        headers = {"Authorization": f"Bearer {access_token}"}
        try:
            async with asyncio.timeout(_CALL_SECONDS), self._http.stream("GET", url, headers=headers) as response:
                if response.status_code >= 400:
                    body = await _read_error(response)
                    raise parse_error(
                        response.status_code, body, now=_now, retry_after=response.headers.get("Retry-After")
                    )
                if response.status_code >= 300:
                    raise ProviderUnavailableError(f"redirected with {response.status_code}")
                yield _bounded(response)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise ProviderUnavailableError(type(error).__name__) from error


async def _bounded(response: httpx.Response) -> AsyncIterator[bytes]:
    received = 0
    async for piece in response.aiter_bytes():
        received += len(piece)
        if received > _LARGEST_ANSWER:
            raise UnreadableMessageError(f"more than {_LARGEST_ANSWER} bytes")
        yield piece


async def _read_error(response: httpx.Response) -> bytes:
    body = bytearray()
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > _LARGEST_ERROR:
            break
    return bytes(body)


def _decode(encoded: bytes | bytearray) -> bytes:
    """Base64 without padding, of which anything but the last piece has whole groups."""
    try:
        return base64.b64decode(encoded + b"=" * (-len(encoded) % 4))
    except ValueError as error:
        raise ProviderUnavailableError("the answer is not base64") from error


def _read_tree(body: bytes) -> Part:
    try:
        resource: Any = json.loads(body.decode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise ProviderUnavailableError("the answer is not JSON") from error
    if not isinstance(resource, Mapping):
        raise ProviderUnavailableError("the answer is not a JSON object")
    return read_gmail(resource, fetched={}).root


def _now() -> datetime:
    return datetime.now(UTC)
