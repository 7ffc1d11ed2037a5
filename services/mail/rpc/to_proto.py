"""Conversion of messages, threads, labels and changes to protobuf."""

from datetime import datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from mailroom.mail.v1 import mail_pb2

from services.mail.content.model import Address
from services.mail.ids import PublicIds
from services.mail.model import Label, Role
from services.mail.read_model import CountedLabel, MessageDetail, MessageSummary, Thread
from services.mail.rpc.downloads import attachment_id_of
from services.mail.store.changes import Change, ChangeKind

_CHANGE_KIND = {
    ChangeKind.CREATED: mail_pb2.CHANGE_KIND_CREATED,
    ChangeKind.UPDATED: mail_pb2.CHANGE_KIND_UPDATED,
    ChangeKind.DELETED: mail_pb2.CHANGE_KIND_DELETED,
    ChangeKind.LABEL_UPDATED: mail_pb2.CHANGE_KIND_LABEL_UPDATED,
    ChangeKind.LABEL_DELETED: mail_pb2.CHANGE_KIND_LABEL_DELETED,
}
_LABEL_ROLE = {
    Role.NONE: mail_pb2.LABEL_ROLE_NONE,
    Role.INBOX: mail_pb2.LABEL_ROLE_INBOX,
    Role.SENT: mail_pb2.LABEL_ROLE_SENT,
    Role.DRAFTS: mail_pb2.LABEL_ROLE_DRAFTS,
    Role.SPAM: mail_pb2.LABEL_ROLE_SPAM,
    Role.TRASH: mail_pb2.LABEL_ROLE_TRASH,
    Role.ARCHIVE: mail_pb2.LABEL_ROLE_ARCHIVE,
}
_LABEL_TYPE = {"system": mail_pb2.LABEL_TYPE_SYSTEM, "user": mail_pb2.LABEL_TYPE_USER}


def timestamp(moment: datetime | None) -> Timestamp | None:
    """Convert a time; None stays None."""
    if moment is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def summary_to_proto(message: MessageSummary, ids: PublicIds) -> mail_pb2.MessageSummary:
    """Convert a message of a list."""
    # `from` is a keyword in Python.
    optional: dict[str, Any] = {} if message.sender is None else {"from": _address_to_proto(message.sender)}
    return mail_pb2.MessageSummary(
        message_id=ids.encode(message.mailbox_id, message.message_id),
        external_id=message.external_id,
        account_id=str(message.account_id),
        thread_id=message.thread_id,
        to=map(_address_to_proto, message.to),
        cc=map(_address_to_proto, message.cc),
        subject=message.subject,
        snippet=message.snippet,
        received_time=timestamp(message.received_at),
        is_read=message.is_read,
        marks=message.marks,
        labels=message.labels,
        has_attachments=message.has_attachments,
        size=message.size,
        highlight=message.highlight,
        **optional,
    )


def label_to_proto(counted: CountedLabel) -> mail_pb2.Label:
    """Convert a label with its counts."""
    label = _label_to_proto(counted.label)
    label.message_count, label.unread_count = counted.message_count, counted.unread_count
    if counted.stale_since is not None:
        label.stale_since_time.FromDatetime(counted.stale_since)
    return label


def _label_to_proto(label: Label) -> mail_pb2.Label:
    return mail_pb2.Label(
        label_id=label.label_id, name=label.name, type=_LABEL_TYPE[label.type], role=_LABEL_ROLE[label.role]
    )


def thread_to_proto(thread: Thread) -> mail_pb2.Thread:
    """Convert a thread."""
    return mail_pb2.Thread(
        thread_id=thread.thread_id,
        account_id=str(thread.account_id),
        subject=thread.subject,
        snippet=thread.snippet,
        last_message_time=timestamp(thread.last_message_at),
        message_count=thread.message_count,
        unread_count=thread.unread_count,
        participants=map(_address_to_proto, thread.participants),
        labels=thread.labels,
        has_attachments=thread.has_attachments,
    )


def change_to_proto(change: Change, mailbox_id: int, ids: PublicIds) -> mail_pb2.Change:
    """Convert a change of the mailbox."""
    return mail_pb2.Change(
        kind=_CHANGE_KIND[change.kind],
        message_id="" if change.message_id is None else ids.encode(mailbox_id, change.message_id),
        message=None if change.message is None else summary_to_proto(change.message, ids),
        label_id=change.label_id or "",
        label=None if change.label is None else _label_to_proto(change.label),
    )


def detail_to_proto(detail: MessageDetail, ids: PublicIds) -> mail_pb2.GetMessageResponse:
    """Convert a message with headers, bodies and attachments."""
    return mail_pb2.GetMessageResponse(
        summary=summary_to_proto(detail.summary, ids),
        headers=[mail_pb2.Header(name=name, value=value) for name, value in detail.headers],
        text=detail.text,
        html=detail.html,
        bcc=map(_address_to_proto, detail.bcc),
        reply_to=map(_address_to_proto, detail.reply_to),
        attachments=[
            mail_pb2.Attachment(
                attachment_id=attachment_id_of(attachment.part_id),
                filename=attachment.filename,
                mime_type=attachment.mime_type,
                size=attachment.size,
                inline=attachment.inline,
                content_id=attachment.content_id or "",
                content_location=attachment.content_location or "",
            )
            for attachment in detail.attachments
        ],
    )


def _address_to_proto(address: Address) -> mail_pb2.Address:
    return mail_pb2.Address(name=address.name, email=address.email)
