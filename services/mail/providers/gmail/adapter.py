"""Gmail over its REST API. Source: Gmail API v1 reference (users.messages, users.history, users.labels)."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from io import BytesIO
from urllib.parse import quote

import httpx

from services.mail.content.model import MissingPart
from services.mail.model import Label, ListedId, ProviderMessage
from services.mail.providers.base import (
    CursorLostError,
    FetchResult,
    Get,
    HistoryPage,
    IdPage,
    MessageGoneError,
    PageTokenExpiredError,
    PartialMessage,
    ProviderUnavailableError,
    RejectedError,
    UnitCosts,
)
from services.mail.providers.gmail.client import NO_SUCH_ROUTE, GmailCalls, json_object
from services.mail.providers.gmail.downloads import GmailDownloads
from services.mail.providers.gmail.fetch import GmailFetch
from services.mail.providers.gmail.fields import SYSTEM_LABELS, next_page, number, objects, text
from services.mail.providers.gmail.history import parse_history
from services.mail.providers.gmail.message import message_of
from services.mail.providers.gmail.payload import parse_gmail

# The largest page of ids or history records: 500 for the price of one.
PAGE_SIZE = 500


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
        self._calls = GmailCalls(http, api_url=api_url)
        self._fetch = GmailFetch(self._calls, batch_url=batch_url, costs=costs, parallel_gets=parallel_gets)
        self._content = GmailDownloads(http, api_url=api_url, costs=costs)

    async def current_cursor(self, access_token: str) -> int | None:
        """users.getProfile; stand-ins may have none."""
        status, body = await self._calls.get(access_token, "/profile", passing=NO_SUCH_ROUTE)
        return None if status in NO_SUCH_ROUTE else number(json_object(body).get("historyId"))

    async def version(self, access_token: str, external_id: str) -> int | None:
        """messages.get with format=minimal."""
        path = f"/messages/{quote(external_id, safe='')}"
        _, body = await self._calls.get(access_token, path, {"format": "minimal"})
        return number(json_object(body).get("historyId"))

    async def list_ids(
        self,
        access_token: str,
        *,
        page_token: str | None,
        page_size: int,
        include_spam_trash: bool,
        label_id: str | None = None,
    ) -> IdPage:
        """messages.list."""
        params = {"maxResults": str(page_size), "includeSpamTrash": "true" if include_spam_trash else "false"}
        if label_id is not None:
            params["labelIds"] = label_id
        if page_token is not None:
            params["pageToken"] = page_token
        try:
            _, body = await self._calls.get(access_token, "/messages", params)
        except (RejectedError, MessageGoneError) as error:
            if page_token is None:
                raise
            raise PageTokenExpiredError(error.detail) from error
        answer = json_object(body)
        listed = [
            ListedId(external_id=id_, thread_id=text(entry.get("threadId")))
            for entry in objects(answer.get("messages"))
            if (id_ := text(entry.get("id"))) is not None
        ]
        return IdPage(listed=listed, next_page_token=next_page(answer))

    async def list_changes(self, access_token: str, *, cursor: int, page_token: str | None) -> HistoryPage:
        """history.list, all types. A cursor that is refused counts as lost, whatever the status."""
        params = {"startHistoryId": str(cursor), "maxResults": str(self.page_size)}
        if page_token is not None:
            params["pageToken"] = page_token
        try:
            _, body = await self._calls.get(access_token, "/history", params)
        except RejectedError as error:
            raise (CursorLostError if page_token is None else PageTokenExpiredError)(error.detail) from error
        except MessageGoneError as error:
            raise CursorLostError(error.detail) from error
        return parse_history(json_object(body), cursor=cursor)

    async def list_labels(self, access_token: str) -> list[Label]:
        """labels.list; of stand-ins that have none, the system labels are known all the same."""
        status, body = await self._calls.get(access_token, "/labels", passing=NO_SUCH_ROUTE)
        if status in NO_SUCH_ROUTE:
            return [Label(label_id=id_, name=id_, type="system") for id_ in SYSTEM_LABELS]
        labels = {
            id_: Label(
                label_id=id_,
                name=text(entry.get("name")) or id_,
                type="user" if entry.get("type") == "user" else "system",
            )
            for entry in objects(json_object(body).get("labels"))
            if (id_ := text(entry.get("id"))) is not None
        }
        return list(labels.values())

    async def fetch(self, access_token: str, gets: Sequence[Get]) -> Mapping[str, FetchResult]:
        """messages.get and threads.get."""
        return await self._fetch.fetch(access_token, gets)

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
        answer = json_object(await self._calls.post(access_token, "/watch", {"topicName": self._push_topic}))
        expires = number(answer.get("expiration"))
        if expires is None:
            raise ProviderUnavailableError("a watch without end")
        return datetime.fromtimestamp(expires / 1000, UTC)

    async def stop(self, access_token: str) -> None:
        """users.stop."""
        await self._calls.post(access_token, "/stop", {})

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
