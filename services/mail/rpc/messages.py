"""The servicer of mailroom.mail.v1.MessageService."""

from collections.abc import AsyncIterator
from contextlib import aclosing

from mailroom.mail.v1 import mail_pb2, mail_pb2_grpc

from services.kit.fair_share import FairShare
from services.kit.rpc.server import Context
from services.mail.downloads.fetch import Downloads
from services.mail.ids import PublicIds
from services.mail.mailboxes import Mailboxes
from services.mail.model import OpenMailbox
from services.mail.reading.change_feed import ChangeFeed
from services.mail.reading.message_json import summaries_to_json
from services.mail.reading.messages import Messages
from services.mail.reading.threads import Threads
from services.mail.rpc.downloads import fields_of, part_id_of, stream_parts
from services.mail.rpc.from_proto import filter_of, find_mailbox, named_mailboxes, owner_of, position_of
from services.mail.rpc.to_proto import (
    change_to_proto,
    detail_to_proto,
    label_to_proto,
    summary_to_proto,
    thread_to_proto,
)

# Whole messages and threads at a time, those of one user, and those that wait: a message has up to 8 MB, and is there
# several times until it is sent.
_MOST_WHOLE = 8
_WHOLE_PER_USER = 3
_MOST_WAITING = 100


class MessageServicer(mail_pb2_grpc.MessageServiceServicer):
    """Messages: lists, threads, labels, changes, export and downloads."""

    def __init__(
        self,
        mailboxes: Mailboxes,
        messages: Messages,
        threads: Threads,
        changes: ChangeFeed,
        downloads: Downloads,
        *,
        ids: PublicIds,
    ) -> None:
        self._mailboxes = mailboxes
        self._messages = messages
        self._threads = threads
        self._changes = changes
        self._downloads = downloads
        self._whole = FairShare(_MOST_WHOLE, per_user=_WHOLE_PER_USER, waiting=_MOST_WAITING, work="messages are read")
        self._ids = ids

    async def ListMessages(
        self, request: mail_pb2.ListMessagesRequest, context: Context
    ) -> mail_pb2.ListMessagesResponse:
        mailbox = await find_mailbox(self._mailboxes, request.user_id, request.mailbox)
        page = await self._messages.page(
            mailbox,
            filter_of(request),
            page_size=request.page_size,
            page_token=request.page_token,
            highlighted=request.highlight,
        )
        return mail_pb2.ListMessagesResponse(
            messages_json=summaries_to_json(page.messages, self._ids), next_page_token=page.next_page_token
        )

    async def GetMessage(self, request: mail_pb2.GetMessageRequest, context: Context) -> mail_pb2.GetMessageResponse:
        message_id = self._ids.parse(request.message_id)
        user_id = await owner_of(self._mailboxes, request.user_id, message_id)
        async with self._whole.of(request.user_id):
            return detail_to_proto(await self._messages.get(user_id, message_id), self._ids)

    async def DownloadRaw(
        self, request: mail_pb2.DownloadRawRequest, context: Context
    ) -> AsyncIterator[mail_pb2.DownloadRawResponse]:
        message_id = self._ids.parse(request.message_id)
        download = await self._downloads.raw(await owner_of(self._mailboxes, request.user_id, message_id), message_id)
        async with aclosing(stream_parts(self._downloads, download, request.condition)) as parts:
            async for part in parts:
                yield mail_pb2.DownloadRawResponse(**fields_of(part))

    async def DownloadAttachment(
        self, request: mail_pb2.DownloadAttachmentRequest, context: Context
    ) -> AsyncIterator[mail_pb2.DownloadAttachmentResponse]:
        message_id = self._ids.parse(request.message_id)
        download = await self._downloads.attachment(
            await owner_of(self._mailboxes, request.user_id, message_id),
            message_id,
            part_id_of(request.attachment_id),
        )
        async with aclosing(stream_parts(self._downloads, download, request.condition)) as parts:
            async for part in parts:
                yield mail_pb2.DownloadAttachmentResponse(**fields_of(part))

    async def ListLabels(self, request: mail_pb2.ListLabelsRequest, context: Context) -> mail_pb2.ListLabelsResponse:
        mailbox = await find_mailbox(self._mailboxes, request.user_id, request.mailbox)
        return mail_pb2.ListLabelsResponse(
            labels=map(label_to_proto, await self._messages.labels(mailbox)), account_id=str(mailbox.account_id)
        )

    async def ListThreads(self, request: mail_pb2.ListThreadsRequest, context: Context) -> mail_pb2.ListThreadsResponse:
        mailbox = await find_mailbox(self._mailboxes, request.user_id, request.mailbox)
        page = await self._threads.page(mailbox, page_size=request.page_size, page_token=request.page_token)
        return mail_pb2.ListThreadsResponse(
            threads=map(thread_to_proto, page.threads), next_page_token=page.next_page_token
        )

    async def GetThread(self, request: mail_pb2.GetThreadRequest, context: Context) -> mail_pb2.GetThreadResponse:
        mailboxes = await named_mailboxes(self._mailboxes, request.user_id, request.mailbox)
        async with self._whole.of(request.user_id):
            return await self._thread(mailboxes, request.thread_id)

    async def _thread(self, mailboxes: list[OpenMailbox], thread_id: str) -> mail_pb2.GetThreadResponse:
        thread, messages = await self._threads.find(mailboxes, thread_id)
        return mail_pb2.GetThreadResponse(
            thread=thread_to_proto(thread), messages=[summary_to_proto(message, self._ids) for message in messages]
        )

    async def ExportMessages(
        self, request: mail_pb2.ExportMessagesRequest, context: Context
    ) -> AsyncIterator[mail_pb2.ExportMessagesResponse]:
        mailbox = await find_mailbox(self._mailboxes, request.user_id, request.mailbox)
        async with aclosing(self._messages.export(mailbox, filter_of(request))) as details:
            async for detail in details:
                yield mail_pb2.ExportMessagesResponse(message=detail_to_proto(detail, self._ids))

    async def ListChanges(self, request: mail_pb2.ListChangesRequest, context: Context) -> mail_pb2.ListChangesResponse:
        mailbox = await find_mailbox(self._mailboxes, request.user_id, request.mailbox)
        page = await self._changes.page(
            mailbox,
            since=position_of(request.since, self._ids),
            page_size=request.page_size,
            wait_seconds=request.wait_seconds,
            include_labels=request.include_labels,
        )
        return mail_pb2.ListChangesResponse(
            changes=[change_to_proto(change, mailbox.mailbox_id, self._ids) for change in page.changes],
            position=self._ids.encode_position(page.position),
            has_more=page.has_more,
            account_id=str(mailbox.account_id),
        )
