"""The feed of a mailbox, as it grows."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from services.console.gateway import calls
from services.console.pages.visit import Visited, Watched
from services.console.routes.mail import choose, mailboxes_of

router = APIRouter()

# Seconds for which the gateway holds an answer: shorter than proxies wait for one.
_WAIT = 25
type Since = Annotated[str, Query(max_length=200)]


@router.get("/changes")
async def choose_mailbox(visit: Visited) -> Response:
    """Lead to the changes of a mailbox."""
    return await choose(visit, "changes", "Changes")


@router.get("/mailboxes/{mailbox_id}/changes")
async def show_changes(visit: Visited, mailbox_id: str, since: Since = "") -> Response:
    """Show the changes from a position on, by default from the present one, and those to come."""
    mailboxes = await mailboxes_of(visit)
    mailbox = await visit.ask(calls.get_mailbox(mailbox_id))
    position = since or (await visit.ask(calls.list_changes(mailbox_id)))["next_since"]
    return visit.show("changes.html", mailbox=mailbox, mailboxes=mailboxes, since=position)


@router.get("/mailboxes/{mailbox_id}/changes/next")
async def wait_for_changes(visit: Watched, mailbox_id: str, since: Since) -> Response:
    """Wait for changes after a position: they go above those that the page shows, and the next wait begins."""
    page = await visit.ask(calls.list_changes(mailbox_id, since=since, wait=_WAIT))
    seen = visit.now.isoformat()
    return visit.show(
        "parts/changes.html", changes=page["changes"], since=page["next_since"], mailbox_id=mailbox_id, seen=seen
    )
