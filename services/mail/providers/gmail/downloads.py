"""The bytes of Gmail's messages and attachments. Source: users.messages.get (format=raw), users.messages.attachments.

Attachment ids change between gets, so they are requested again and used at once.
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

from services.mail.content.mime.tree import Part
from services.mail.model import Mailbox
from services.mail.providers.base import Tokens, Write
from services.mail.providers.errors import (
    MessageGoneError,
    PartMissingError,
    ProviderUnavailableError,
    RejectedError,
    UnreadableMessageError,
)
from services.mail.providers.gmail.http.calls import json_object, raise_for_status, user_url
from services.mail.providers.gmail.http.errors import NotFoundError
from services.mail.providers.gmail.http.exchange import Exchange
from services.mail.providers.gmail.json_string_stream import JsonFieldReader
from services.mail.providers.gmail.limits import GmailCosts
from services.mail.providers.gmail.payload import read_gmail

# Gmail's messages have at most 50 MB, which base64 makes a third larger.
_LARGEST_ANSWER = 128 * 1024 * 1024
# A text that is searched for embedded files is held in memory.
_LARGEST_TEXT = 32 * 1024 * 1024
_LARGEST_ERROR = 64 * 1024
# Decoded bytes are written in chunks of at least this size.
_PIECE = 512 * 1024
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_NOTHING_FETCHED: Mapping[str, bytes] = {}
# Includes line breaks and padding.
_NOT_BASE64 = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_"))


class GmailDownloadSession:
    """The `DownloadSession` for Gmail."""

    def __init__(self, downloads: "GmailDownloads", tokens: Tokens) -> None:
        self._downloads = downloads
        self._tokens = tokens

    async def copy_raw(self, external_id: str, write: Write) -> None:
        """See GmailDownloads."""
        await self._tokens.use(lambda token: self._downloads.copy_raw(token, external_id, write))

    async def copy_part(self, external_id: str, part_id: str, write: Write) -> None:
        """See GmailDownloads."""
        await self._tokens.use(lambda token: self._downloads.copy_part(token, external_id, part_id, write))


class GmailDownloads:
    """The `DownloadSource` for Gmail, and for stand-ins that follow its protocol."""

    def __init__(self, exchange: Exchange, *, api_url: str, costs: GmailCosts) -> None:
        self.raw_units = costs.fetch
        self.part_units = costs.fetch + costs.attachment
        self._exchange = exchange
        self._messages = f"{user_url(api_url)}/messages"

    @asynccontextmanager
    async def open(self, mailbox: Mailbox, tokens: Tokens) -> AsyncIterator[GmailDownloadSession]:
        """Yield a session; the token names the mailbox."""
        del mailbox
        yield GmailDownloadSession(self, tokens)

    async def copy_raw(self, access_token: str, external_id: str, write: Write) -> None:
        """Call messages.get with format=raw."""
        url = f"{self._messages}/{quote(external_id, safe='')}?format=raw"
        try:
            await self._copy_field(access_token, url, "raw", write)
        except NotFoundError as error:
            raise MessageGoneError(error.detail) from error

    async def copy_part(self, access_token: str, external_id: str, part_id: str, write: Write) -> None:
        """Call messages.get for the attachment's current id or its embedded bytes, then attachments.get."""
        resource = await self._get_message(access_token, external_id)
        part = await asyncio.to_thread(_find_part, resource, part_id)
        if part is None:
            part = await self._find_in_text(access_token, external_id, resource, part_id)
        if part.handle is None:
            await write(part.content or b"")
            return
        await self.copy_attachment(access_token, external_id, part.handle, write, empty=part.size == 0)

    async def copy_attachment(
        self, access_token: str, external_id: str, attachment_id: str, write: Write, *, empty: bool
    ) -> None:
        """Call attachments.get. The answer may lack bytes only if `empty` is set.

        An unknown attachment id says nothing about the message, since these ids change.
        """
        url = f"{self._messages}/{quote(external_id, safe='')}/attachments/{quote(attachment_id, safe='')}"
        try:
            await self._copy_field(access_token, url, "data", write, empty=empty)
        except (NotFoundError, RejectedError) as error:
            raise ProviderUnavailableError("attachment gone") from error

    async def _get_message(self, access_token: str, external_id: str) -> Mapping[str, Any]:
        body = bytearray()
        url = f"{self._messages}/{quote(external_id, safe='')}?format=full"
        try:
            async with self._answer(access_token, url) as pieces:
                async for piece in pieces:
                    body += piece
        except NotFoundError as error:
            raise MessageGoneError(error.detail) from error
        return await asyncio.to_thread(_read_resource, body)

    async def _find_in_text(
        self, access_token: str, external_id: str, resource: Mapping[str, Any], part_id: str
    ) -> Part:
        """Return a file embedded in a text delivered by reference: fetch the text and split it as the parser does."""
        holder_id, _, _ = part_id.rpartition(".")
        holder = await asyncio.to_thread(_find_part, resource, holder_id) if part_id else None
        if holder is None or holder.handle is None or holder.size > _LARGEST_TEXT:
            raise PartMissingError(part_id)
        text = bytearray()

        async def collect(data: bytes) -> None:
            text.extend(data)

        await self.copy_attachment(access_token, external_id, holder.handle, collect, empty=False)
        part = await asyncio.to_thread(_find_part, resource, part_id, fetched={holder_id: bytes(text)})
        if part is None:
            raise PartMissingError(part_id)
        return part

    async def _copy_field(self, access_token: str, url: str, name: str, write: Write, *, empty: bool = False) -> None:
        """Write the decoded base64url of a field of the answer. The field may be absent only if `empty` is set."""
        reader, encoded = JsonFieldReader(name), bytearray()
        async with self._answer(access_token, url) as pieces:
            async for piece in pieces:
                encoded += reader.feed(piece).translate(_URL_SAFE, _NOT_BASE64)
                if len(encoded) >= _PIECE:
                    whole = len(encoded) // 4 * 4
                    await write(_decode(encoded[:whole]))
                    del encoded[:whole]
        if not reader.complete and not (empty and reader.ended):
            raise ProviderUnavailableError(f"the answer lacks a whole `{name}`")
        await write(_decode(encoded))

    @asynccontextmanager
    async def _answer(self, access_token: str, url: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Yield the chunks of a successful answer's body. Raises ProviderError."""
        opened = self._exchange.open("GET", url, access_token, within=self._exchange.deadlines.get)
        async with opened as (response, pieces):
            if not response.is_success:
                raise_for_status(response, await _read_error(pieces))
            yield _bounded(pieces)


async def _bounded(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    received = 0
    async for piece in pieces:
        received += len(piece)
        if received > _LARGEST_ANSWER:
            raise UnreadableMessageError(f"more than {_LARGEST_ANSWER} bytes")
        yield piece


async def _read_error(pieces: AsyncIterator[bytes]) -> bytes:
    body = bytearray()
    async for piece in pieces:
        body += piece
        if len(body) > _LARGEST_ERROR:
            break
    return bytes(body)


def _decode(encoded: bytes | bytearray) -> bytes:
    """Decode base64 without padding."""
    try:
        return base64.b64decode(encoded + b"=" * (-len(encoded) % 4))
    except ValueError as error:
        raise ProviderUnavailableError("the answer is not base64") from error


def _read_resource(body: bytearray) -> Mapping[str, Any]:
    resource = json_object(str(body, "utf-8", "replace"))
    if not isinstance(resource.get("payload"), Mapping):
        raise ProviderUnavailableError("the answer is no message")
    return resource


def _find_part(
    resource: Mapping[str, Any], part_id: str, *, fetched: Mapping[str, bytes] = _NOTHING_FETCHED
) -> Part | None:
    waiting = [read_gmail(resource, fetched=fetched).root]
    while waiting:
        part = waiting.pop()
        if part.part_id == part_id and not part.is_multipart:
            return part
        waiting.extend(part.children)
    return None
