"""The servicer of mailroom.mail.v1.SyncService."""

from collections.abc import Mapping

from mailroom.mail.v1 import mail_pb2, mail_pb2_grpc

from services.kit.rpc.server import Context
from services.mail.ids import PublicIds
from services.mail.mailboxes import Mailboxes
from services.mail.model import SyncReport, SyncState, Verification, WaitReason
from services.mail.notifications import Notifications
from services.mail.providers.notifications import HookRequest
from services.mail.reading.sync_list import SyncList
from services.mail.rpc.from_proto import find_mailbox, named_mailboxes, owner_of
from services.mail.rpc.to_proto import timestamp
from services.mail.syncs import Syncs

_SYNC_STATE = {
    SyncState.QUEUED: mail_pb2.SYNC_STATE_QUEUED,
    SyncState.RUNNING: mail_pb2.SYNC_STATE_RUNNING,
    SyncState.COMPLETED: mail_pb2.SYNC_STATE_COMPLETED,
    SyncState.FAILED: mail_pb2.SYNC_STATE_FAILED,
    SyncState.CANCELLED: mail_pb2.SYNC_STATE_CANCELLED,
}

_WAIT_REASON = {
    None: mail_pb2.WAIT_REASON_UNSPECIFIED,
    WaitReason.QUOTA: mail_pb2.WAIT_REASON_QUOTA,
    WaitReason.QUOTA_PROJECT: mail_pb2.WAIT_REASON_QUOTA_PROJECT,
    WaitReason.QUOTA_DAY: mail_pb2.WAIT_REASON_QUOTA_DAY,
    WaitReason.QUOTA_SERVICE: mail_pb2.WAIT_REASON_QUOTA_SERVICE,
    WaitReason.PROVIDER: mail_pb2.WAIT_REASON_PROVIDER,
    WaitReason.ACCESS: mail_pb2.WAIT_REASON_ACCESS,
    WaitReason.MAILROOM: mail_pb2.WAIT_REASON_MAILROOM,
}


class SyncServicer(mail_pb2_grpc.SyncServiceServicer):
    """Syncs: start, observe, cancel, retry, verify; and the provider's push notifications."""

    def __init__(
        self,
        mailboxes: Mailboxes,
        syncs: Syncs,
        sync_list: SyncList,
        notifications: Notifications,
        *,
        ids: PublicIds,
        seconds_per_message: Mapping[str, float],
    ) -> None:
        self._mailboxes = mailboxes
        self._syncs = syncs
        self._list = sync_list
        self._notifications = notifications
        self._ids = ids
        self._seconds_per_message = seconds_per_message

    async def StartSync(self, request: mail_pb2.StartSyncRequest, context: Context) -> mail_pb2.StartSyncResponse:
        mailbox = await find_mailbox(self._mailboxes, request.user_id, request.mailbox)
        report = await self._syncs.start(
            mailbox,
            newest_count=None if request.all else request.newest_count,
            idempotency_key=request.idempotency_key,
        )
        return mail_pb2.StartSyncResponse(sync=self._to_proto(report))

    async def GetSync(self, request: mail_pb2.GetSyncRequest, context: Context) -> mail_pb2.GetSyncResponse:
        sync_id = self._ids.parse_sync(request.sync_id)
        user_id = await owner_of(self._mailboxes, request.user_id, sync_id)
        report = await self._syncs.get(user_id, sync_id, wait_seconds=request.wait_seconds)
        return mail_pb2.GetSyncResponse(sync=self._to_proto(report))

    async def ListSyncs(self, request: mail_pb2.ListSyncsRequest, context: Context) -> mail_pb2.ListSyncsResponse:
        mailboxes = await named_mailboxes(self._mailboxes, request.user_id, request.mailbox)
        page = await self._list.page(mailboxes, page_size=request.page_size, page_token=request.page_token)
        return mail_pb2.ListSyncsResponse(syncs=map(self._to_proto, page.reports), next_page_token=page.next_page_token)

    async def CancelSync(self, request: mail_pb2.CancelSyncRequest, context: Context) -> mail_pb2.CancelSyncResponse:
        sync_id = self._ids.parse_sync(request.sync_id)
        report = await self._syncs.cancel(await owner_of(self._mailboxes, request.user_id, sync_id), sync_id)
        return mail_pb2.CancelSyncResponse(sync=self._to_proto(report))

    async def RetrySync(self, request: mail_pb2.RetrySyncRequest, context: Context) -> mail_pb2.RetrySyncResponse:
        sync_id = self._ids.parse_sync(request.sync_id)
        report = await self._syncs.retry(await owner_of(self._mailboxes, request.user_id, sync_id), sync_id)
        return mail_pb2.RetrySyncResponse(sync=self._to_proto(report))

    async def VerifyMailbox(
        self, request: mail_pb2.VerifyMailboxRequest, context: Context
    ) -> mail_pb2.VerifyMailboxResponse:
        mailbox = await find_mailbox(self._mailboxes, request.user_id, request.mailbox)
        return mail_pb2.VerifyMailboxResponse(sync=self._to_proto(await self._syncs.verify(mailbox)))

    async def AcceptPush(self, request: mail_pb2.AcceptPushRequest, context: Context) -> mail_pb2.AcceptPushResponse:
        hook = HookRequest(
            token=request.token,
            body=request.body,
            headers=[(header.name, header.value) for header in request.headers],
            query=request.query,
        )
        answer = await self._notifications.accept(request.provider, hook)
        return mail_pb2.AcceptPushResponse(status=answer.status, content_type=answer.content_type, body=answer.body)

    def _to_proto(self, report: SyncReport) -> mail_pb2.Sync:
        sync = report.sync
        known = sync.listing_done and sync.ended_at is None
        pace = self._seconds_per_message.get(report.mailbox.provider, 0.0)
        return mail_pb2.Sync(
            sync_id=self._ids.encode_sync(sync.mailbox_id, sync.sync_id),
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
            eta_seconds=round(report.pending_count * pace) if known else None,
            error=sync.error,
            verification=None if sync.verification is None else _verification_to_proto(sync.verification),
            progress_time=timestamp(sync.progress_at),
            access_denied_reason=report.mailbox.access_denied_reason,
            last_error="" if report.wait is None else report.wait.last_error,
            waiting_until_time=None if report.wait is None else timestamp(report.wait.until),
            waiting_for=_WAIT_REASON[None if report.wait is None else report.wait.reason],
            create_time=timestamp(sync.created_at),
            end_time=timestamp(sync.ended_at),
            dead_letters=[
                mail_pb2.DeadLetter(external_id=letter.external_id, reason=letter.reason, attempts=letter.attempts)
                for letter in report.dead_letters
            ],
        )


def _verification_to_proto(verification: Verification) -> mail_pb2.Verification:
    return mail_pb2.Verification(
        done=verification.done,
        missing_count=verification.missing_count,
        extra_count=verification.extra_count,
        drift_count=verification.drift_count,
        digest=verification.digest,
    )
