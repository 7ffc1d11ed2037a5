"""Fetching whole Gmail messages and threads, in batches if there is a batch endpoint, else with single gets."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import structlog

from services.mail.content.limits import LARGE_BYTES
from services.mail.providers.base import FetchResult, Get, PartialMessage
from services.mail.providers.errors import (
    LimitError,
    MessageGoneError,
    NoAnswerError,
    NotInThreadError,
    ProviderError,
    ProviderUnavailableError,
    RejectedError,
    RouteMissingError,
    TokenRefusedError,
    UnreadableMessageError,
)
from services.mail.providers.gmail import batch
from services.mail.providers.gmail.batch_endpoint import BatchEndpoint
from services.mail.providers.gmail.fields import objects, text
from services.mail.providers.gmail.http.calls import USER_PATH, GmailCalls, json_object, raise_for_status
from services.mail.providers.gmail.http.errors import NotFoundError, now, parse_error
from services.mail.providers.gmail.limits import GmailCosts
from services.mail.providers.gmail.message import is_message, message_of
from services.mail.providers.gmail.missing_parts import parts_to_fetch
from services.mail.providers.gmail.payload import parse_gmail

# The server has no batch endpoint, or refuses this batch.
_NO_BATCHES = frozenset({400, 404, 405, 501})

log = structlog.get_logger()


class _OtherMessageError(UnreadableMessageError):
    """The answer is about another message."""


class _NoBatchesError(Exception):
    """The server has no batch endpoint, so that it has made none of the calls."""


class GmailFetch:
    """Fetches messages, and threads for their messages, with at most `parallel_gets` single gets at a time."""

    def __init__(
        self, calls: GmailCalls, *, batch_endpoint: BatchEndpoint, costs: GmailCosts, parallel_gets: int
    ) -> None:
        self._calls = calls
        self._batch_endpoint = batch_endpoint
        self._costs = costs
        self._parallel_gets = parallel_gets

    async def fetch(self, access_token: str, gets: Sequence[Get], *, singly: bool = False) -> Mapping[str, FetchResult]:
        """Call messages.get and threads.get with format=full, in one batch request if there is a batch endpoint."""
        url = self._batch_endpoint.url
        if url is not None and not singly:
            try:
                return await self._fetch_batch(access_token, gets, url)
            except _NoBatchesError as error:
                self._batch_endpoint.refused(str(error))
            except batch.MalformedBatchError as error:
                self._batch_endpoint.refused(str(error))
                # The server may have made the calls, and their units pay for each once: single gets are taken anew.
                raise ProviderUnavailableError(f"a malformed batch answer: {error}") from error
            except RejectedError as error:
                log.info("batch too large, fetching one by one", gets=len(gets), reason=error.detail)
        return await self._fetch_singly(access_token, gets)

    async def _fetch_batch(self, access_token: str, gets: Sequence[Get], url: str) -> Mapping[str, FetchResult]:
        response, body = await self._calls.send(
            "POST",
            url,
            access_token,
            within=self._calls.deadlines.batch,
            content=batch.encode([f"{USER_PATH}{_path(get)}?format=full" for get in gets]),
            headers={"Content-Type": batch.CONTENT_TYPE},
        )
        if response.status_code in _NO_BATCHES:
            raise _NoBatchesError(f"answered with {response.status_code}")
        raise_for_status(response, body)
        content_type = response.headers.get("Content-Type", "")
        if len(body) > LARGE_BYTES:
            results = await asyncio.to_thread(self._read_batch, content_type, body, gets)
        else:
            results = self._read_batch(content_type, body, gets)
        self._batch_endpoint.answered()
        if all(isinstance(result, TokenRefusedError) for result in results.values()):
            raise TokenRefusedError("every part of the batch")
        return results

    def _read_batch(self, content_type: str, body: bytearray, gets: Sequence[Get]) -> dict[str, FetchResult]:
        parts = batch.decode(content_type, body)
        if not parts:
            raise batch.MalformedBatchError("an answer without parts")
        # The parts are copies: release the body's memory early.
        body.clear()
        results: dict[str, FetchResult] = {}
        for place, get in enumerate(gets):
            results |= self._read_part(get, parts.pop(place, None))
        if any(isinstance(result, _OtherMessageError) for result in results.values()):
            # The parts are in another order, or some are missing, and no Content-ID tells which is which.
            raise batch.MalformedBatchError("answers to other calls")
        return results

    def _read_part(self, get: Get, part: batch.Part | None) -> Mapping[str, FetchResult]:
        if part is None:
            return _failed(get, ProviderUnavailableError("the batch answer lacks this call"))
        if not 200 <= part.status < 300:
            error = parse_error(part.status, part.body, now=now, retry_after=part.retry_after)
            return _failed(get, error)
        try:
            answer = json_object(part.body)
        except ProviderError as error:
            return _failed(get, error)
        # Release its memory before parsing.
        del part
        return self._read_answer(get, answer)

    async def _fetch_singly(self, access_token: str, gets: Sequence[Get]) -> Mapping[str, FetchResult]:
        slots = asyncio.Semaphore(self._parallel_gets)
        is_stopped = False

        async def fetch(get: Get) -> Mapping[str, FetchResult]:
            nonlocal is_stopped
            async with slots:
                if is_stopped:
                    # Another call would extend the pause of a limit, or wait for a server that does not answer.
                    return {}
                try:
                    body = await self._calls.get_text(
                        access_token, _path(get), {"format": "full"}, within=self._calls.deadlines.get
                    )
                except ProviderError as error:
                    is_stopped |= isinstance(error, LimitError | NoAnswerError)
                    return _failed(get, error)
            part = batch.Part(status=200, body=body, retry_after=None)
            if len(body) > LARGE_BYTES:
                return await asyncio.to_thread(self._read_part, get, part)
            return self._read_part(get, part)

        results: dict[str, FetchResult] = {}
        for result in await asyncio.gather(*map(fetch, gets)):
            results |= result
        return results

    def _read_answer(self, get: Get, answer: Mapping[str, Any]) -> Mapping[str, FetchResult]:
        """Return the wanted messages of an answer, without the others of a thread."""
        if get.thread_id is None:
            [external_id] = get.external_ids
            return {external_id: self._read_message(external_id, answer)}
        found = {text(resource.get("id")): resource for resource in objects(answer.get("messages"))}
        return {
            id_: self._read_message(id_, found[id_]) if id_ in found else NotInThreadError(get.thread_id)
            for id_ in get.external_ids
        }

    def _read_message(self, external_id: str, resource: Mapping[str, Any]) -> FetchResult:
        if text(resource.get("id")) not in (external_id, None):
            return _OtherMessageError("the answer is about another message")
        if not is_message(resource):
            return ProviderUnavailableError("the answer is no message")
        try:
            content = parse_gmail(resource)
            if content.missing_parts:
                parts = parts_to_fetch(content.missing_parts)
                units = self._costs.attachment * len(parts)
                return PartialMessage(external_id=external_id, units=units, source=(resource, parts))
            return message_of(external_id, resource, content)
        except Exception as error:
            # A message that breaks the parser must not stop the others.
            log.exception("a message cannot be read", external_id=external_id)
            return UnreadableMessageError(type(error).__name__)


def _path(get: Get) -> str:
    if get.thread_id is not None:
        return f"/threads/{quote(get.thread_id, safe='')}"
    return f"/messages/{quote(get.external_ids[0], safe='')}"


def _failed(get: Get, error: ProviderError) -> Mapping[str, FetchResult]:
    """Return the error for each wanted message. A failed thread says nothing about its messages."""
    if get.thread_id is not None and isinstance(error, NotFoundError | RouteMissingError | RejectedError):
        error = NotInThreadError(get.thread_id)
    elif isinstance(error, NotFoundError):
        error = MessageGoneError(error.detail)
    return dict.fromkeys(get.external_ids, error)
