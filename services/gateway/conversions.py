"""Conversions between protobuf and the JSON of the public API that several routes share."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, cast

from google.protobuf.timestamp_pb2 import Timestamp
from mailroom.auth.v1 import auth_pb2
from mailroom.mail.v1 import mail_pb2

from services.gateway.schemas.addresses import AccessStatus, Address, Mailbox
from services.gateway.schemas.changes import LabelName
from services.gateway.schemas.emails import (
    Attachment,
    Email,
    EmailAddress,
    EmailSummary,
    FilterQuery,
    LabelRole,
    Mark,
)
from services.gateway.schemas.requests import MailboxName
from services.gateway.schemas.sessions import Account, Token

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OFFSET = len("+00:00")

# Other values are those of a mail service of an earlier or a later release.
_LABEL_ROLE: dict[int, LabelRole] = {
    mail_pb2.LABEL_ROLE_INBOX: "inbox",
    mail_pb2.LABEL_ROLE_SENT: "sent",
    mail_pb2.LABEL_ROLE_DRAFTS: "drafts",
    mail_pb2.LABEL_ROLE_SPAM: "spam",
    mail_pb2.LABEL_ROLE_TRASH: "trash",
    mail_pb2.LABEL_ROLE_ARCHIVE: "archive",
}
_LABEL_TYPE: dict[int, Literal["system", "user"]] = {
    mail_pb2.LABEL_TYPE_SYSTEM: "system",
    mail_pb2.LABEL_TYPE_USER: "user",
}


def access_status(*, is_active: bool, access_denied_reason: str) -> AccessStatus:
    """Return the status of an account or mailbox. An ended grant goes first: a new sign-in is needed in any case."""
    if not is_active:
        return "reauth_required"
    return "access_denied" if access_denied_reason else "active"


def rfc3339(value: Timestamp) -> str:
    """Format a time in UTC with milliseconds."""
    moment = _EPOCH + timedelta(seconds=value.seconds, microseconds=value.nanos // 1000)
    return moment.isoformat(timespec="milliseconds")[:-_OFFSET] + "Z"


def seconds_until(moment: Timestamp) -> int:
    """Return the seconds until a time; 0 if it has passed."""
    return max(0, round(moment.seconds + moment.nanos / 1e9 - time.time()))


def session_tokens(answer: auth_pb2.RedeemSignInResponse | auth_pb2.RefreshSessionResponse) -> Token:
    """Return the tokens of a new or refreshed session."""
    return {
        "access_token": answer.access_token,
        "token_type": "Bearer",
        "expires_in": seconds_until(answer.expire_time),
        "refresh_token": answer.refresh_token,
    }


def selector_of(named: MailboxName) -> mail_pb2.MailboxSelector:
    """Return the selector of the mailbox that a request names; an empty one if it names none."""
    if (mailbox_id := named.mailbox_id or named.account_id) is not None:
        return mail_pb2.MailboxSelector(account_id=mailbox_id)
    if (email := named.email or named.user_email) is not None:
        return mail_pb2.MailboxSelector(email=email)
    return mail_pb2.MailboxSelector()


def filter_fields(query: FilterQuery) -> dict[str, Any]:
    """Return the fields that requests for messages share: the mailbox and the filters."""
    return {
        "mailbox": selector_of(query),
        "query": query.q,
        "label": query.label,
        "thread_id": query.thread_id,
        "unread": query.unread,
        "has_attachment": query.has_attachment,
        "after_time": timestamp(query.after),
        "before_time": timestamp(query.before),
    }


def email_summary(message: mail_pb2.MessageSummary) -> EmailSummary:
    """Return a message as lists show it."""
    sender = email_address(getattr(message, "from")) if message.HasField("from") else None
    shown: EmailSummary = {
        "id": message.message_id,
        "external_id": message.external_id,
        "mailbox_id": message.account_id,
        "account_id": message.account_id,
        "thread_id": message.thread_id,
        "from_email": sender["email"] if sender else None,
        "from": sender,
        "to": [email_address(item) for item in message.to],
        "cc": [email_address(item) for item in message.cc],
        "subject": message.subject if message.HasField("subject") else None,
        "snippet": message.snippet,
        "received_at": rfc3339(message.received_time),
        "is_read": message.is_read,
        "marks": cast("list[Mark]", list(message.marks)),
        "labels": list(message.labels),
        "has_attachments": message.has_attachments,
        "size": message.size,
    }
    if message.HasField("highlight"):
        shown["highlight"] = message.highlight
    return shown


def timestamp(moment: datetime | None) -> Timestamp | None:
    """Return the protobuf form of a time."""
    if moment is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def email(message: mail_pb2.GetMessageResponse, *, html: str | None) -> Email:
    """Return a whole message, with `html` in place of its original HTML."""
    return {
        **email_summary(message.summary),
        "bcc": [email_address(item) for item in message.bcc],
        "reply_to": [email_address(item) for item in message.reply_to],
        "headers": [{"name": item.name, "value": item.value} for item in message.headers],
        "text": message.text if message.HasField("text") else None,
        "html": html,
        "attachments": [_attachment(item) for item in message.attachments],
    }


def email_address(address: mail_pb2.Address) -> EmailAddress:
    """Return a sender or recipient."""
    return {"name": address.name, "email": address.email}


def _attachment(attachment: mail_pb2.Attachment) -> Attachment:
    return {
        "id": attachment.attachment_id,
        "filename": attachment.filename,
        "mime_type": attachment.mime_type,
        "size": attachment.size,
        "inline": attachment.inline,
        "content_id": attachment.content_id or None,
    }


def account(account: auth_pb2.Account) -> Account:
    """Return a connected account."""
    by = account.reconnect_by_time if account.HasField("reconnect_by_time") else None
    return {
        "account_id": account.account_id,
        "mailbox_id": account.account_id,
        "provider": account.provider,
        "email": account.email,
        "status": access_status(
            is_active=account.status == auth_pb2.ACCOUNT_STATUS_ACTIVE,
            access_denied_reason=account.access_denied_reason,
        ),
        "access_denied_reason": account.access_denied_reason or None,
        "connected_at": rfc3339(account.create_time),
        "reconnect_by": None if by is None else rfc3339(by),
    }


def address(value: mail_pb2.Mailbox) -> Address:
    """Return a connected mailbox, with the older name of its id."""
    return {"account_id": value.account_id, **mailbox(value)}


def mailbox(mailbox: mail_pb2.Mailbox) -> Mailbox:
    """Return a connected mailbox."""
    return {
        "mailbox_id": mailbox.account_id,
        "email": mailbox.email,
        "provider": mailbox.provider,
        "status": access_status(
            is_active=mailbox.status == mail_pb2.MAILBOX_STATUS_ACTIVE,
            access_denied_reason=mailbox.access_denied_reason,
        ),
        "access_denied_reason": mailbox.access_denied_reason or None,
        "reconnect_by": rfc3339(mailbox.reconnect_by_time) if mailbox.HasField("reconnect_by_time") else None,
        "last_synced_at": rfc3339(mailbox.last_synced_time) if mailbox.HasField("last_synced_time") else None,
        "message_count": mailbox.message_count,
        "unread_count": mailbox.unread_count,
        "user_id": mailbox.user_id,
    }


def label_name(value: mail_pb2.Label) -> LabelName:
    """Return what changes and lists show of a label alike."""
    return {
        "id": value.label_id,
        "name": value.name,
        "type": _LABEL_TYPE[value.type],
        "role": _LABEL_ROLE.get(value.role, "none"),
    }
