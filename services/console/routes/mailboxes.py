"""Mailboxes: their states, syncs, verification, and the end of a connection."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Response

from services.console.gateway import calls
from services.console.gateway.client import Json
from services.console.pages.visit import Visit, Visited, Watched
from services.console.sessions.forms import first
from services.console.words.states import MAILBOX_STATES, explain, mailbox_state, progress, sync_state

router = APIRouter()

_PAGE = 25
_SYNCS = 10
_LARGEST_COUNT = 1_000_000


@router.get("/mailboxes")
async def list_mailboxes(
    visit: Visited,
    status: Annotated[str, Query(max_length=50)] = "",
    cursor: Annotated[str, Query(max_length=2048)] = "",
) -> Response:
    """Show the mailboxes with their states, all or those in one state."""
    wanted = status if status in MAILBOX_STATES else ""
    page = await visit.ask(calls.list_mailboxes(limit=_PAGE, status=wanted, cursor=cursor))
    rows = await asyncio.gather(*(_row(visit, mailbox) for mailbox in page["mailboxes"]))
    return visit.show(
        "mailboxes.html",
        rows=rows,
        next_cursor=page["next_cursor"],
        is_first_page=not cursor,
        chosen=wanted,
        states=MAILBOX_STATES,
    )


@router.get("/mailboxes/{mailbox_id}/row")
async def show_row(visit: Watched, mailbox_id: str) -> Response:
    """Show the row of a mailbox as it is now."""
    return visit.show("parts/mailbox_row.html", row=await _row(visit, await visit.ask(calls.get_mailbox(mailbox_id))))


@router.get("/mailboxes/{mailbox_id}")
async def show_mailbox(visit: Visited, mailbox_id: str) -> Response:
    """Show a mailbox with its syncs."""
    mailbox = await visit.ask(calls.get_mailbox(mailbox_id))
    return visit.show("mailbox.html", mailbox=mailbox, **await _state(visit, mailbox))


@router.get("/mailboxes/{mailbox_id}/state")
async def show_state(visit: Watched, mailbox_id: str) -> Response:
    """Show the state of a mailbox as it is now, with its syncs."""
    mailbox = await visit.ask(calls.get_mailbox(mailbox_id))
    return visit.show("parts/mailbox_state.html", mailbox=mailbox, **await _state(visit, mailbox))


@router.post("/mailboxes/{mailbox_id}/sync")
async def start_sync(visit: Visited, mailbox_id: str) -> Response:
    """Start a sync of the newest messages, or of all."""
    text = first(await visit.form(), "count", "all")
    count = int(text) if text.isascii() and text.isdigit() and 0 < int(text) <= _LARGEST_COUNT else "all"
    await visit.ask(calls.start_sync(mailbox_id, count=count))
    return visit.go(f"/mailboxes/{mailbox_id}", done="sync")


@router.post("/mailboxes/{mailbox_id}/verify")
async def verify(visit: Visited, mailbox_id: str) -> Response:
    """Compare the copy with the provider."""
    await visit.form()
    await visit.ask(calls.verify_mailbox(mailbox_id))
    return visit.go(f"/mailboxes/{mailbox_id}", done="verify")


@router.post("/mailboxes/{mailbox_id}/syncs/{sync_id}/cancel")
async def cancel(visit: Visited, mailbox_id: str, sync_id: str) -> Response:
    """Cancel a sync."""
    await visit.form()
    await visit.ask(calls.cancel_sync(sync_id))
    return visit.go(f"/mailboxes/{mailbox_id}", done="cancel")


@router.post("/mailboxes/{mailbox_id}/syncs/{sync_id}/retry")
async def retry(visit: Visited, mailbox_id: str, sync_id: str) -> Response:
    """Try the dead letters of a sync again."""
    await visit.form()
    await visit.ask(calls.retry_sync(sync_id))
    return visit.go(f"/mailboxes/{mailbox_id}", done="retry")


@router.get("/mailboxes/{mailbox_id}/disconnect")
async def confirm_disconnect(visit: Visited, mailbox_id: str) -> Response:
    """Say what disconnecting erases, and ask for it: it cannot be undone."""
    return visit.show("disconnect.html", mailbox=await visit.ask(calls.get_mailbox(mailbox_id)), wrong=False)


@router.post("/mailboxes/{mailbox_id}/disconnect")
async def disconnect(visit: Visited, mailbox_id: str) -> Response:
    """Disconnect a mailbox whose address was typed."""
    form = await visit.form()
    mailbox = await visit.ask(calls.get_mailbox(mailbox_id))
    if first(form, "email").strip().casefold() != mailbox["email"].casefold():
        return visit.show("disconnect.html", status=400, mailbox=mailbox, wrong=True)
    await visit.ask(calls.disconnect_mailbox(mailbox_id))
    return visit.go("/mailboxes", done="disconnect")


async def _row(visit: Visit, mailbox: Json) -> Json:
    """Return a mailbox with its newest sync, in words."""
    found, _ = await visit.attempt(calls.list_syncs(mailbox["mailbox_id"], limit=1))
    sync = found["syncs"][0] if found and found["syncs"] else None
    return {
        "mailbox": mailbox,
        "state": mailbox_state(mailbox, sync, visit.now),
        "progress": None if sync is None else progress(sync),
        "is_live": sync is not None and sync["ended_at"] is None,
    }


async def _state(visit: Visit, mailbox: Json) -> Json:
    """Return what a mailbox's page shows of its state and of its syncs."""
    found, failure = await visit.attempt(calls.list_syncs(mailbox["mailbox_id"], limit=_SYNCS))
    syncs = found["syncs"] if found else []
    newest = syncs[0] if syncs else None
    letters: list[Json] = []
    if newest and newest["dead_letter_count"]:
        whole, _ = await visit.attempt(calls.get_sync(newest["id"]))
        letters = whole["dead_letters"] if whole else []
    return {
        "state": mailbox_state(mailbox, newest, visit.now),
        "syncs": [(sync, sync_state(sync, visit.now)) for sync in syncs],
        "newest": newest,
        "progress": None if newest is None else progress(newest),
        "dead_letters": [(letter, explain(letter["reason"], None)[0]) for letter in letters],
        "failure": failure,
        "is_live": newest is not None and newest["ended_at"] is None,
    }
