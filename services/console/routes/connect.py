"""Connecting a mailbox by a connect session (docs/applications.md), in the browser of the person at the console."""

import hmac
from typing import Annotated

from fastapi import APIRouter, Query, Response

from services.console.gateway import calls
from services.console.gateway.errors import RefusedError
from services.console.pages.visit import Visit, Visited
from services.console.sessions.forms import first
from services.console.words.problems import Explanation, explain
from services.console.words.refusals import explain_refusal

router = APIRouter()

_DONE = "/connect/done"
# The connect session that this browser began: a code of another one may be anybody's.
_COOKIE = "connect"
_LIFETIME = 3600
_FOREIGN = Explanation(
    "This connection was not begun here",
    "The link belongs to another browser, or to an earlier connection.",
    "Begin again: nothing was connected.",
    "",
    None,
)


@router.get("/connect")
async def show_form(visit: Visited) -> Response:
    """Ask for which user a mailbox is connected."""
    return visit.show("connect.html", failure=None, redirect_url=_redirect_url(visit), user="")


@router.post("/connect")
async def start(visit: Visited) -> Response:
    """Begin a connect session, and show where it goes on."""
    user = first(await visit.form(), "user").strip()
    call = calls.start_connection(user, redirect_url=_redirect_url(visit))
    try:
        session = await visit.ask(call)
    except RefusedError as error:
        if error.status == 401:
            raise
        failure = explain(error)
        return visit.show(
            "connect.html", status=error.status, failure=failure, redirect_url=_redirect_url(visit), user=user
        )
    response = visit.show("connect_begun.html", user=user, connection=session)
    is_https = visit.console.origin.startswith("https:")
    response.set_cookie(
        _COOKIE, session["id"], max_age=_LIFETIME, path="/connect", secure=is_https, httponly=True, samesite="strict"
    )
    return response


@router.get(_DONE)
async def show_end(
    visit: Visited,
    session: Annotated[str, Query(max_length=64)] = "",
    code: Annotated[str, Query(max_length=512)] = "",
    error: Annotated[str, Query(max_length=64)] = "",
) -> Response:
    """Show how the connection went at the provider; what was consented is attached by the form."""
    if not _is_own(visit, session):
        return visit.show("connect_failed.html", status=403, failure=_FOREIGN)
    if error or not code:
        return visit.show("connect_failed.html", failure=explain_refusal(error))
    return visit.show("connect_end.html", connection=session, code=code)


@router.post(_DONE)
async def complete(visit: Visited) -> Response:
    """Connect the mailbox."""
    form = await visit.form()
    session = first(form, "session")
    if not _is_own(visit, session):
        return visit.show("connect_failed.html", status=403, failure=_FOREIGN)
    mailbox = await visit.ask(calls.complete_connection(session, first(form, "code")))
    response = visit.go(f"/mailboxes/{mailbox['mailbox_id']}", done="connect")
    response.delete_cookie(_COOKIE, path="/connect")
    return response


def _redirect_url(visit: Visit) -> str:
    return visit.console.origin + _DONE


def _is_own(visit: Visit, session: str) -> bool:
    begun = visit.request.cookies.get(_COOKIE, "")
    return bool(begun) and hmac.compare_digest(begun.encode(), session.encode())
