"""The servicer of mailroom.mail.v1.MailboxService."""

from mailroom.mail.v1 import mail_pb2, mail_pb2_grpc

from services.kit.rpc.server import Context
from services.mail.disconnect import Disconnections
from services.mail.mailboxes import Mailboxes
from services.mail.model import MailboxOverview, MailboxStatus
from services.mail.rpc.from_proto import uuid_of
from services.mail.rpc.to_proto import timestamp

_MAILBOX_STATUS = {
    MailboxStatus.ACTIVE: mail_pb2.MAILBOX_STATUS_ACTIVE,
    MailboxStatus.REAUTH_REQUIRED: mail_pb2.MAILBOX_STATUS_REAUTH_REQUIRED,
}


class MailboxServicer(mail_pb2_grpc.MailboxServiceServicer):
    """Mailboxes: list, disconnect, delete a user's mail."""

    def __init__(self, mailboxes: Mailboxes, disconnections: Disconnections) -> None:
        self._mailboxes = mailboxes
        self._disconnections = disconnections

    async def ListMailboxes(
        self, request: mail_pb2.ListMailboxesRequest, context: Context
    ) -> mail_pb2.ListMailboxesResponse:
        overviews = await self._mailboxes.overviews(uuid_of(request.user_id, "user_id"))
        return mail_pb2.ListMailboxesResponse(mailboxes=map(_overview_to_proto, overviews))

    async def RefreshMailboxes(
        self, request: mail_pb2.RefreshMailboxesRequest, context: Context
    ) -> mail_pb2.RefreshMailboxesResponse:
        await self._mailboxes.refresh(uuid_of(request.user_id, "user_id"))
        return mail_pb2.RefreshMailboxesResponse()

    async def DisconnectMailbox(
        self, request: mail_pb2.DisconnectMailboxRequest, context: Context
    ) -> mail_pb2.DisconnectMailboxResponse:
        user_id, account_id = uuid_of(request.user_id, "user_id"), uuid_of(request.account_id, "account_id")
        return mail_pb2.DisconnectMailboxResponse(erased=await self._disconnections.disconnect(user_id, account_id))

    async def DeleteUser(self, request: mail_pb2.DeleteUserRequest, context: Context) -> mail_pb2.DeleteUserResponse:
        erased = await self._disconnections.delete_user(uuid_of(request.user_id, "user_id"))
        return mail_pb2.DeleteUserResponse(erased=erased)


def _overview_to_proto(overview: MailboxOverview) -> mail_pb2.Mailbox:
    return mail_pb2.Mailbox(
        account_id=str(overview.mailbox.account_id),
        email=overview.mailbox.email,
        provider=overview.mailbox.provider,
        status=_MAILBOX_STATUS[overview.mailbox.status],
        last_synced_time=timestamp(overview.last_synced_at),
        message_count=overview.message_count,
        unread_count=overview.unread_count,
        reconnect_by_time=timestamp(overview.reconnect_by),
        access_denied_reason=overview.mailbox.access_denied_reason,
    )
