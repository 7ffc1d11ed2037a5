"""Threads."""

from typing import Annotated, TypedDict

from pydantic import Field

from services.gateway.schemas.emails import EmailAddress, EmailSummary
from services.gateway.schemas.requests import MAX_LIMIT, NO_NUL, MailboxQuery
from services.gateway.schemas.times import Time


class Thread(TypedDict):
    """The stored messages with one `thread_id`."""

    id: str
    account_id: str
    subject: Annotated[str | None, Field(description="The oldest message's")]
    snippet: Annotated[str, Field(description="The newest message's")]
    last_message_at: Time
    message_count: int
    unread_count: int
    participants: Annotated[list[EmailAddress], Field(description="Senders, in order; at most 20")]
    labels: Annotated[list[str], Field(description="Names, of all its messages")]
    has_attachments: bool


class ThreadPage(TypedDict):
    """A page of threads, those with the newest messages first."""

    threads: list[Thread]
    next_cursor: Annotated[str | None, Field(description="Give it as `cursor` for the next page; null on the last one")]


class ThreadView(Thread):
    """A thread with its messages."""

    emails: Annotated[list[EmailSummary], Field(description="Oldest first; of a longer thread the newest 1000")]


class ThreadsQuery(MailboxQuery):
    """The parameters of a list of threads."""

    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = 50
    cursor: Annotated[str, Field(max_length=2048, pattern=NO_NUL)] = ""
