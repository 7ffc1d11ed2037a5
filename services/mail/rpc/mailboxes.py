"""The servicer of mailroom.mail.v1.MailboxService."""

from mailroom.mail.v1 import mail_pb2, mail_pb2_grpc

from services.kit.errors import AppError, Kind
from services.kit.rpc.server import Context
from services.mail.disconnect import Disconnections
from services.mail.ids import PublicIds
from services.mail.mailboxes import Mailboxes
from services.mail.model import MailboxOverview, MailboxQuery, MailboxStatus
from services.mail.rpc.from_proto import account_id_of, id_or_none, reach_of_caller, user_id_of
from services.mail.rpc.to_proto import timestamp

_MAILBOX_STATUS = {
    MailboxStatus.ACTIVE: mail_pb2.MAILBOX_STATUS_ACTIVE,
    MailboxStatus.REAUTH_REQUIRED: mail_pb2.MAILBOX_STATUS_REAUTH_REQUIRED,
}


_STATUS_OF = {value: status for status, value in _MAILBOX_STATUS.items()}
_LARGEST_PAGE = 200


class MailboxServicer(mail_pb2_grpc.MailboxServiceServicer):
    """Mailboxes: list, disconnect, delete a user's mail."""

    def __init__(self, mailboxes: Mailboxes, disconnections: Disconnections, *, ids: PublicIds) -> None:
        self._mailboxes = mailboxes
        self._ids = ids
        self._disconnections = disconnections

    async def ListMailboxes(
        self, request: mail_pb2.ListMailboxesRequest, context: Context
    ) -> mail_pb2.ListMailboxesResponse:
        query = self._query_of(request)
        overviews = await self._mailboxes.overviews(query)
        # One more was asked for than a page has.
        page = overviews if query.limit is None else overviews[: query.limit - 1]
        last = page[-1].mailbox.mailbox_id if len(page) < len(overviews) else 0
        return mail_pb2.ListMailboxesResponse(
            mailboxes=map(_overview_to_proto, page),
            next_page_token=self._ids.encode(last, 0) if last else "",
        )

    def _query_of(self, request: mail_pb2.ListMailboxesRequest) -> MailboxQuery:
        """Return the query of a request. Raises AppError invalid_user_id, invalid_account_id, invalid_page_token."""
        reach = reach_of_caller()
        owner = request.user_id if reach is None else request.owner_id
        position = self._ids.parse(request.page_token)
        if request.page_token and position is None:
            raise AppError(Kind.INVALID, "invalid_page_token", "The page token is not one of this list.")
        return MailboxQuery(
            user_id=user_id_of(owner) if reach is None else id_or_none(owner),
            reach=reach,
            account_id=account_id_of(request.account_id) if request.account_id else None,
            email=request.email,
            provider=request.provider,
            status=_STATUS_OF.get(request.status),
            is_denied=request.access_denied if request.HasField("access_denied") else None,
            after=0 if position is None else position.mailbox_id,
            # An application can have very many mailboxes.
            limit=min(request.page_size or _LARGEST_PAGE, _LARGEST_PAGE) + 1 if request.page_size or reach else None,
        )

    async def RefreshMailboxes(
        self, request: mail_pb2.RefreshMailboxesRequest, context: Context
    ) -> mail_pb2.RefreshMailboxesResponse:
        if (reach := reach_of_caller()) is None:
            await self._mailboxes.refresh(user_id_of(request.user_id), signed_in=True)
            if not request.account_id:
                return mail_pb2.RefreshMailboxesResponse()
            account_id = account_id_of(request.account_id)
        else:
            account_id = account_id_of(request.account_id)
            await self._mailboxes.refresh_within(reach, account_id=account_id, signed_in=True)
        return mail_pb2.RefreshMailboxesResponse(disconnected=await self._disconnections.is_requested(account_id))

    async def DisconnectMailbox(
        self, request: mail_pb2.DisconnectMailboxRequest, context: Context
    ) -> mail_pb2.DisconnectMailboxResponse:
        account_id = account_id_of(request.account_id)
        if (reach := reach_of_caller()) is None:
            user_id = user_id_of(request.user_id)
        elif (owner := await self._mailboxes.owner_of_account(account_id, reach)) is not None:
            user_id = owner
        else:
            user_id = (await self._mailboxes.find_within(reach, account_id=account_id)).user_id
        return mail_pb2.DisconnectMailboxResponse(erased=await self._disconnections.disconnect(user_id, account_id))

    async def DeleteUser(self, request: mail_pb2.DeleteUserRequest, context: Context) -> mail_pb2.DeleteUserResponse:
        if (reach := reach_of_caller()) is None:
            erased = await self._disconnections.delete_user(user_id_of(request.user_id))
        else:
            erased = await self._disconnections.delete_user_within(user_id_of(request.deleted_user_id), reach)
        return mail_pb2.DeleteUserResponse(erased=erased)


def _overview_to_proto(overview: MailboxOverview) -> mail_pb2.Mailbox:
    return mail_pb2.Mailbox(
        account_id=str(overview.mailbox.account_id),
        user_id=str(overview.mailbox.user_id),
        email=overview.mailbox.email,
        provider=overview.mailbox.provider,
        status=_MAILBOX_STATUS[overview.mailbox.status],
        last_synced_time=timestamp(overview.last_synced_at),
        message_count=overview.message_count,
        unread_count=overview.unread_count,
        reconnect_by_time=timestamp(overview.reconnect_by),
        access_denied_reason=overview.mailbox.access_denied_reason,
    )
