"""Messages: lists, search, single ones, threads, labels, downloads, exports."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from datetime import date, datetime

from pydantic import ValidationError

from mailroom_client._async.paging import AsyncPaged
from mailroom_client._async.transport import AsyncTransport
from mailroom_client._request import MailboxName, Request, naming, parameters, path_of
from mailroom_client._streams import Lines
from mailroom_client.errors import UnexpectedResponseError
from mailroom_client.models import Email, EmailSummary, Label, Model, Thread, ThreadWithEmails

_LARGEST_PAGE = 200


class _Labels(Model):
    labels: list[Label]


class AsyncEmails:
    """Stored messages. A mailbox is named by its id or its address."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    def list(
        self,
        mailbox: MailboxName,
        query: str | None = None,
        *,
        label: str | None = None,
        thread_id: str | None = None,
        unread: bool | None = None,
        has_attachment: bool | None = None,
        after: date | datetime | None = None,
        before: date | datetime | None = None,
        highlight: bool = False,
        page_size: int = _LARGEST_PAGE,
    ) -> AsyncPaged[EmailSummary]:
        """List the messages that match everything given, newest first. `query` is a search as docs/search.md has it."""
        params = naming(mailbox) | parameters(
            q=query, label=label, thread_id=thread_id, unread=unread, has_attachment=has_attachment, after=after,
            before=before, highlight=highlight or None, limit=page_size,
        )  # fmt: skip
        return AsyncPaged(self._transport, Request("GET", "/emails", params), field="emails", item=EmailSummary)

    async def get(self, email_id: str) -> Email:
        """Return a whole message."""
        return await self._transport.call(Request("GET", path_of("/emails/{}", email_id)), Email)

    def raw(self, email_id: str) -> AbstractAsyncContextManager[AsyncGenerator[bytes]]:
        """Open a message as the provider has it (RFC 5322): `async with` gives its chunks."""
        return self._transport.stream(Request("GET", path_of("/emails/{}/raw", email_id)))

    def attachment(self, email_id: str, attachment_id: str) -> AbstractAsyncContextManager[AsyncGenerator[bytes]]:
        """Open an attachment: `async with` gives its chunks."""
        return self._transport.stream(Request("GET", path_of("/emails/{}/attachments/{}", email_id, attachment_id)))

    async def export(
        self,
        mailbox: MailboxName,
        query: str | None = None,
        *,
        label: str | None = None,
        thread_id: str | None = None,
        unread: bool | None = None,
        has_attachment: bool | None = None,
        after: date | datetime | None = None,
        before: date | datetime | None = None,
    ) -> AsyncGenerator[Email]:
        """Return whole messages, newest first, as they arrive. An export that breaks off raises."""
        params = naming(mailbox) | parameters(
            q=query, label=label, thread_id=thread_id, unread=unread, has_attachment=has_attachment, after=after,
            before=before,
        )  # fmt: skip
        lines = Lines()
        async with self._transport.stream(Request("GET", "/emails/export", params)) as chunks:
            async for chunk in chunks:
                for line in lines.take(chunk):
                    yield _email(line)
        for line in lines.rest():
            yield _email(line)

    def threads(self, mailbox: MailboxName, *, page_size: int = _LARGEST_PAGE) -> AsyncPaged[Thread]:
        """List threads, those with the newest messages first."""
        params = naming(mailbox) | parameters(limit=page_size)
        return AsyncPaged(self._transport, Request("GET", "/emails/threads", params), field="threads", item=Thread)

    async def thread(self, thread_id: str, mailbox: MailboxName | None = None) -> ThreadWithEmails:
        """Return a thread with its messages. With an API key its mailbox is needed."""
        request = Request("GET", path_of("/emails/threads/{}", thread_id), naming(mailbox))
        return await self._transport.call(request, ThreadWithEmails)

    async def labels(self, mailbox: MailboxName) -> tuple[Label, ...]:
        """Return the labels of a mailbox with their counts."""
        found = await self._transport.call(Request("GET", "/emails/labels", naming(mailbox)), _Labels)
        return tuple(found.labels)


def _email(line: bytes) -> Email:
    try:
        return Email.model_validate_json(line)
    except ValidationError as error:
        raise UnexpectedResponseError(f"a line of the export is no message: {error}") from error
