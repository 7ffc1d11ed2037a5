"""The gRPC face of mail: convert, call, convert. Only here does protobuf meet the domain."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio
from mailroom.mail.v1 import mail_pb2, mail_pb2_grpc

from services.kit.errors import AppError, Kind
from services.mail.changes import Changes
from services.mail.content.addresses import parse_addresses
from services.mail.content.model import Address
from services.mail.disconnecting import Disconnecting
from services.mail.downloads.contents import Contents
from services.mail.ids import LocalId, parse_id
from services.mail.mailboxes import Mailboxes
from services.mail.messages import Messages
from services.mail.model import (
    Mailbox,
    MailboxOverview,
    MailboxStatus,
    MessageDetail,
    MessageFilter,
    MessageSummary,
    SyncReport,
    SyncState,
    Thread,
    Verification,
)
from services.mail.push import Push
from services.mail.rpc_downloads import attachment_id_of, download, fields_of, part_id_of
from services.mail.store.changes import Change, ChangeKind
from services.mail.syncs import Syncs
from services.mail.threads import Threads

Context = aio.ServicerContext[Any, Any]

_MAILBOX_STATUS = {
    MailboxStatus.ACTIVE: mail_pb2.MAILBOX_STATUS_ACTIVE,
    MailboxStatus.REAUTH_REQUIRED: mail_pb2.MAILBOX_STATUS_REAUTH_REQUIRED,
}
_SYNC_STATE = {
    SyncState.QUEUED: mail_pb2.SYNC_STATE_QUEUED,
    SyncState.RUNNING: mail_pb2.SYNC_STATE_RUNNING,
    SyncState.COMPLETED: mail_pb2.SYNC_STATE_COMPLETED,
    SyncState.FAILED: mail_pb2.SYNC_STATE_FAILED,
    SyncState.CANCELLED: mail_pb2.SYNC_STATE_CANCELLED,
}
_CHANGE_KIND = {
    ChangeKind.CREATED: mail_pb2.CHANGE_KIND_CREATED,
    ChangeKind.UPDATED: mail_pb2.CHANGE_KIND_UPDATED,
    ChangeKind.DELETED: mail_pb2.CHANGE_KIND_DELETED,
}
_LABEL_TYPE = {"system": mail_pb2.LABEL_TYPE_SYSTEM, "user": mail_pb2.LABEL_TYPE_USER}


def registrations(
    *,
    mailboxes: Mailboxes,
    disconnecting: Disconnecting,
    messages: Messages,
    threads: Threads,
    changes: Changes,
    syncs: Syncs,
    push: Push,
    contents: Contents,
    units_per_second: float,
    units_per_message: int,
) -> list[Callable[[aio.Server], None]]:
    """What adds mail's services to a server. The unit figures are for a sync's estimated end."""
    return [
        partial(mail_pb2_grpc.add_MailboxServiceServicer_to_server, MailboxServicer(mailboxes, disconnecting)),
        partial(
            mail_pb2_grpc.add_MessageServiceServicer_to_server,
            MessageServicer(mailboxes, messages, threads, changes, contents),
        ),
        partial(
            mail_pb2_grpc.add_SyncServiceServicer_to_server,
            SyncServicer(mailboxes, syncs, push, seconds_per_message=units_per_message / units_per_second),
        ),
    ]


class MailboxServicer(mail_pb2_grpc.MailboxServiceServicer):
    """mailroom.mail.v1.MailboxService."""

    def __init__(self, mailboxes: Mailboxes, disconnecting: Disconnecting) -> None:
        self._mailboxes = mailboxes
        self._disconnecting = disconnecting

    async def ListMailboxes(
        self, request: mail_pb2.ListMailboxesRequest, context: Context
    ) -> mail_pb2.ListMailboxesResponse:
        overviews = await self._mailboxes.overviews(_uuid(request.user_id, "user_id"))
        return mail_pb2.ListMailboxesResponse(mailboxes=map(_overview_to_proto, overviews))

    async def DisconnectMailbox(
        self, request: mail_pb2.DisconnectMailboxRequest, context: Context
    ) -> mail_pb2.DisconnectMailboxResponse:
        user_id, account_id = _uuid(request.user_id, "user_id"), _uuid(request.account_id, "account_id")
        return mail_pb2.DisconnectMailboxResponse(erased=await self._disconnecting.disconnect(user_id, account_id))

    async def DeleteUser(self, request: mail_pb2.DeleteUserRequest, context: Context) -> mail_pb2.DeleteUserResponse:
        erased = await self._disconnecting.delete_user(_uuid(request.user_id, "user_id"))
        return mail_pb2.DeleteUserResponse(erased=erased)


class MessageServicer(mail_pb2_grpc.MessageServiceServicer):
    """mailroom.mail.v1.MessageService."""

    def __init__(
        self, mailboxes: Mailboxes, messages: Messages, threads: Threads, changes: Changes, contents: Contents
    ) -> None:
        self._mailboxes = mailboxes
        self._messages = messages
        self._threads = threads
        self._changes = changes
        self._contents = contents

    async def ListMessages(
        self, request: mail_pb2.ListMessagesRequest, context: Context
    ) -> mail_pb2.ListMessagesResponse:
        mailbox = await _find(self._mailboxes, request.user_id, request.mailbox)
        page = await self._messages.page(
            mailbox,
            _filter_from_proto(request),
            page_size=request.page_size,
            page_token=request.page_token,
            highlighted=request.highlight,
        )
        return mail_pb2.ListMessagesResponse(
            messages=map(_summary_to_proto, page.messages), next_page_token=page.next_page_token
        )

    async def GetMessage(self, request: mail_pb2.GetMessageRequest, context: Context) -> mail_pb2.GetMessageResponse:
        user_id = _uuid(request.user_id, "user_id")
        return _detail_to_proto(await self._messages.get(user_id, parse_id(request.message_id)))

    async def DownloadRaw(
        self, request: mail_pb2.DownloadRawRequest, context: Context
    ) -> AsyncIterator[mail_pb2.DownloadRawResponse]:
        content = await self._contents.raw(_uuid(request.user_id, "user_id"), parse_id(request.message_id))
        async with aclosing(download(self._contents, content, request.condition)) as parts:
            async for part in parts:
                yield mail_pb2.DownloadRawResponse(**fields_of(part))

    async def DownloadAttachment(
        self, request: mail_pb2.DownloadAttachmentRequest, context: Context
    ) -> AsyncIterator[mail_pb2.DownloadAttachmentResponse]:
        content = await self._contents.attachment(
            _uuid(request.user_id, "user_id"), parse_id(request.message_id), part_id_of(request.attachment_id)
        )
        async with aclosing(download(self._contents, content, request.condition)) as parts:
            async for part in parts:
                yield mail_pb2.DownloadAttachmentResponse(**fields_of(part))

    async def ListLabels(self, request: mail_pb2.ListLabelsRequest, context: Context) -> mail_pb2.ListLabelsResponse:
        mailbox = await _find(self._mailboxes, request.user_id, request.mailbox)
        labels = await self._messages.labels(mailbox)
        return mail_pb2.ListLabelsResponse(
            labels=[
                mail_pb2.Label(
                    label_id=counted.label.label_id,
                    name=counted.label.name,
                    type=_LABEL_TYPE[counted.label.type],
                    message_count=counted.message_count,
                    unread_count=counted.unread_count,
                )
                for counted in labels
            ]
        )

    async def ListThreads(self, request: mail_pb2.ListThreadsRequest, context: Context) -> mail_pb2.ListThreadsResponse:
        mailbox = await _find(self._mailboxes, request.user_id, request.mailbox)
        page = await self._threads.page(mailbox, page_size=request.page_size, page_token=request.page_token)
        return mail_pb2.ListThreadsResponse(
            threads=map(_thread_to_proto, page.threads), next_page_token=page.next_page_token
        )

    async def GetThread(self, request: mail_pb2.GetThreadRequest, context: Context) -> mail_pb2.GetThreadResponse:
        mailbox = await _find(self._mailboxes, request.user_id, request.mailbox)
        thread, messages = await self._threads.get(mailbox, request.thread_id)
        return mail_pb2.GetThreadResponse(thread=_thread_to_proto(thread), messages=map(_summary_to_proto, messages))

    async def ExportMessages(
        self, request: mail_pb2.ExportMessagesRequest, context: Context
    ) -> AsyncIterator[mail_pb2.ExportMessagesResponse]:
        mailbox = await _find(self._mailboxes, request.user_id, request.mailbox)
        async with aclosing(self._messages.export(mailbox, _filter_from_proto(request))) as details:
            async for detail in details:
                yield mail_pb2.ExportMessagesResponse(message=_detail_to_proto(detail))

    async def ListChanges(self, request: mail_pb2.ListChangesRequest, context: Context) -> mail_pb2.ListChangesResponse:
        mailbox = await _find(self._mailboxes, request.user_id, request.mailbox)
        page = await self._changes.page(
            mailbox, since=request.since, page_size=request.page_size, wait_seconds=request.wait_seconds
        )
        return mail_pb2.ListChangesResponse(
            changes=[_change_to_proto(change, mailbox.mailbox_id) for change in page.changes],
            position=str(page.position),
            has_more=page.has_more,
        )


class SyncServicer(mail_pb2_grpc.SyncServiceServicer):
    """mailroom.mail.v1.SyncService."""

    def __init__(self, mailboxes: Mailboxes, syncs: Syncs, push: Push, *, seconds_per_message: float) -> None:
        self._mailboxes = mailboxes
        self._syncs = syncs
        self._push = push
        self._seconds_per_message = seconds_per_message

    async def StartSync(self, request: mail_pb2.StartSyncRequest, context: Context) -> mail_pb2.StartSyncResponse:
        mailbox = await _find(self._mailboxes, request.user_id, request.mailbox)
        report = await self._syncs.start(mailbox, newest_count=None if request.all else request.newest_count)
        return mail_pb2.StartSyncResponse(sync=self._to_proto(report))

    async def GetSync(self, request: mail_pb2.GetSyncRequest, context: Context) -> mail_pb2.GetSyncResponse:
        user_id = _uuid(request.user_id, "user_id")
        report = await self._syncs.get(user_id, parse_id(request.sync_id), wait_seconds=request.wait_seconds)
        return mail_pb2.GetSyncResponse(sync=self._to_proto(report))

    async def CancelSync(self, request: mail_pb2.CancelSyncRequest, context: Context) -> mail_pb2.CancelSyncResponse:
        report = await self._syncs.cancel(_uuid(request.user_id, "user_id"), parse_id(request.sync_id))
        return mail_pb2.CancelSyncResponse(sync=self._to_proto(report))

    async def RetrySync(self, request: mail_pb2.RetrySyncRequest, context: Context) -> mail_pb2.RetrySyncResponse:
        report = await self._syncs.retry(_uuid(request.user_id, "user_id"), parse_id(request.sync_id))
        return mail_pb2.RetrySyncResponse(sync=self._to_proto(report))

    async def VerifyMailbox(
        self, request: mail_pb2.VerifyMailboxRequest, context: Context
    ) -> mail_pb2.VerifyMailboxResponse:
        mailbox = await _find(self._mailboxes, request.user_id, request.mailbox)
        return mail_pb2.VerifyMailboxResponse(sync=self._to_proto(await self._syncs.verify(mailbox)))

    async def AcceptPush(self, request: mail_pb2.AcceptPushRequest, context: Context) -> mail_pb2.AcceptPushResponse:
        await self._push.accept(request.token, request.body)
        return mail_pb2.AcceptPushResponse()

    def _to_proto(self, report: SyncReport) -> mail_pb2.Sync:
        sync = report.sync
        known = sync.listing_done and sync.ended_at is None
        return mail_pb2.Sync(
            sync_id=str(LocalId(sync.mailbox_id, sync.sync_id)),
            account_id=str(report.mailbox.account_id),
            email=report.mailbox.email,
            state=_SYNC_STATE[sync.state],
            newest_count=sync.newest_count,
            listed_count=sync.listed_count,
            stored_count=sync.stored_count,
            pending_count=report.pending_count,
            dead_letter_count=report.dead_letter_count,
            units_spent=sync.units_spent,
            units_per_message=sync.units_spent / sync.stored_count if sync.stored_count else None,
            eta_seconds=round(report.pending_count * self._seconds_per_message) if known else None,
            error=sync.error,
            verification=None if sync.verification is None else _verification_to_proto(sync.verification),
            create_time=_timestamp(sync.created_at),
            end_time=_timestamp(sync.ended_at),
            dead_letters=[
                mail_pb2.DeadLetter(external_id=letter.external_id, reason=letter.reason, attempts=letter.attempts)
                for letter in report.dead_letters
            ],
        )


async def _find(mailboxes: Mailboxes, user_id: str, selector: mail_pb2.MailboxSelector) -> Mailbox:
    user = _uuid(user_id, "user_id")
    match selector.WhichOneof("selector"):
        case "account_id":
            return await mailboxes.find(user, account_id=_uuid(selector.account_id, "account_id"))
        case "email":
            return await mailboxes.find(user, email=selector.email)
        case _:
            raise AppError(Kind.INVALID, "mailbox_required", "Name a mailbox by account_id or by e-mail address.")


def _uuid(value: str, field: str) -> UUID:
    try:
        return UUID(value)
    except ValueError:
        raise AppError(Kind.INVALID, f"invalid_{field}", f"{field} is not a UUID.") from None


def _filter_from_proto(request: mail_pb2.ListMessagesRequest | mail_pb2.ExportMessagesRequest) -> MessageFilter:
    return MessageFilter(
        query=request.query,
        label=request.label,
        thread_id=request.thread_id,
        unread=request.unread if request.HasField("unread") else None,
        has_attachment=request.has_attachment if request.HasField("has_attachment") else None,
        after=_time(request.after_time) if request.HasField("after_time") else None,
        before=_time(request.before_time) if request.HasField("before_time") else None,
    )


def _time(stamp: Timestamp) -> datetime:
    try:
        return stamp.ToDatetime(UTC)
    except ValueError:
        raise AppError(Kind.INVALID, "invalid_time", "A time is between the years 1 and 9999.") from None


def _timestamp(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def _overview_to_proto(overview: MailboxOverview) -> mail_pb2.Mailbox:
    return mail_pb2.Mailbox(
        account_id=str(overview.mailbox.account_id),
        email=overview.mailbox.email,
        provider=overview.mailbox.provider,
        status=_MAILBOX_STATUS[overview.mailbox.status],
        last_synced_time=_timestamp(overview.last_synced_at),
        message_count=overview.message_count,
        unread_count=overview.unread_count,
        reconnect_by_time=_timestamp(overview.reconnect_by),
    )


def _verification_to_proto(verification: Verification) -> mail_pb2.Verification:
    return mail_pb2.Verification(
        done=verification.done,
        missing_count=verification.missing_count,
        extra_count=verification.extra_count,
        drift_count=verification.drift_count,
        digest=verification.digest,
    )


def _address_to_proto(address: Address) -> mail_pb2.Address:
    return mail_pb2.Address(name=address.name, email=address.email)


def _summary_to_proto(message: MessageSummary) -> mail_pb2.MessageSummary:
    # `from` is a keyword in Python.
    optional: dict[str, Any] = {} if message.sender is None else {"from": _address_to_proto(message.sender)}
    return mail_pb2.MessageSummary(
        message_id=str(LocalId(message.mailbox_id, message.message_id)),
        external_id=message.external_id,
        account_id=str(message.account_id),
        thread_id=message.thread_id,
        to=map(_address_to_proto, message.to),
        cc=map(_address_to_proto, message.cc),
        subject=message.subject,
        snippet=message.snippet,
        received_time=_timestamp(message.received_at),
        is_read=message.is_read,
        labels=message.labels,
        has_attachments=message.has_attachments,
        size=message.size,
        highlight=message.highlight,
        **optional,
    )


def _thread_to_proto(thread: Thread) -> mail_pb2.Thread:
    return mail_pb2.Thread(
        thread_id=thread.thread_id,
        account_id=str(thread.account_id),
        subject=thread.subject,
        snippet=thread.snippet,
        last_message_time=_timestamp(thread.last_message_at),
        message_count=thread.message_count,
        unread_count=thread.unread_count,
        participants=map(_address_to_proto, thread.participants),
        labels=thread.labels,
        has_attachments=thread.has_attachments,
    )


def _change_to_proto(change: Change, mailbox_id: int) -> mail_pb2.Change:
    return mail_pb2.Change(
        kind=_CHANGE_KIND[change.kind],
        message_id=str(LocalId(mailbox_id, change.message_id)),
        message=None if change.message is None else _summary_to_proto(change.message),
    )


def _detail_to_proto(detail: MessageDetail) -> mail_pb2.GetMessageResponse:
    return mail_pb2.GetMessageResponse(
        summary=_summary_to_proto(detail.summary),
        headers=[mail_pb2.Header(name=name, value=value) for name, value in detail.headers],
        text=detail.text,
        html=detail.html,
        bcc=map(_address_to_proto, _addresses_in(detail.headers, "bcc")),
        reply_to=map(_address_to_proto, _addresses_in(detail.headers, "reply-to")),
        attachments=[
            mail_pb2.Attachment(
                attachment_id=attachment_id_of(attachment.part_id),
                filename=attachment.filename,
                mime_type=attachment.mime_type,
                size=attachment.size,
                inline=attachment.inline,
                content_id=attachment.content_id or "",
            )
            for attachment in detail.attachments
        ],
    )


def _addresses_in(headers: Sequence[tuple[str, str]], name: str) -> list[Address]:
    return [address for key, value in headers if key.lower() == name for address in parse_addresses(value)]
