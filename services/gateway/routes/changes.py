"""Following what happens to stored mail."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Response
from mailroom.mail.v1.mail_pb2 import ListChangesRequest

from services.gateway import conversions
from services.gateway.answers import json_answer
from services.gateway.dependencies import Backends, UserId
from services.gateway.openapi import problems
from services.gateway.preferences import WaitSeconds
from services.gateway.schemas.changes import ChangePage, ChangesQuery
from services.kit.rpc_client import DEFAULT_TIMEOUT, call

router = APIRouter(prefix="/emails", tags=["emails"])

_RESPONSES = problems(
    HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.GONE
)


@router.get("/changes", response_model=ChangePage, responses=_RESPONSES)
async def list_changes(
    services: Backends, user_id: UserId, wait_seconds: WaitSeconds, query: Annotated[ChangesQuery, Query()]
) -> Response:
    """What happened to the messages of one mailbox since a position.

    Without `since` the answer is the present position. With `Prefer: wait=N` it comes when something happens, at the
    latest after N seconds. A position older than 30 days is 410 `resync_required`.
    """
    request = ListChangesRequest(
        user_id=user_id,
        mailbox=conversions.selector_of(query),
        since=query.since,
        page_size=query.limit,
        wait_seconds=wait_seconds,
    )
    page = await call(services.messages.ListChanges, request, timeout=wait_seconds + DEFAULT_TIMEOUT)
    return json_answer(
        {
            "changes": [conversions.change(item) for item in page.changes],
            "next_since": page.position,
            "has_more": page.has_more,
        },
        headers={"Preference-Applied": f"wait={wait_seconds}"} if wait_seconds else {},
    )
