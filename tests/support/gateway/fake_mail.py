"""A fake of mail with state, in this process, behind real gRPC."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any, override

from mailroom.mail.v1 import mail_pb2
from mailroom.mail.v1.mail_pb2_grpc import MailboxServiceServicer, MessageServiceServicer, SyncServiceServicer
from pydantic_core import to_json

from services.gateway.conversions import email_summary
from services.kit.errors import AppError, Kind
from services.kit.principals import PRINCIPAL_HEADER
from tests.support.gateway.contract import Context, after

PUSH_TOKEN = "token-of-the-push-service-account"


@dataclass
class FakeMail(MailboxServiceServicer, MessageServiceServicer, SyncServiceServicer):
    """A fake of mail with mailboxes by user; methods raise `failure` while it is set."""

    failure: Exception | None = None
    mailboxes: dict[str, list[mail_pb2.Mailbox]] = field(default_factory=dict)
    # By user and account; a repeated request finds them erased.
    erasing: set[tuple[str, str]] = field(default_factory=set)
    messages: dict[str, list[mail_pb2.GetMessageResponse]] = field(default_factory=dict)
    labels: dict[str, list[mail_pb2.Label]] = field(default_factory=dict)
    syncs: dict[str, tuple[str, mail_pb2.Sync]] = field(default_factory=dict)
    listings: list[mail_pb2.ListMessagesRequest] = field(default_factory=list)
    threads: dict[str, list[mail_pb2.Thread]] = field(default_factory=dict)
    changes: list[mail_pb2.Change] = field(default_factory=list)
    followed: list[mail_pb2.ListChangesRequest] = field(default_factory=list)
    # The responses to those who follow changes, one after the other; a call that may wait does until the next one.
    feed: asyncio.Queue[mail_pb2.ListChangesResponse | AppError] | None = None
    exports: list[mail_pb2.ExportMessagesRequest] = field(default_factory=list)
    export_failure: AppError | None = None
    export_never_ends: bool = False
    exports_ended: asyncio.Event = field(default_factory=asyncio.Event)
    # The idempotency keys of requests for syncs.
    keys: list[str] = field(default_factory=list)
    # Reads of messages wait for the event of their user; `reading` counts them.
    held_reads: dict[str, asyncio.Event] = field(default_factory=dict)
    reading: int = 0
    watches: list[mail_pb2.GetSyncRequest] = field(default_factory=list)
    watch_failure: AppError | None = None
    # The parts of every download; None hangs.
    download: list[mail_pb2.DownloadHeader | bytes | AppError | None] = field(default_factory=list)
    downloads: list[mail_pb2.DownloadRawRequest | mail_pb2.DownloadAttachmentRequest] = field(default_factory=list)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    ends_when_watched: bool = True
    never_ends_when_watched: bool = False
    watched: asyncio.Event = field(default_factory=asyncio.Event)
    pushed: list[mail_pb2.AcceptPushRequest] = field(default_factory=list)
    push_answer: mail_pb2.AcceptPushResponse = field(default_factory=mail_pb2.AcceptPushResponse)
    # The principals of lists of mailboxes.
    principals: list[str] = field(default_factory=list)
    # The users whose accounts are learned anew.
    refreshed: list[str] = field(default_factory=list)
    # The accounts of these requests; empty for users.
    refreshed_accounts: list[str] = field(default_factory=list)
    # What a refresh says of the account that it names.
    is_disconnecting: bool = False

    def connect(self, user_id: str, email: str, **fields: Any) -> mail_pb2.Mailbox:
        """Connect an empty mailbox of that user."""
        values = {"status": mail_pb2.MAILBOX_STATUS_ACTIVE, "provider": "google", **fields}
        mailbox = mail_pb2.Mailbox(account_id=f"account-of-{email}", email=email, **values)
        self.mailboxes.setdefault(user_id, []).append(mailbox)
        self.messages[mailbox.account_id] = []
        self.labels[mailbox.account_id] = []
        return mailbox

    @override
    async def ListMailboxes(
        self, request: mail_pb2.ListMailboxesRequest, context: Context
    ) -> mail_pb2.ListMailboxesResponse:
        self._check()
        self.principals.append(str(dict(context.invocation_metadata() or ()).get(PRINCIPAL_HEADER, "")))
        own = self.mailboxes.get(request.user_id, [])
        return mail_pb2.ListMailboxesResponse(
            mailboxes=[mailbox for mailbox in own if request.account_id in ("", mailbox.account_id)]
        )

    @override
    async def RefreshMailboxes(
        self, request: mail_pb2.RefreshMailboxesRequest, _: Context
    ) -> mail_pb2.RefreshMailboxesResponse:
        self._check()
        self.refreshed.append(request.user_id)
        self.refreshed_accounts.append(request.account_id)
        return mail_pb2.RefreshMailboxesResponse(disconnected=self.is_disconnecting)

    @override
    async def DisconnectMailbox(
        self, request: mail_pb2.DisconnectMailboxRequest, _: Context
    ) -> mail_pb2.DisconnectMailboxResponse:
        self._check()
        key = (request.user_id, request.account_id)
        if key in self.erasing:
            return mail_pb2.DisconnectMailboxResponse(erased=True)
        account_id = self._select(request.user_id, mail_pb2.MailboxSelector(account_id=request.account_id))
        mine = self.mailboxes[request.user_id]
        self.mailboxes[request.user_id] = [mailbox for mailbox in mine if mailbox.account_id != account_id]
        self.erasing.add(key)
        return mail_pb2.DisconnectMailboxResponse()

    @override
    async def DeleteUser(self, request: mail_pb2.DeleteUserRequest, _: Context) -> mail_pb2.DeleteUserResponse:
        self._check()
        mine = self.mailboxes.pop(request.user_id, [])
        return mail_pb2.DeleteUserResponse(erased=not mine)

    @override
    async def ListMessages(self, request: mail_pb2.ListMessagesRequest, _: Context) -> mail_pb2.ListMessagesResponse:
        self._check()
        self.listings.append(request)
        stored = self.messages[self._select(request.user_id, request.mailbox)]
        if request.page_token and not request.page_token.isdecimal():
            raise AppError(Kind.INVALID, "invalid_page_token", "The cursor is not one of this list.")
        start = int(request.page_token or 0)
        end = start + (request.page_size or 50)
        return mail_pb2.ListMessagesResponse(
            messages_json=to_json([email_summary(message.summary) for message in stored[start:end]]),
            next_page_token=str(end) if end < len(stored) else "",
        )

    @override
    async def GetMessage(self, request: mail_pb2.GetMessageRequest, _: Context) -> mail_pb2.GetMessageResponse:
        self._check()
        if (held := self.held_reads.get(request.user_id)) is not None:
            self.reading += 1
            await held.wait()
        for message in self._owned(request.user_id):
            if message.summary.message_id == request.message_id:
                return message
        raise AppError(Kind.NOT_FOUND, "message_not_found", "There is no such message.")

    @override
    async def DownloadRaw(
        self, request: mail_pb2.DownloadRawRequest, _: Context
    ) -> AsyncIterator[mail_pb2.DownloadRawResponse]:
        self._check()
        self.downloads.append(request)
        async for part in self._parts():
            yield mail_pb2.DownloadRawResponse(**part)

    @override
    async def DownloadAttachment(
        self, request: mail_pb2.DownloadAttachmentRequest, _: Context
    ) -> AsyncIterator[mail_pb2.DownloadAttachmentResponse]:
        self._check()
        self.downloads.append(request)
        async for part in self._parts():
            yield mail_pb2.DownloadAttachmentResponse(**part)

    async def _parts(self) -> AsyncIterator[dict[str, Any]]:
        try:
            for part in self.download:
                if isinstance(part, AppError):
                    raise part
                if part is None:
                    await asyncio.Event().wait()
                yield {"data": part} if isinstance(part, bytes) else {"header": part}
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    @override
    async def ListLabels(self, request: mail_pb2.ListLabelsRequest, _: Context) -> mail_pb2.ListLabelsResponse:
        self._check()
        account_id = self._select(request.user_id, request.mailbox)
        return mail_pb2.ListLabelsResponse(labels=self.labels[account_id], account_id=account_id)

    @override
    async def ListThreads(self, request: mail_pb2.ListThreadsRequest, _: Context) -> mail_pb2.ListThreadsResponse:
        self._check()
        threads = self.threads.get(self._select(request.user_id, request.mailbox), [])
        start = int(request.page_token or 0)
        end = start + request.page_size
        return mail_pb2.ListThreadsResponse(
            threads=threads[start:end], next_page_token=str(end) if end < len(threads) else ""
        )

    @override
    async def GetThread(self, request: mail_pb2.GetThreadRequest, _: Context) -> mail_pb2.GetThreadResponse:
        self._check()
        if request.mailbox.WhichOneof("selector"):
            account_ids = [self._select(request.user_id, request.mailbox)]
        else:
            account_ids = [mailbox.account_id for mailbox in self.mailboxes.get(request.user_id, [])]
        for account_id in account_ids:
            stored = self.messages[account_id]
            messages = [item.summary for item in stored if item.summary.thread_id == request.thread_id]
            for thread in self.threads.get(account_id, []):
                if thread.thread_id == request.thread_id:
                    return mail_pb2.GetThreadResponse(thread=thread, messages=messages)
        raise AppError(Kind.NOT_FOUND, "thread_not_found", "There is no such thread.")

    @override
    async def ListChanges(self, request: mail_pb2.ListChangesRequest, _: Context) -> mail_pb2.ListChangesResponse:
        self._check()
        account_id = self._select(request.user_id, request.mailbox)
        self.followed.append(request)
        if self.feed is not None and (request.wait_seconds or not self.feed.empty()):
            page = await self.feed.get()
            if isinstance(page, AppError):
                raise page
            return page
        changes = self.changes if request.since else []
        return mail_pb2.ListChangesResponse(
            changes=changes, position="p2", has_more=self.feed is None, account_id=account_id
        )

    @override
    async def ExportMessages(
        self, request: mail_pb2.ExportMessagesRequest, _: Context
    ) -> AsyncIterator[mail_pb2.ExportMessagesResponse]:
        self._check()
        self.exports.append(request)
        account_id = self._select(request.user_id, request.mailbox)
        try:
            for message in self.messages[account_id]:
                yield mail_pb2.ExportMessagesResponse(message=message)
                if self.export_failure:
                    raise self.export_failure
            while self.export_never_ends:
                yield mail_pb2.ExportMessagesResponse(message=self.messages[account_id][0])
        finally:
            self.exports_ended.set()

    @override
    async def StartSync(self, request: mail_pb2.StartSyncRequest, _: Context) -> mail_pb2.StartSyncResponse:
        self._check()
        account_id = self._select(request.user_id, request.mailbox)
        self.keys.append(request.idempotency_key)
        sync = mail_pb2.Sync(
            sync_id=uuid.uuid4().hex, account_id=account_id, state=mail_pb2.SYNC_STATE_QUEUED, create_time=after(0)
        )
        if request.HasField("newest_count"):
            sync.newest_count = request.newest_count
        self.syncs[sync.sync_id] = (request.user_id, sync)
        return mail_pb2.StartSyncResponse(sync=sync)

    @override
    async def GetSync(self, request: mail_pb2.GetSyncRequest, _: Context) -> mail_pb2.GetSyncResponse:
        self._check()
        self.watches.append(request)
        self.watched.set()
        if request.wait_seconds and self.never_ends_when_watched:
            await asyncio.Event().wait()
        if self.watch_failure:
            raise self.watch_failure
        sync = self._sync(request.user_id, request.sync_id)
        if request.wait_seconds and self.ends_when_watched:
            sync.state = mail_pb2.SYNC_STATE_COMPLETED
            sync.end_time.CopyFrom(after(0))
        return mail_pb2.GetSyncResponse(sync=sync)

    @override
    async def ListSyncs(self, request: mail_pb2.ListSyncsRequest, _: Context) -> mail_pb2.ListSyncsResponse:
        self._check()
        named = request.mailbox.WhichOneof("selector")
        account_id = self._select(request.user_id, request.mailbox) if named else ""
        mine = [sync for owner, sync in self.syncs.values() if owner == request.user_id]
        syncs = [sync for sync in reversed(mine) if account_id in ("", sync.account_id)]
        start = int(request.page_token or 0)
        end = start + request.page_size
        return mail_pb2.ListSyncsResponse(syncs=syncs[start:end], next_page_token=str(end) if end < len(syncs) else "")

    @override
    async def AcceptPush(self, request: mail_pb2.AcceptPushRequest, _: Context) -> mail_pb2.AcceptPushResponse:
        self._check()
        if not request.token:
            raise AppError(Kind.UNAUTHENTICATED, "missing_token", "Send the push service account's token.")
        if request.token != PUSH_TOKEN:
            raise AppError(Kind.UNAUTHENTICATED, "invalid_token", "The token is not one of the push service account.")
        self.pushed.append(request)
        return self.push_answer

    @override
    async def VerifyMailbox(self, request: mail_pb2.VerifyMailboxRequest, _: Context) -> mail_pb2.VerifyMailboxResponse:
        self._check()
        sync = mail_pb2.Sync(
            sync_id=uuid.uuid4().hex,
            account_id=self._select(request.user_id, request.mailbox),
            state=mail_pb2.SYNC_STATE_QUEUED,
            create_time=after(0),
            verification=mail_pb2.Verification(missing_count=2, extra_count=1),
        )
        self.syncs[sync.sync_id] = (request.user_id, sync)
        return mail_pb2.VerifyMailboxResponse(sync=sync)

    @override
    async def CancelSync(self, request: mail_pb2.CancelSyncRequest, _: Context) -> mail_pb2.CancelSyncResponse:
        sync = self._sync(request.user_id, request.sync_id)
        sync.state = mail_pb2.SYNC_STATE_CANCELLED
        sync.end_time.CopyFrom(after(0))
        return mail_pb2.CancelSyncResponse(sync=sync)

    @override
    async def RetrySync(self, request: mail_pb2.RetrySyncRequest, _: Context) -> mail_pb2.RetrySyncResponse:
        retried = self._sync(request.user_id, request.sync_id)
        sync = mail_pb2.Sync(
            sync_id=uuid.uuid4().hex,
            account_id=retried.account_id,
            state=mail_pb2.SYNC_STATE_QUEUED,
            create_time=after(0),
        )
        self.syncs[sync.sync_id] = (request.user_id, sync)
        return mail_pb2.RetrySyncResponse(sync=sync)

    def _sync(self, user_id: str, sync_id: str) -> mail_pb2.Sync:
        self._check()
        owner, sync = self.syncs.get(sync_id, ("", mail_pb2.Sync()))
        if owner != user_id:
            raise AppError(Kind.NOT_FOUND, "sync_not_found", "There is no such sync.")
        return sync

    def _check(self) -> None:
        if self.failure:
            raise self.failure

    def _select(self, user_id: str, selector: mail_pb2.MailboxSelector) -> str:
        for mailbox in self.mailboxes.get(user_id, []):
            if selector.account_id == mailbox.account_id or selector.email.lower() == mailbox.email:
                return mailbox.account_id
        raise AppError(Kind.NOT_FOUND, "mailbox_not_found", "There is no such mailbox.")

    def _owned(self, user_id: str) -> Iterator[mail_pb2.GetMessageResponse]:
        for mailbox in self.mailboxes.get(user_id, []):
            yield from self.messages[mailbox.account_id]
