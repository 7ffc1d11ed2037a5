"""The feed of changes of stored mail."""

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import nullcontext
from typing import Annotated

from fastapi import Header, Query, Response
from mailroom.mail.v1 import mail_pb2
from pydantic_core import to_json

from services.gateway import conversions
from services.gateway.bearer import RequestCaller
from services.gateway.caller import Caller
from services.gateway.clients import Services
from services.gateway.dependencies import Backends, Polls, UserShares
from services.gateway.http.event_stream import HEARTBEAT, EventStream, event
from services.gateway.limits.long_polls import LongPolls
from services.gateway.limits.shares import Shares
from services.gateway.openapi import problems
from services.gateway.problems.error_codes import OF_A_MAILBOX
from services.gateway.requests.prefer_header import WaitSeconds, applied
from services.gateway.requests.routing import Router
from services.gateway.responses import json_response_from
from services.gateway.schemas.changes import (
    Change,
    ChangePage,
    ChangesQuery,
    LabelChangeType,
    MessageChangeType,
    StreamQuery,
)
from services.gateway.schemas.requests import NO_NUL

router = Router(prefix="/emails", tags=["emails"])

_MESSAGE_CHANGES: dict[int, MessageChangeType] = {
    mail_pb2.CHANGE_KIND_CREATED: "created",
    mail_pb2.CHANGE_KIND_UPDATED: "updated",
    mail_pb2.CHANGE_KIND_DELETED: "deleted",
}
_LABEL_CHANGES: dict[int, LabelChangeType] = {
    mail_pb2.CHANGE_KIND_LABEL_UPDATED: "label_updated",
    mail_pb2.CHANGE_KIND_LABEL_DELETED: "label_deleted",
}

_RESPONSES = problems(*OF_A_MAILBOX, "invalid_since", "resync_required")
# Changes of an event, and seconds between two signs of life.
_EVENT_SIZE = 100
_HEARTBEAT_SECONDS = 15


@router.get("/changes", response_model=ChangePage, responses=_RESPONSES)
async def list_changes(
    services: Backends,
    polls: Polls,
    shares: UserShares,
    caller: RequestCaller,
    wait_seconds: WaitSeconds,
    query: Annotated[ChangesQuery, Query()],
) -> Response:
    """List the changes to the messages and labels of one mailbox since a position.

    Without `since` the answer is the present position. With `Prefer: wait=N` it comes with the next change, at the
    latest after N seconds. A position older than 30 days is 410 `resync_required`.
    """
    request = mail_pb2.ListChangesRequest(
        user_id=caller.user_id,
        mailbox=conversions.selector_of(query),
        since=query.since,
        page_size=query.limit,
        wait_seconds=wait_seconds,
        include_labels=True,
    )
    # A call that waits brings the first change that comes, and has a share of its own.
    async with nullcontext() if wait_seconds else shares.messages.of(caller):
        page = await polls.ask(services.messages.ListChanges, request, caller=caller)
        return json_response_from(_body(page), headers=applied(wait_seconds))


@router.get(
    "/changes/stream",
    response_class=Response,
    responses={
        200: {
            "description": "Server-sent events: `changes`, whose `data` is a page of `GET /emails/changes` and whose "
            "`id` is its `next_since`; `problem` before the stream ends for an error.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        **_RESPONSES,
    },
)
async def stream_changes(
    services: Backends,
    polls: Polls,
    shares: UserShares,
    caller: RequestCaller,
    query: Annotated[StreamQuery, Query()],
    last_event_id: Annotated[
        str, Header(alias="Last-Event-ID", max_length=200, pattern=NO_NUL, description="Goes before `since`")
    ] = "",
) -> Response:
    """Stream the changes to the messages and labels of one mailbox since a position, as they happen.

    Without a position the first event tells the present one. The stream ends with the access token, and when its
    session or key ends: connect again with the last `id`.
    """
    request = mail_pb2.ListChangesRequest(
        user_id=caller.user_id,
        mailbox=conversions.selector_of(query),
        since=last_event_id or query.since,
        page_size=_EVENT_SIZE,
        include_labels=True,
    )
    events = follow(request, services=services, polls=polls, shares=shares, caller=caller)
    return EventStream(events, share=shares.streams.of(caller))


async def follow(
    request: mail_pb2.ListChangesRequest,
    *,
    services: Services,
    polls: LongPolls,
    shares: Shares,
    caller: Caller,
    clock: Callable[[], float] = time.time,
) -> AsyncGenerator[bytes]:
    """Yield the changes after a position, and heartbeats where there are none, while the caller's token is valid."""
    while True:
        async with nullcontext() if request.wait_seconds else shares.messages.of(caller):
            page = await polls.wait(services.messages.ListChanges, request, caller=caller)
            has_news = page.position != request.since
            found = event("changes", to_json(_body(page)), event_id=page.position) if has_news else HEARTBEAT
        yield found
        seconds_left = int(caller.expires_at - clock())
        if polls.are_over or seconds_left <= 0:
            return
        request.since = page.position
        request.wait_seconds = 0 if page.has_more else min(_HEARTBEAT_SECONDS, seconds_left)


def _body(page: mail_pb2.ListChangesResponse) -> ChangePage:
    return {
        "changes": [_change(item, mailbox_id=page.account_id) for item in page.changes],
        "next_since": page.position,
        "has_more": page.has_more,
    }


def _change(value: mail_pb2.Change, *, mailbox_id: str) -> Change:
    """Return a change of a message or of a label of the mailbox."""
    if value.kind in _LABEL_CHANGES:
        return {
            "type": _LABEL_CHANGES[value.kind],
            "id": value.label_id,
            "mailbox_id": mailbox_id,
            "email": None,
            "label": conversions.label_name(value.label) if value.HasField("label") else None,
        }
    return {
        "type": _MESSAGE_CHANGES[value.kind],
        "id": value.message_id,
        "mailbox_id": mailbox_id,
        "email": conversions.email_summary(value.message) if value.HasField("message") else None,
        "label": None,
    }
