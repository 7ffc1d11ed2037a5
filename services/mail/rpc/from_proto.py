"""Conversion of request fields to domain types."""

from datetime import UTC, datetime
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from mailroom.mail.v1 import mail_pb2

from services.kit.errors import AppError, Kind
from services.kit.principals import current_principal
from services.mail.ids import FeedPosition, PublicId, PublicIds
from services.mail.mailboxes import Mailboxes
from services.mail.model import OpenMailbox, Reach
from services.mail.read_model import MessageFilter

_OF_NOTHING = UUID(int=0)


async def find_mailbox(mailboxes: Mailboxes, user_id: str, selector: mail_pb2.MailboxSelector) -> OpenMailbox:
    """Return the selected mailbox. Raises AppError mailbox_required, mailbox_not_found, ambiguous_address."""
    account_id, email = None, None
    match selector.WhichOneof("selector"):
        case "account_id":
            account_id = account_id_of(selector.account_id)
        case "email":
            email = selector.email
        case _:
            raise AppError(Kind.INVALID, "mailbox_required", "Name a mailbox by mailbox_id or by e-mail address.")
    if (reach := reach_of_caller()) is not None:
        return await mailboxes.find_within(reach, account_id=account_id, email=email)
    return await mailboxes.find(user_id_of(user_id), account_id=account_id, email=email)


async def named_mailboxes(mailboxes: Mailboxes, user_id: str, selector: mail_pb2.MailboxSelector) -> list[OpenMailbox]:
    """Return the mailbox that is named, or all of the user's if none is; an API key has to name one.

    Raises AppError as find_mailbox does.
    """
    if selector.WhichOneof("selector") is None and reach_of_caller() is None:
        return await mailboxes.all_of(user_id_of(user_id))
    return [await find_mailbox(mailboxes, user_id, selector)]


def reach_of_caller() -> Reach | None:
    """Return what the API key reaches that asks; None if a user asks."""
    principal = current_principal()
    if principal is None or principal.application_id is None:
        return None
    return Reach(application_id=principal.application_id, account_ids=principal.mailbox_ids)


async def owner_of(mailboxes: Mailboxes, user_id: str, public_id: PublicId | None) -> UUID:
    """Return the user whose mailbox has this id: the one that asks, or the owner of a mailbox that the key reaches.

    Out of its reach it is a user without mailboxes. Raises AppError invalid_user_id.
    """
    reach = reach_of_caller()
    if reach is None:
        return user_id_of(user_id)
    owner = None if public_id is None else await mailboxes.owner(public_id.mailbox_id, reach)
    return owner or _OF_NOTHING


def id_or_none(value: str) -> UUID | None:
    """Return the id in a filter; None for an empty one. A malformed id is that of nothing."""
    try:
        return UUID(value) if value else None
    except ValueError:
        return _OF_NOTHING


def user_id_of(value: str) -> UUID:
    """Parse the id of a user. Raises AppError invalid_user_id."""
    try:
        return UUID(value)
    except ValueError:
        raise AppError(Kind.INVALID, "invalid_user_id", "user_id is not a UUID.") from None


def account_id_of(value: str) -> UUID:
    """Parse the id of an account, which its mailbox has, too. Raises AppError invalid_account_id."""
    try:
        return UUID(value)
    except ValueError:
        raise AppError(Kind.INVALID, "invalid_account_id", "The id of a mailbox is a UUID.") from None


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
