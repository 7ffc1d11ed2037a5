"""Gmail's REST API: calls with an access token. Source: API v1 reference (users.messages, .history, .labels)."""

import asyncio
import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from io import BytesIO
from urllib.parse import quote

import httpx

from services.mail.content.model import MissingPart
from services.mail.model import Label, ListedId, ProviderMessage
from services.mail.providers.base import FetchResult, Get, HistoryPage, IdPage, PartialMessage, Profile
from services.mail.providers.errors import (
    CursorLostError,
    LabelGoneError,
    MessageGoneError,
    PageTokenExpiredError,
    ProviderError,
    ProviderUnavailableError,
    RouteMissingError,
)
from services.mail.providers.gmail.batch_endpoint import BatchEndpoint
from services.mail.providers.gmail.downloads import GmailDownloads
from services.mail.providers.gmail.fetch import GmailFetch
from services.mail.providers.gmail.fields import entries, entry_id, next_page, number, text
from services.mail.providers.gmail.history import parse_history
from services.mail.providers.gmail.http.calls import GmailCalls
from services.mail.providers.gmail.http.deadlines import DEADLINES, Deadlines
from services.mail.providers.gmail.http.errors import InvalidArgumentError, NotFoundError
from services.mail.providers.gmail.http.exchange import Exchange
from services.mail.providers.gmail.labels import role_of
from services.mail.providers.gmail.limits import WATCH_TIMES, GmailCosts
from services.mail.providers.gmail.message import is_message, message_of
from services.mail.providers.gmail.missing_parts import without_the_rest
from services.mail.providers.gmail.payload import parse_gmail

# The largest page that Gmail allows; a page costs the same whatever its size.
PAGE_SIZE = 500
_OF_A_PROFILE = frozenset({"historyId", "messagesTotal", "emailAddress", "threadsTotal"})
# "Invalid startHistoryId" or "Invalid value at 'start_history_id'": Google's wording and that of stand-ins.
_HISTORY_ID = re.compile(r"history.?id", re.IGNORECASE)


class GmailApi:
    """Calls of Gmail's methods, for the mailbox of each call's token. They raise ProviderError.

    Without a `batch_url` messages are fetched with single gets, at most `parallel_gets` at a time. `push_topic` is the
    Cloud Pub/Sub topic of notifications, `projects/.../topics/...`; None turns them off.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        *,
        api_url: str,
        batch_url: str | None,
        costs: GmailCosts,
        parallel_gets: int = 4,
        page_size: int = PAGE_SIZE,
        push_topic: str | None = None,
        deadlines: Deadlines = DEADLINES,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.costs = costs
        self.page_size = page_size
        self.watch_times = None if push_topic is None else WATCH_TIMES
        self._push_topic = push_topic
        self._deadlines = deadlines
        exchange = Exchange(http, deadlines=deadlines, monotonic=monotonic)
        self._calls = GmailCalls(exchange, api_url=api_url)
        self._fetch = GmailFetch(
            self._calls,
            batch_endpoint=BatchEndpoint(batch_url, monotonic=monotonic),
            costs=costs,
            parallel_gets=parallel_gets,
        )
        self._content = GmailDownloads(exchange, api_url=api_url, costs=costs)

    async def profile(self, access_token: str) -> Profile:
        """Call users.getProfile. A stand-in without it gets an empty profile."""
        try:
            answer = await self._calls.get(access_token, "/profile", within=self._deadlines.small)
        except (NotFoundError, RouteMissingError):
            # Nothing else in this call could be missing.
            return Profile()
        if answer and not answer.keys() & _OF_A_PROFILE:
            raise ProviderUnavailableError("the answer is no profile")
        return Profile(
            cursor=number(answer.get("historyId")),
            message_count=number(answer.get("messagesTotal")),
            address=text(answer.get("emailAddress")),
        )

    async def version(self, access_token: str, external_id: str) -> int | None:
        """Call messages.get with format=minimal."""
        path = f"/messages/{quote(external_id, safe='')}"
        try:
            answer = await self._calls.get(access_token, path, {"format": "minimal"}, within=self._deadlines.get)
        except NotFoundError as error:
            raise MessageGoneError(error.detail) from error
        if not is_message(answer):
            raise ProviderUnavailableError("the answer is no message")
        return number(answer.get("historyId"))

    async def list_ids(
        self,
        access_token: str,
        *,
        page_token: str | None,
        page_size: int,
        include_spam_trash: bool,
        label_id: str | None = None,
    ) -> IdPage:
        """Call messages.list."""
        params = {"maxResults": str(page_size), "includeSpamTrash": "true" if include_spam_trash else "false"}
        if label_id is not None:
            params["labelIds"] = label_id
        if page_token is not None:
            params["pageToken"] = page_token
        try:
            answer = await self._calls.get(access_token, "/messages", params, within=self._deadlines.small)
        except (InvalidArgumentError, NotFoundError) as error:
            raise _listing_error(error, page_token=page_token, label_id=label_id) from error
        listed = [
            ListedId(external_id=entry_id(entry), thread_id=text(entry.get("threadId")))
            for entry in entries(answer, "messages")
        ]
        return IdPage(listed=listed, next_page_token=next_page(answer))

    async def list_changes(self, access_token: str, *, cursor: int, page_token: str | None) -> HistoryPage:
        """Call history.list for all types of records."""
        params = {"startHistoryId": str(cursor), "maxResults": str(self.page_size)}
        if page_token is not None:
            params["pageToken"] = page_token
        try:
            answer = await self._calls.get(access_token, "/history", params, within=self._deadlines.small)
        except NotFoundError as error:
            raise CursorLostError(error.detail) from error
        except InvalidArgumentError as error:
            raise _history_error(error, page_token=page_token) from error
        return parse_history(answer, cursor=cursor)

    async def list_labels(self, access_token: str) -> list[Label] | None:
        """Call labels.list. Returns None for a stand-in without it."""
        try:
            answer = await self._calls.get(access_token, "/labels", within=self._deadlines.small)
        except (NotFoundError, RouteMissingError):
            # Nothing else in this call could be missing.
            return None
        labels = {
            (id_ := entry_id(entry)): Label(
                label_id=id_,
                name=text(entry.get("name")) or id_,
                type="user" if entry.get("type") == "user" else "system",
                role=role_of(id_),
            )
            for entry in entries(answer, "labels")
        }
        return list(labels.values())

    async def list_send_as(self, access_token: str) -> list[str] | None:
        """users.settings.sendAs.list, without addresses that the user has not confirmed; stand-ins may have none."""
        try:
            answer = await self._calls.get(access_token, "/settings/sendAs", within=self._deadlines.small)
        except (NotFoundError, RouteMissingError):
            # The call names nothing else that could be missing.
            return None
        addresses = [
            text(entry.get("sendAsEmail"))
            for entry in entries(answer, "sendAs")
            if entry.get("verificationStatus", "accepted") == "accepted"
        ]
        return [address for address in addresses if address]

    async def fetch(self, access_token: str, gets: Sequence[Get], *, singly: bool = False) -> Mapping[str, FetchResult]:
        """Call messages.get and threads.get."""
        return await self._fetch.fetch(access_token, gets, singly=singly)

    async def complete(self, access_token: str, partial: PartialMessage) -> ProviderMessage:
        """Call attachments.get for the body parts that are delivered by reference, up to the stored length."""
        resource, missing_parts = partial.source
        parts: dict[str, bytes] = {}
        for missing in missing_parts:
            parts[missing.part_id] = await self._get_attachment(access_token, partial.external_id, missing)
        # Off the event loop: text delivered by reference is large.
        parsed = await asyncio.to_thread(parse_gmail, resource, fetched=parts)
        return message_of(partial.external_id, resource, without_the_rest(parsed))

    async def watch(self, access_token: str) -> datetime:
        """Call users.watch for the whole mailbox."""
        answer = await self._calls.post(access_token, "/watch", {"topicName": self._push_topic})
        try:
            return datetime.fromtimestamp(int(answer["expiration"]) / 1000, UTC)
        except (KeyError, TypeError, ValueError, OverflowError, OSError) as error:
            raise ProviderUnavailableError("a watch without end") from error

    async def stop(self, access_token: str) -> None:
        """Call users.stop."""
        await self._calls.post(access_token, "/stop", {})

    async def _get_attachment(self, access_token: str, external_id: str, missing: MissingPart) -> bytes:
        content = BytesIO()

        async def write(piece: bytes) -> None:
            content.write(piece)

        await self._content.copy_attachment(access_token, external_id, missing.handle, write, empty=missing.size == 0)
        return content.getvalue()


def _listing_error(error: ProviderError, *, page_token: str | None, label_id: str | None) -> ProviderError:
    """Return the error of a refused listing parameter: only the page token and the label can be wrong."""
    if label_id is not None and (page_token is None or isinstance(error, NotFoundError)):
        return LabelGoneError(error.detail)
    return error if page_token is None else PageTokenExpiredError(error.detail)


def _history_error(error: InvalidArgumentError, *, page_token: str | None) -> ProviderError:
    """Return the error of a refused history parameter."""
    if _HISTORY_ID.search(error.detail):
        return CursorLostError(error.detail)
    if page_token is not None:
        return PageTokenExpiredError(error.detail)
    return ProviderUnavailableError(error.detail)
