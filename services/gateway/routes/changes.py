"""The feed of changes of stored mail."""

from contextlib import nullcontext
from typing import Annotated

from fastapi import Query, Response
from mailroom.mail.v1.mail_pb2 import ListChangesRequest

from services.gateway import conversions
from services.gateway.bearer import SignedIn
from services.gateway.dependencies import Backends, Polls, UserId, UserShares
from services.gateway.openapi import problems
from services.gateway.problems.error_codes import OF_A_MAILBOX
from services.gateway.requests.prefer_header import WaitSeconds, applied
from services.gateway.requests.routing import Router
from services.gateway.responses import json_response_from
from services.gateway.schemas.changes import ChangePage, ChangesQuery

router = Router(prefix="/emails", tags=["emails"])

_RESPONSES = problems(*OF_A_MAILBOX, "invalid_since", "resync_required")


@router.get("/changes", response_model=ChangePage, responses=_RESPONSES)
async def list_changes(
    services: Backends,
    polls: Polls,
    shares: UserShares,
    user_id: UserId,
    caller: SignedIn,
    wait_seconds: WaitSeconds,
    query: Annotated[ChangesQuery, Query()],
) -> Response:
    """List the changes to the messages and labels of one mailbox since a position.

    Without `since` the answer is the present position. With `Prefer: wait=N` it comes with the next change, at the
    latest after N seconds. A position older than 30 days is 410 `resync_required`.
    """
    request = ListChangesRequest(
        user_id=user_id,
        mailbox=conversions.selector_of(query),
        since=query.since,
        page_size=query.limit,
        wait_seconds=wait_seconds,
        include_labels=True,
    )
    # A call that waits brings the first change that comes, and has a share of its own.
    async with nullcontext() if wait_seconds else shares.messages.of(user_id):
        page = await polls.ask(services.messages.ListChanges, request, caller=caller)
        return json_response_from(
            {
                "changes": [conversions.change(item, mailbox_id=page.account_id) for item in page.changes],
                "next_since": page.position,
                "has_more": page.has_more,
            },
            headers=applied(wait_seconds),
        )
