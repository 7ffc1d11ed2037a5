"""What happened in the application: to its users, their mailboxes, and its keys."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from services.console.gateway import calls
from services.console.pages.visit import Visited
from services.console.words.events import EVENTS, event_state

router = APIRouter()

_PAGE = 50
type Wanted = Annotated[str, Query(max_length=64)]


@router.get("/audit")
async def list_events(
    visit: Visited,
    type: Wanted = "",  # noqa: A002 - the name of the parameter
    user: Wanted = "",
    key: Wanted = "",
    cursor: Annotated[str, Query(max_length=2048)] = "",
) -> Response:
    """Show events, newest first: all, or those of a type, of a user, of a key."""
    page = await visit.ask(calls.list_audit_events(limit=_PAGE, type_=type, user_id=user, key_id=key, cursor=cursor))
    return visit.show(
        "audit.html",
        rows=[(event, event_state(event["type"])) for event in page["events"]],
        next_cursor=page["next_cursor"],
        kinds=EVENTS,
        wanted={"type": type, "user": user, "key": key},
        is_first_page=not cursor,
    )
