"""Stored mail by thread."""

from typing import Annotated

from fastapi import Query, Response
from mailroom.mail.v1 import mail_pb2

from services.gateway import conversions
from services.gateway.bearer import RequestCaller
from services.gateway.dependencies import Backends, UserShares
from services.gateway.openapi import problems
from services.gateway.problems.error_codes import OF_A_MAILBOX
from services.gateway.requests.conditional import CONDITIONAL, NOT_MODIFIED
from services.gateway.requests.path_parameters import ThreadId
from services.gateway.requests.routing import Router
from services.gateway.responses import json_response_from
from services.gateway.schemas.requests import MaybeMailboxQuery
from services.gateway.schemas.threads import Thread, ThreadPage, ThreadsQuery, ThreadView
from services.kit.rpc.client import call

router = Router(prefix="/emails/threads", tags=["emails"])


@router.get(
    "",
    response_model=ThreadPage,
    dependencies=[CONDITIONAL],
    responses=NOT_MODIFIED | problems(*OF_A_MAILBOX, "invalid_page_token"),
)
async def list_threads(services: Backends, caller: RequestCaller, query: Annotated[ThreadsQuery, Query()]) -> Response:
    """List the threads of one mailbox, those with the newest messages first."""
    request = mail_pb2.ListThreadsRequest(
        user_id=caller.user_id, mailbox=conversions.selector_of(query), page_size=query.limit, page_token=query.cursor
    )
    page = await call(services.messages.ListThreads, request)
    threads = [_thread(item) for item in page.threads]
    return json_response_from({"threads": threads, "next_cursor": page.next_page_token or None})


@router.get(
    "/{id}",
    response_model=ThreadView,
    dependencies=[CONDITIONAL],
    responses=NOT_MODIFIED | problems(*OF_A_MAILBOX, "thread_not_found", "mailbox_required"),
)
async def get_thread(
    services: Backends,
    shares: UserShares,
    caller: RequestCaller,
    query: Annotated[MaybeMailboxQuery, Query()],
    thread_id: ThreadId,
) -> Response:
    """Get one thread with its messages, oldest first. A user need not name a mailbox."""
    request = mail_pb2.GetThreadRequest(
        user_id=caller.user_id, mailbox=conversions.selector_of(query), thread_id=thread_id
    )
    async with shares.messages.of(caller):
        answer = await call(services.messages.GetThread, request)
        emails = [conversions.email_summary(message) for message in answer.messages]
        return json_response_from({**_thread(answer.thread), "emails": emails})


def _thread(value: mail_pb2.Thread) -> Thread:
    """Return a thread of a mailbox."""
    return {
        "id": value.thread_id,
        "mailbox_id": value.account_id,
        "account_id": value.account_id,
        "subject": value.subject if value.HasField("subject") else None,
        "snippet": value.snippet,
        "last_message_at": conversions.rfc3339(value.last_message_time),
        "message_count": value.message_count,
        "unread_count": value.unread_count,
        "participants": [conversions.email_address(item) for item in value.participants],
        "labels": list(value.labels),
        "has_attachments": value.has_attachments,
    }
