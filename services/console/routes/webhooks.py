"""Webhooks of the application: endpoints, secrets, and what was sent to them."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Response

from services.console.gateway import calls
from services.console.gateway.calls import Call
from services.console.gateway.client import Json
from services.console.gateway.errors import RefusedError
from services.console.pages.visit import Visit, Visited
from services.console.routes.mail import mailboxes_of
from services.console.sessions.forms import Form, first
from services.console.words.problems import Explanation, explain
from services.console.words.webhooks import DELIVERY_STATES, EVENTS, delivery_state, explain_attempt, webhook_state

router = APIRouter()

_PAGE = 25
_KNOWN_EVENTS = frozenset(event for events in EVENTS.values() for event in events)
# Seconds for which the secret before signs on, and for how long ago events are sent again.
_OVERLAPS = (("86400", "A day"), ("3600", "An hour"), ("0", "Not at all"))
_AGES = (("1", "The last hour"), ("24", "The last day"), ("168", "The last week"))
_HOURS = dict(_AGES)
_NEW: Json = {"url": "", "events": [], "mailbox_ids": None, "description": "", "backfill": False, "order": "mailbox"}


@router.get("/webhooks")
async def list_webhooks(visit: Visited) -> Response:
    """Show the webhooks with their states, and the form for another one."""
    return await _list(visit, values=_NEW)


@router.post("/webhooks")
async def create_webhook(visit: Visited) -> Response:
    """Create a webhook, and show its secret this once."""
    form = await visit.form()
    values = _values(form)
    call = calls.create_webhook(
        values["url"],
        events=values["events"],
        mailbox_ids=values["mailbox_ids"],
        description=values["description"],
        backfill=values["backfill"],
        order=values["order"],
    )
    created, failure = await _try(visit, call)
    if created is None:
        return await _list(visit, values=values, failure=failure)
    return visit.show("webhook_secret.html", webhook_id=created["id"], url=created["url"], secret=created["secret"])


@router.get("/webhooks/{webhook_id}")
async def show_webhook(
    visit: Visited,
    webhook_id: str,
    state: Annotated[str, Query(max_length=50)] = "",
    cursor: Annotated[str, Query(max_length=2048)] = "",
) -> Response:
    """Show a webhook with what it was sent."""
    wanted = state if state in DELIVERY_STATES else ""
    webhook = await visit.ask(calls.get_webhook(webhook_id))
    call = calls.list_deliveries(webhook_id, state=wanted, limit=_PAGE, cursor=cursor)
    page = await visit.ask(call)
    return visit.show(
        "webhook.html",
        webhook=webhook,
        state=webhook_state(webhook),
        deliveries=[_row(delivery) for delivery in page["deliveries"]],
        next_cursor=page["next_cursor"],
        chosen=wanted,
        states=DELIVERY_STATES,
        overlaps=_OVERLAPS,
        ages=_AGES,
    )


@router.get("/webhooks/{webhook_id}/edit")
async def edit_webhook(visit: Visited, webhook_id: str) -> Response:
    """Show the form that changes a webhook."""
    return await _edit(visit, webhook_id, values=await visit.ask(calls.get_webhook(webhook_id)))


@router.post("/webhooks/{webhook_id}/edit")
async def change_webhook(visit: Visited, webhook_id: str) -> Response:
    """Change a webhook."""
    values = _values(await visit.form())
    call = calls.update_webhook(
        webhook_id,
        url=values["url"],
        events=values["events"],
        mailbox_ids=values["mailbox_ids"],
        description=values["description"],
        order=values["order"],
    )
    changed, failure = await _try(visit, call)
    if changed is None:
        return await _edit(visit, webhook_id, values=values, failure=failure)
    return visit.go(f"/webhooks/{webhook_id}", done="webhook_changed")


@router.post("/webhooks/{webhook_id}/delete")
async def delete_webhook(visit: Visited, webhook_id: str) -> Response:
    """Delete a webhook."""
    await visit.form()
    await visit.ask(calls.delete_webhook(webhook_id))
    return visit.go("/webhooks", done="webhook_deleted")


@router.post("/webhooks/{webhook_id}/rotate")
async def rotate_secret(visit: Visited, webhook_id: str) -> Response:
    """Make another secret, and show it this once."""
    text = first(await visit.form(), "overlap")
    overlap = int(text) if text in dict(_OVERLAPS) else int(_OVERLAPS[0][0])
    webhook = await visit.ask(calls.get_webhook(webhook_id))
    rotated = await visit.ask(calls.rotate_webhook_secret(webhook_id, overlap_seconds=overlap))
    return visit.show("webhook_secret.html", webhook_id=webhook_id, url=webhook["url"], secret=rotated["secret"])


@router.post("/webhooks/{webhook_id}/test")
async def send_test(visit: Visited, webhook_id: str) -> Response:
    """Send a test."""
    await visit.form()
    await visit.ask(calls.test_webhook(webhook_id))
    return visit.go(f"/webhooks/{webhook_id}", done="webhook_test")


@router.post("/webhooks/{webhook_id}/disable")
async def disable_webhook(visit: Visited, webhook_id: str) -> Response:
    """Disable a webhook; its events wait."""
    await visit.form()
    await visit.ask(calls.disable_webhook(webhook_id))
    return visit.go(f"/webhooks/{webhook_id}", done="webhook_disabled")


@router.post("/webhooks/{webhook_id}/enable")
async def enable_webhook(visit: Visited, webhook_id: str) -> Response:
    """Enable a webhook that was disabled."""
    await visit.form()
    await visit.ask(calls.enable_webhook(webhook_id))
    return visit.go(f"/webhooks/{webhook_id}", done="webhook_enabled")


@router.post("/webhooks/{webhook_id}/replay")
async def replay(visit: Visited, webhook_id: str) -> Response:
    """Send again what followed a position, or what happened in the last hours."""
    form = await visit.form()
    hours = first(form, "hours")
    begin = visit.now - timedelta(hours=int(hours) if hours in _HOURS else 1)
    since = first(form, "position").strip() or begin.isoformat(timespec="seconds")
    await visit.ask(calls.replay_webhook(webhook_id, since=since))
    return visit.go(f"/webhooks/{webhook_id}", done="webhook_replay")


@router.post("/webhooks/{webhook_id}/deliveries/{delivery_id}/retry")
async def retry_delivery(visit: Visited, webhook_id: str, delivery_id: str) -> Response:
    """Send an event once more."""
    await visit.form()
    await visit.ask(calls.retry_delivery(webhook_id, delivery_id))
    return visit.go(f"/webhooks/{webhook_id}", done="webhook_retry")


async def _list(visit: Visit, *, values: Json, failure: Explanation | None = None) -> Response:
    webhooks = (await visit.ask(calls.list_webhooks()))["webhooks"]
    return visit.show(
        "webhooks.html",
        status=200 if failure is None else 400,
        rows=[(webhook, webhook_state(webhook)) for webhook in webhooks],
        mailboxes=await _choices(visit, values),
        values=values,
        kinds=EVENTS,
        failure=failure,
    )


async def _edit(visit: Visit, webhook_id: str, *, values: Json, failure: Explanation | None = None) -> Response:
    return visit.show(
        "webhook_edit.html",
        status=200 if failure is None else 400,
        webhook_id=webhook_id,
        mailboxes=await _choices(visit, values),
        values=values,
        kinds=EVENTS,
        failure=failure,
    )


async def _choices(visit: Visit, values: Json) -> list[tuple[str, str]]:
    """Return ids and addresses of mailboxes: the first of the application, and all that are chosen."""
    known = {mailbox["mailbox_id"]: mailbox["email"] for mailbox in await mailboxes_of(visit)}
    return list(({chosen: chosen for chosen in values["mailbox_ids"] or ()} | known).items())


async def _try(visit: Visit, call: Call) -> tuple[Json | None, Explanation | None]:
    """Return the answer to the call of a form, or why its values are refused. Raises GatewayError of other failures."""
    try:
        return await visit.ask(call), None
    except RefusedError as error:
        if error.status in (401, 403, 404):
            raise
        return None, explain(error)


def _values(form: Form) -> Json:
    mailbox_ids = list(form.get("mailbox", ()))
    return {
        "url": first(form, "url").strip(),
        "events": [event for event in form.get("event", ()) if event in _KNOWN_EVENTS],
        "mailbox_ids": mailbox_ids or None,
        "description": first(form, "description").strip(),
        "backfill": first(form, "backfill") == "on",
        "order": "none" if first(form, "any_order") == "on" else "mailbox",
    }


def _row(delivery: Json) -> Json:
    return {
        "delivery": delivery,
        "state": delivery_state(delivery),
        "attempts": [(attempt, explain_attempt(attempt)) for attempt in reversed(delivery["attempts"])],
    }
