"""Threads."""

from typing import Annotated, TypedDict

from pydantic import Field

from services.gateway.schemas.emails import EmailAddress, EmailSummary
from services.gateway.schemas.ids import MailboxUuid, MessageCount, NextCursor, OlderMailboxUuid, UnreadCount
from services.gateway.schemas.requests import Cursor, Limit, MailboxQuery
from services.gateway.schemas.times import Time


class Thread(TypedDict):
    """The stored messages with one `thread_id`."""

    id: Annotated[str, Field(description="The `thread_id` of its messages")]
    mailbox_id: MailboxUuid
    account_id: OlderMailboxUuid
    subject: Annotated[str | None, Field(description="The oldest message's")]
    snippet: Annotated[str, Field(description="The newest message's")]
    last_message_at: Annotated[Time, Field(description="When its newest message was received")]
    message_count: MessageCount
    unread_count: UnreadCount
    participants: Annotated[list[EmailAddress], Field(description="Senders, in order; at most 20")]
    labels: Annotated[list[str], Field(description="Names, of all its messages")]
    has_attachments: Annotated[bool, Field(description="Whether a message of it has one")]


class ThreadPage(TypedDict):
    """A page of threads, those with the newest messages first."""

    threads: Annotated[list[Thread], Field(description="Those with the newest messages first")]
    next_cursor: NextCursor


class ThreadView(Thread):
    """A thread with its messages."""

    emails: Annotated[list[EmailSummary], Field(description="Oldest first; of a longer thread the newest 1000")]


class ThreadsQuery(MailboxQuery):
    """The parameters of a list of threads."""

    limit: Limit = 50
    cursor: Cursor = ""
