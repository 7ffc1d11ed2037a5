"""Conversion of request fields to domain types."""

from datetime import UTC, datetime
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from mailroom.mail.v1 import mail_pb2

from services.kit.errors import AppError, Kind
from services.mail.ids import FeedPosition, PublicIds
from services.mail.mailboxes import Mailboxes
from services.mail.model import OpenMailbox
from services.mail.read_model import MessageFilter


async def find_mailbox(mailboxes: Mailboxes, user_id: str, selector: mail_pb2.MailboxSelector) -> OpenMailbox:
    """Return the selected mailbox. Raises AppError mailbox_required, mailbox_not_found, ambiguous_address."""
    user = uuid_of(user_id, "user_id")
    match selector.WhichOneof("selector"):
        case "account_id":
            return await mailboxes.find(user, account_id=uuid_of(selector.account_id, "account_id"))
        case "email":
            return await mailboxes.find(user, email=selector.email)
        case _:
            raise AppError(Kind.INVALID, "mailbox_required", "Name a mailbox by account_id or by e-mail address.")


async def named_mailboxes(mailboxes: Mailboxes, user_id: str, selector: mail_pb2.MailboxSelector) -> list[OpenMailbox]:
    """Return the mailbox that is named, or all of the user's if none is. Raises AppError as find_mailbox does."""
    if selector.WhichOneof("selector") is None:
        return await mailboxes.all_of(uuid_of(user_id, "user_id"))
    return [await find_mailbox(mailboxes, user_id, selector)]


def uuid_of(value: str, field: str) -> UUID:
    """Parse the value of a UUID field. Raises AppError invalid_{field}."""
    try:
        return UUID(value)
    except ValueError:
        raise AppError(Kind.INVALID, f"invalid_{field}", f"{field} is not a UUID.") from None


def position_of(since: str, ids: PublicIds) -> FeedPosition | None:
    """Parse a position in a change feed; None for the empty one. Raises AppError invalid_since."""
    position = ids.parse_position(since)
    if since and position is None:
        raise AppError(Kind.INVALID, "invalid_since", "since is not a position that this feed gave.")
    return position


def filter_of(request: mail_pb2.ListMessagesRequest | mail_pb2.ExportMessagesRequest) -> MessageFilter:
    """Return the filter of a request. Raises AppError invalid_time."""
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
