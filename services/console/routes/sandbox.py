"""The sandbox's mailboxes, where there is a sandbox: add some, and let mail arrive."""

from http import HTTPStatus

from fastapi import APIRouter, HTTPException, Response

from services.console.gateway.errors import RefusedError
from services.console.gateway.sandbox import Sandbox
from services.console.pages.visit import Visit, Visited
from services.console.sessions.forms import first
from services.console.words.problems import Explanation, explain

router = APIRouter()

# How many messages a form can ask for.
_SIZES = ("100", "1000", "10000")
_DELIVERIES = ("3", "25", "100")


@router.get("/sandbox")
async def show_sandbox(visit: Visited) -> Response:
    """Show the forms."""
    return await _show(visit)


@router.post("/sandbox/mailboxes")
async def add_mailbox(visit: Visited) -> Response:
    """Add a mailbox with mail."""
    form = await visit.form()
    messages = first(form, "messages")
    try:
        await _sandbox(visit).add_mailbox(
            first(form, "email").strip(), messages=int(messages if messages in _SIZES else _SIZES[0])
        )
    except RefusedError as error:
        return await _show(visit, failure=explain(error))
    return visit.go("/sandbox", done="sandbox_filled")


@router.post("/sandbox/messages")
async def deliver(visit: Visited) -> Response:
    """Let mail arrive in a mailbox."""
    form = await visit.form()
    count = first(form, "count")
    try:
        await _sandbox(visit).deliver(
            first(form, "email"), count=int(count if count in _DELIVERIES else _DELIVERIES[0])
        )
    except RefusedError as error:
        return await _show(visit, failure=explain(error))
    return visit.go("/sandbox", done="sandbox_delivered")


def _sandbox(visit: Visit) -> Sandbox:
    """Return the sandbox. Raises HTTPException where there is none."""
    if visit.console.sandbox is None:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    return visit.console.sandbox


async def _show(visit: Visit, *, failure: Explanation | None = None) -> Response:
    emails = await _sandbox(visit).emails()
    return visit.show(
        "sandbox.html",
        status=HTTPStatus.OK if failure is None else HTTPStatus.BAD_REQUEST,
        emails=emails,
        sizes=_SIZES,
        deliveries=_DELIVERIES,
        failure=failure,
    )
