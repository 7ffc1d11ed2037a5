"""Stored mail by thread."""

from typing import Annotated

from fastapi import Query, Response
from mailroom.mail.v1.mail_pb2 import GetThreadRequest, ListThreadsRequest

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
from services.gateway.schemas.threads import ThreadPage, ThreadsQuery, ThreadView
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
    request = ListThreadsRequest(
        user_id=caller.user_id, mailbox=conversions.selector_of(query), page_size=query.limit, page_token=query.cursor
    )
    page = await call(services.messages.ListThreads, request)
    threads = [conversions.thread(item) for item in page.threads]
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
    request = GetThreadRequest(user_id=caller.user_id, mailbox=conversions.selector_of(query), thread_id=thread_id)
    async with shares.messages.of(caller.user_id):
        answer = await call(services.messages.GetThread, request)
        emails = [conversions.email_summary(message) for message in answer.messages]
        return json_response_from({**conversions.thread(answer.thread), "emails": emails})
