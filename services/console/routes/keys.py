"""API keys of the application, and what happened to them."""

from datetime import datetime, timedelta

from fastapi import APIRouter, Response

from services.console.gateway import calls
from services.console.gateway.client import Json
from services.console.gateway.errors import RefusedError
from services.console.pages.visit import Visit, Visited
from services.console.sessions.forms import first
from services.console.words.problems import explain
from services.console.words.times import parse_time
from services.kit.scopes import DEFAULT_SCOPES, MEANINGS, OPERATOR_SCOPES, Scope

router = APIRouter()

_SCOPES = {scope: meaning for scope, meaning in MEANINGS.items() if scope not in OPERATOR_SCOPES}
_LIFETIMES = (("0", "Never"), ("30", "In 30 days"), ("90", "In 90 days"), ("365", "In a year"))


@router.get("/keys")
async def list_keys(visit: Visited) -> Response:
    """Show the keys, those that work first."""
    return await _show(visit)


@router.post("/keys")
async def create_key(visit: Visited) -> Response:
    """Create a key, and show its text this once."""
    form = await visit.form()
    scopes = [scope for scope in form.get("scope", ()) if scope in set(Scope)]
    days = first(form, "days", "0")
    expires_at = None
    if days in dict(_LIFETIMES) and days != "0":
        expires_at = (visit.now + timedelta(days=int(days))).isoformat()
    call = calls.create_key(first(form, "name").strip(), scopes=scopes, expires_at=expires_at)
    try:
        created = await visit.ask(call)
    except RefusedError as error:
        if error.status == 401:
            raise
        return await _show(visit, failure=error)
    return visit.show("key_created.html", key=created)


@router.get("/keys/{key_id}")
async def show_key(visit: Visited, key_id: str) -> Response:
    """Show a key with its events."""
    events = (await visit.ask(calls.list_key_events(key_id)))["events"]
    keys = (await visit.ask(calls.list_keys()))["keys"]
    key = next((key for key in keys if key["id"] == key_id), None)
    return visit.show("key.html", key=key, key_id=key_id, events=events, word=_word(key, visit.now) if key else "")


@router.post("/keys/{key_id}/revoke")
async def revoke_key(visit: Visited, key_id: str) -> Response:
    """Revoke a key."""
    await visit.form()
    await visit.ask(calls.revoke_key(key_id))
    return visit.go("/keys", done="revoke")


async def _show(visit: Visit, *, failure: RefusedError | None = None) -> Response:
    found = (await visit.ask(calls.list_keys()))["keys"]
    now = visit.now
    rows = [(key, _word(key, now)) for key in found]
    rows.sort(key=lambda row: row[1] != "Active")
    return visit.show(
        "keys.html",
        status=200 if failure is None else failure.status,
        rows=rows,
        scopes=_SCOPES,
        defaults=DEFAULT_SCOPES,
        lifetimes=_LIFETIMES,
        failure=None if failure is None else explain(failure),
    )


def _word(key: Json, now: datetime) -> str:
    if key["revoked_at"]:
        return "Revoked"
    return "Expired" if key["expires_at"] and parse_time(key["expires_at"]) <= now else "Active"
