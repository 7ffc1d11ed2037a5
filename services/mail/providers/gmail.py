"""Gmail over its REST API. Source: Gmail API v1 reference (users.messages, users.history, users.labels)."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from io import BytesIO
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import structlog

from services.mail.content.limits import LARGE_BYTES
from services.mail.content.model import MissingPart
from services.mail.content.parse import parse_gmail
from services.mail.model import Label, ListedId, ProviderMessage
from services.mail.providers import gmail_batch
from services.mail.providers.base import (
    ChangePage,
    CursorLostError,
    FetchResult,
    Get,
    IdPage,
    MessageGoneError,
    NotInThreadError,
    PageTokenExpiredError,
    PartialMessage,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
    RejectedError,
    TokenRefusedError,
    TooConcurrentError,
    UnitCosts,
    UnreadableMessageError,
)
from services.mail.providers.gmail_content import GmailContent
from services.mail.providers.gmail_errors import parse_error
from services.mail.providers.gmail_fields import SYSTEM_LABELS, next_page, number, objects, text
from services.mail.providers.gmail_history import parse_history
from services.mail.providers.gmail_message import message_of

# More than any answer to a sensible call; protects the worker's memory.
MAX_RESPONSE_BYTES = 192 * 1024 * 1024
# The largest page of ids or history records: 500 for the price of one.
PAGE_SIZE = 500
# Seconds for one call, whatever the pace at which its answer arrives.
_CALL_SECONDS = 120
# Answers of a server that does not know a route, against one that knows it but refuses.
_NO_SUCH_ROUTE = frozenset({404, 405, 501})

log = structlog.get_logger()


class GmailProvider:
    """The `Provider` for Gmail, and for stand-ins that follow its protocol.

    `batch_url` None means single gets, at most `parallel_gets` at a time. `push_topic` is the Cloud Pub/Sub topic of
    notifications, `projects/.../topics/...`; None: no notifications.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        *,
        api_url: str,
        batch_url: str | None,
        costs: UnitCosts,
        parallel_gets: int = 4,
        page_size: int = PAGE_SIZE,
        push_topic: str | None = None,
    ) -> None:
        self.costs = costs
        self.page_size = page_size
        self.can_push = push_topic is not None
        self._push_topic = push_topic
        self._http = http
        self._user_path = "/gmail/v1/users/me"
        self._api_url = api_url.rstrip("/").removesuffix("/gmail/v1")
        self._batch_url = batch_url
        self._parallel_gets = parallel_gets
        self._content = GmailContent(http, api_url=api_url, costs=costs)

    async def current_cursor(self, access_token: str) -> int | None:
        """users.getProfile; stand-ins may have none."""
        status, body = await self._request(access_token, "/profile", passing=_NO_SUCH_ROUTE)
        return None if status in _NO_SUCH_ROUTE else number(_json_object(body).get("historyId"))

    async def version(self, access_token: str, external_id: str) -> int | None:
        """messages.get with format=minimal."""
        path = f"/messages/{quote(external_id, safe='')}"
        _, body = await self._request(access_token, path, {"format": "minimal"})
        return number(_json_object(body).get("historyId"))

    async def list_ids(
        self, access_token: str, *, page_token: str | None, page_size: int, hidden: bool, label_id: str | None = None
    ) -> IdPage:
        """messages.list."""
        params = {"maxResults": str(page_size), "includeSpamTrash": "true" if hidden else "false"}
        if label_id is not None:
            params["labelIds"] = label_id
        if page_token is not None:
            params["pageToken"] = page_token
        try:
            _, body = await self._request(access_token, "/messages", params)
        except (RejectedError, MessageGoneError) as error:
            if page_token is None:
                raise
            raise PageTokenExpiredError(error.detail) from error
        answer = _json_object(body)
        listed = [
            ListedId(external_id=id_, thread_id=text(entry.get("threadId")))
            for entry in objects(answer.get("messages"))
            if (id_ := text(entry.get("id"))) is not None
        ]
        return IdPage(listed=listed, next_page_token=next_page(answer))

    async def list_changes(self, access_token: str, *, cursor: int, page_token: str | None) -> ChangePage:
        """history.list, all types. A cursor that is refused counts as lost, whatever the status."""
        params = {"startHistoryId": str(cursor), "maxResults": str(self.page_size)}
        if page_token is not None:
            params["pageToken"] = page_token
        try:
            _, body = await self._request(access_token, "/history", params)
        except RejectedError as error:
            raise (CursorLostError if page_token is None else PageTokenExpiredError)(error.detail) from error
        except MessageGoneError as error:
            raise CursorLostError(error.detail) from error
        return parse_history(_json_object(body), cursor=cursor)

    async def list_labels(self, access_token: str) -> list[Label]:
        """labels.list; of stand-ins that have none, the system labels are known all the same."""
        status, body = await self._request(access_token, "/labels", passing=_NO_SUCH_ROUTE)
        if status in _NO_SUCH_ROUTE:
            return [Label(label_id=id_, name=id_, type="system") for id_ in SYSTEM_LABELS]
        labels = {
            id_: Label(
                label_id=id_,
                name=text(entry.get("name")) or id_,
                type="user" if entry.get("type") == "user" else "system",
            )
            for entry in objects(_json_object(body).get("labels"))
            if (id_ := text(entry.get("id"))) is not None
        }
        return list(labels.values())

    async def fetch(self, access_token: str, gets: Sequence[Get]) -> Mapping[str, FetchResult]:
        """messages.get and threads.get with format=full, in one batch request where a batch endpoint is configured."""
        if self._batch_url is not None:
            try:
                return await self._fetch_batch(access_token, gets, self._batch_url)
            except (RejectedError, gmail_batch.MalformedBatchError) as error:
                # Too large an answer, or no batch endpoint behind that address.
                log.info("batch refused, fetching one by one", gets=len(gets), reason=str(error))
        return await self._fetch_singly(access_token, gets)

    async def complete(self, access_token: str, partial: PartialMessage) -> ProviderMessage:
        """attachments.get for each body part that the message only refers to."""
        resource, content = partial.source
        parts: dict[str, bytes] = {}
        for missing in content.missing_parts:
            parts[missing.part_id] = await self._get_attachment(access_token, partial.external_id, missing)
        # Large, or the text would not have been left out.
        parsed = await asyncio.to_thread(parse_gmail, resource, fetched=parts)
        return message_of(partial.external_id, resource, parsed)

    async def watch(self, access_token: str) -> datetime:
        """users.watch for the whole mailbox."""
        answer = _json_object(await self._post(access_token, "/watch", {"topicName": self._push_topic}))
        expires = number(answer.get("expiration"))
        if expires is None:
            raise ProviderUnavailableError("a watch without end")
        return datetime.fromtimestamp(expires / 1000, UTC)

    async def stop(self, access_token: str) -> None:
        """users.stop."""
        await self._post(access_token, "/stop", {})

    async def _post(self, access_token: str, path: str, fields: Mapping[str, object]) -> str:
        response, body = await self._send(
            "POST",
            f"{self._api_url}{self._user_path}{path}",
            access_token,
            content=json.dumps(fields).encode(),
            headers={"Content-Type": "application/json"},
        )
        self._raise_for_status(response, body)
        return str(body, "utf-8", "replace")

    async def _get_attachment(self, access_token: str, external_id: str, missing: MissingPart) -> bytes:
        content = BytesIO()

        async def write(piece: bytes) -> None:
            content.write(piece)

        try:
            await self._content.copy_attachment(
                access_token, external_id, missing.attachment_id, write, empty=missing.size == 0
            )
        except MessageGoneError as error:
            # Attachment ids do not last, so this says nothing about the message.
            raise ProviderUnavailableError("attachment gone") from error
        return content.getvalue()

    async def _fetch_batch(self, access_token: str, gets: Sequence[Get], batch_url: str) -> Mapping[str, FetchResult]:
        headers = {"Content-Type": gmail_batch.CONTENT_TYPE}
        content = gmail_batch.encode([f"{self._user_path}{_path(get)}?format=full" for get in gets])
        response, body = await self._send("POST", batch_url, access_token, content=content, headers=headers)
        if response.status_code in _NO_SUCH_ROUTE:
            log.warning("no batch endpoint, fetching one by one from now on", status_code=response.status_code)
            self._batch_url = None
            return await self._fetch_singly(access_token, gets)
        self._raise_for_status(response, body)
        content_type = response.headers.get("Content-Type", "")
        if len(body) > LARGE_BYTES:
            results = await asyncio.to_thread(self._read_batch, content_type, body, gets)
        else:
            results = self._read_batch(content_type, body, gets)
        if all(isinstance(result, TokenRefusedError) for result in results.values()):
            raise TokenRefusedError("every part of the batch")
        return results

    def _read_batch(self, content_type: str, body: bytearray, gets: Sequence[Get]) -> dict[str, FetchResult]:
        parts = gmail_batch.decode(content_type, body)
        if not parts:
            raise gmail_batch.MalformedBatchError("an answer without parts")
        # What can be large is let go of as soon as it was read: the parts are copies.
        body.clear()
        results: dict[str, FetchResult] = {}
        for place, get in enumerate(gets):
            results |= self._read_part(get, parts.pop(place, None))
        return results

    def _read_part(self, get: Get, part: gmail_batch.Part | None) -> Mapping[str, FetchResult]:
        if part is None:
            return _failed(get, ProviderUnavailableError("the batch answer lacks this call"))
        if not 200 <= part.status < 300:
            error = parse_error(part.status, part.body, now=_now, retry_after=part.retry_after)
            return _failed(get, error)
        try:
            answer = _json_object(part.body)
        except ProviderError as error:
            return _failed(get, error)
        # It may be large, and nobody else has it.
        del part
        return self._read_answer(get, answer)

    async def _fetch_singly(self, access_token: str, gets: Sequence[Get]) -> Mapping[str, FetchResult]:
        slots = asyncio.Semaphore(self._parallel_gets)
        limits: list[ProviderError] = []

        async def fetch(get: Get) -> Mapping[str, FetchResult]:
            async with slots:
                if limits:
                    # To go on asking would only lengthen the pause.
                    return _failed(get, limits[0])
                try:
                    _, body = await self._request(access_token, _path(get), {"format": "full"})
                except ProviderError as error:
                    if isinstance(error, RateLimitedError | TooConcurrentError):
                        limits.append(error)
                    return _failed(get, error)
            part = gmail_batch.Part(status=200, body=body, retry_after=None)
            if len(body) > LARGE_BYTES:
                return await asyncio.to_thread(self._read_part, get, part)
            return self._read_part(get, part)

        results: dict[str, FetchResult] = {}
        for result in await asyncio.gather(*map(fetch, gets)):
            results |= result
        return results

    def _read_answer(self, get: Get, answer: Mapping[str, Any]) -> Mapping[str, FetchResult]:
        """The wanted messages of an answer; a thread brings others as well, which are left out."""
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
            return UnreadableMessageError("the answer is about another message")
        try:
            content = parse_gmail(resource)
            if content.missing_parts:
                units = self.costs.attachment * len(content.missing_parts)
                return PartialMessage(external_id=external_id, units=units, source=(resource, content))
            return message_of(external_id, resource, content)
        except Exception as error:
            # One message that breaks the parser must not stop the others.
            log.exception("a message cannot be read", external_id=external_id)
            return UnreadableMessageError(type(error).__name__)

    async def _request(
        self,
        access_token: str,
        path: str,
        params: Mapping[str, str] | None = None,
        *,
        passing: frozenset[int] = frozenset(),
    ) -> tuple[int, str]:
        query = f"?{urlencode(params)}" if params else ""
        response, body = await self._send("GET", f"{self._api_url}{self._user_path}{path}{query}", access_token)
        if response.status_code not in passing:
            self._raise_for_status(response, body)
        return response.status_code, str(body, "utf-8", "replace")

    async def _send(
        self,
        method: str,
        url: str,
        access_token: str,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[httpx.Response, bytearray]:
        sent = {"Authorization": f"Bearer {access_token}", **(headers or {})}
        try:
            async with (
                asyncio.timeout(_CALL_SECONDS),
                self._http.stream(method, url, content=content, headers=sent) as response,
            ):
                body = bytearray()
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > MAX_RESPONSE_BYTES:
                        raise RejectedError(f"more than {MAX_RESPONSE_BYTES} bytes")
                return response, body
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise ProviderUnavailableError(type(error).__name__) from error

    def _raise_for_status(self, response: httpx.Response, body: bytearray) -> None:
        if response.status_code >= 400:
            raise parse_error(response.status_code, body, now=_now, retry_after=response.headers.get("Retry-After"))
        if response.status_code >= 300:
            raise ProviderUnavailableError(f"redirected with {response.status_code}")


def _now() -> datetime:
    return datetime.now(UTC)


def _json_object(body: str) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ProviderUnavailableError("the answer is not JSON") from error
    if not isinstance(answer, dict):
        raise ProviderUnavailableError("the answer is not a JSON object")
    return answer


def _path(get: Get) -> str:
    if get.thread_id is not None:
        return f"/threads/{quote(get.thread_id, safe='')}"
    return f"/messages/{quote(get.external_ids[0], safe='')}"


def _failed(get: Get, error: ProviderError) -> Mapping[str, FetchResult]:
    """The error for each wanted message; a thread that is gone says nothing about its messages."""
    if get.thread_id is not None and isinstance(error, MessageGoneError | RejectedError):
        error = NotInThreadError(get.thread_id)
    return dict.fromkeys(get.external_ids, error)
