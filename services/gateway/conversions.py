"""Conversion of protobuf messages to the JSON of the public API, and of parameters to protobuf."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, cast

from google.protobuf.timestamp_pb2 import Timestamp
from mailroom.auth.v1 import auth_pb2
from mailroom.mail.v1 import mail_pb2

from services.gateway.schemas.addresses import AccessStatus, Address, Mailbox
from services.gateway.schemas.changes import Change, ChangeType, LabelName
from services.gateway.schemas.emails import (
    Attachment,
    Email,
    EmailAddress,
    EmailSummary,
    FilterQuery,
    Label,
    LabelRole,
    Mark,
)
from services.gateway.schemas.requests import MailboxName
from services.gateway.schemas.sessions import Account, Token
from services.gateway.schemas.syncs import Sync, SyncState, SyncSummary, Verification, WaitReason
from services.gateway.schemas.threads import Thread

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OFFSET = len("+00:00")

_SYNC_STATE: dict[int, SyncState] = {
    mail_pb2.SYNC_STATE_QUEUED: "queued",
    mail_pb2.SYNC_STATE_RUNNING: "running",
    mail_pb2.SYNC_STATE_COMPLETED: "completed",
    mail_pb2.SYNC_STATE_FAILED: "failed",
    mail_pb2.SYNC_STATE_CANCELLED: "cancelled",
}
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

_WAIT_REASON: dict[int, WaitReason] = {
    mail_pb2.WAIT_REASON_QUOTA: "quota",
    mail_pb2.WAIT_REASON_QUOTA_PROJECT: "quota_project",
    mail_pb2.WAIT_REASON_QUOTA_DAY: "quota_day",
    mail_pb2.WAIT_REASON_QUOTA_SERVICE: "quota_service",
    mail_pb2.WAIT_REASON_PROVIDER: "provider",
    mail_pb2.WAIT_REASON_ACCESS: "access",
    mail_pb2.WAIT_REASON_MAILROOM: "mailroom",
}
_CHANGE_KIND: dict[int, ChangeType] = {
    mail_pb2.CHANGE_KIND_CREATED: "created",
    mail_pb2.CHANGE_KIND_UPDATED: "updated",
    mail_pb2.CHANGE_KIND_DELETED: "deleted",
    mail_pb2.CHANGE_KIND_LABEL_UPDATED: "label_updated",
    mail_pb2.CHANGE_KIND_LABEL_DELETED: "label_deleted",
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


def label(value: mail_pb2.Label, *, mailbox_id: str) -> Label:
    """Return a label of the mailbox."""
    return {
        "id": value.label_id,
        "mailbox_id": mailbox_id,
        "name": value.name,
        "type": _LABEL_TYPE[value.type],
        "role": _LABEL_ROLE.get(value.role, "none"),
        "message_count": value.message_count,
        "unread_count": value.unread_count,
        "stale_since": rfc3339(value.stale_since_time) if value.HasField("stale_since_time") else None,
    }


def thread(value: mail_pb2.Thread) -> Thread:
    """Return a thread of a mailbox."""
    return {
        "id": value.thread_id,
        "mailbox_id": value.account_id,
        "account_id": value.account_id,
        "subject": value.subject if value.HasField("subject") else None,
        "snippet": value.snippet,
        "last_message_at": rfc3339(value.last_message_time),
        "message_count": value.message_count,
        "unread_count": value.unread_count,
        "participants": [email_address(item) for item in value.participants],
        "labels": list(value.labels),
        "has_attachments": value.has_attachments,
    }


def change(value: mail_pb2.Change, *, mailbox_id: str) -> Change:
    """Return a change of a message or of a label of the mailbox."""
    return {
        "type": _CHANGE_KIND[value.kind],
        "id": value.message_id or value.label_id,
        "mailbox_id": mailbox_id,
        "email": email_summary(value.message) if value.HasField("message") else None,
        "label": _label_name(value.label) if value.HasField("label") else None,
    }


def _label_name(value: mail_pb2.Label) -> LabelName:
    return {
        "id": value.label_id,
        "name": value.name,
        "type": _LABEL_TYPE[value.type],
        "role": _LABEL_ROLE.get(value.role, "none"),
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


def _verification(value: mail_pb2.Verification) -> Verification:
    return {
        "done": value.done,
        "missing": value.missing_count,
        "extra": value.extra_count,
        "drift": value.drift_count,
        "digest": value.digest or None,
    }


def sync(value: mail_pb2.Sync) -> Sync:
    """Return a sync with its progress and dead letters."""
    return {
        **sync_summary(value),
        "dead_letters": [
            {"external_id": item.external_id, "reason": item.reason, "attempts": item.attempts}
            for item in value.dead_letters
        ],
    }


def sync_summary(value: mail_pb2.Sync) -> SyncSummary:
    """Return a sync as lists show it."""
    return {
        "id": value.sync_id,
        "mailbox_id": value.account_id,
        "account_id": value.account_id,
        "email": value.email,
        "state": _SYNC_STATE[value.state],
        "count": value.newest_count if value.HasField("newest_count") else "all",
        "listed": value.listed_count,
        "stored": value.stored_count,
        "pending": value.pending_count,
        "dead_letter_count": value.dead_letter_count,
        "units_spent": value.units_spent,
        "units_per_message": value.units_per_message if value.HasField("units_per_message") else None,
        "eta_seconds": value.eta_seconds if value.HasField("eta_seconds") else None,
        "verification": _verification(value.verification) if value.HasField("verification") else None,
        "error": value.error or None,
        "last_error": value.last_error or None,
        "access_denied_reason": value.access_denied_reason or None,
        "waiting_until": rfc3339(value.waiting_until_time) if value.HasField("waiting_until_time") else None,
        "waiting_for": _WAIT_REASON.get(value.waiting_for),
        "progress_at": rfc3339(value.progress_time) if value.HasField("progress_time") else None,
        "created_at": rfc3339(value.create_time),
        "ended_at": rfc3339(value.end_time) if value.HasField("end_time") else None,
    }
