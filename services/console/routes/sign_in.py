"""Signing in with an API key, and out."""

from http import HTTPStatus
from typing import Annotated

import structlog
from fastapi import APIRouter, Query, Request, Response
from starlette.responses import RedirectResponse

from services.console.gateway import calls
from services.console.gateway.calls import Call
from services.console.gateway.errors import GatewayError, RefusedError
from services.console.gateway.samples import as_curl
from services.console.pages.visit import Visited, console_of, render
from services.console.sessions.forms import first, read_form
from services.console.words.problems import explain
from services.console.words.refusals import explain_refusal
from services.kit.api_key import MalformedKeyError, parse

router = APIRouter()
log = structlog.get_logger()

_TYPO = RefusedError(status=401, code="malformed_api_key", detail="Its checksum does not fit.", request_id=None)
# The key is valid, and lacks the scope that lists mailboxes.
_VALID_BUT_LIMITED = frozenset({"insufficient_scope"})


@router.get("/sign-in")
async def show_sign_in(request: Request, next: str = "/") -> Response:  # noqa: A002 - the name of the parameter
    """Show the form that takes a key."""
    return render(request, "sign_in.html", status=HTTPStatus.OK, session=None, failure=None, next=_own_path(next))


@router.post("/sign-in")
async def sign_in(request: Request) -> Response:
    """Begin a session with a key that the gateway takes."""
    console = console_of(request)
    form = await read_form(request, origin=console.origin, token=None)
    target = _own_path(first(form, "next", "/"))
    try:
        key = parse(first(form, "key").strip())
        try:
            await console.gateway.send(calls.list_mailboxes(limit=1), key=key)
        except RefusedError as error:
            if error.code not in _VALID_BUT_LIMITED:
                raise
    except MalformedKeyError:
        return _again(request, _TYPO, target)
    except GatewayError as error:
        log.info("sign-in refused", code=error.code)
        return _again(request, error, target)
    response = RedirectResponse(target, HTTPStatus.SEE_OTHER)
    if (former := console.sessions.find(request)) is not None:
        console.sessions.end(former, response)
    console.sessions.begin(key, response)
    log.info("signed in", key_id=key.key_id)
    return response


@router.get("/signed-in")
async def show_signed_in(
    request: Request,
    state: Annotated[str, Query(max_length=512)] = "",
    error: Annotated[str, Query(max_length=64)] = "",
) -> Response:
    """Show what a front end would do after the sign-in of a user, where none has the redirect."""
    body = {"state": state, "code_verifier": "VERIFIER"}
    sample = as_curl(Call("POST", "/auth/token", "", body=body, authorized=False), api=console_of(request).api)
    failure = explain_refusal(error) if error or not state else None
    return render(request, "signed_in.html", status=HTTPStatus.OK, session=None, failure=failure, sample=sample)


@router.post("/sign-out")
async def sign_out(visit: Visited) -> Response:
    """End the session."""
    await visit.form()
    response = RedirectResponse("/sign-in?done=signed_out", HTTPStatus.SEE_OTHER)
    visit.console.sessions.end(visit.session, response)
    if visit.console.peers is not None:
        await visit.console.peers.exchange()
    log.info("signed out", key_id=visit.session.key.key_id)
    return response


@router.post("/shortcuts")
async def switch_shortcuts(visit: Visited) -> Response:
    """Switch the shortcuts of single keys on or off (WCAG 2.1.4)."""
    form = await visit.form()
    response = visit.go(_own_path(first(form, "back", "/")))
    response.set_cookie(
        "shortcuts",
        "off" if first(form, "shortcuts") == "off" else "on",
        max_age=31_536_000,
        secure=visit.console.origin.startswith("https:"),
        samesite="strict",
        httponly=True,
    )
    return response


def _again(request: Request, error: GatewayError, target: str) -> Response:
    status = error.status if error.status < HTTPStatus.INTERNAL_SERVER_ERROR else HTTPStatus.BAD_GATEWAY
    return render(request, "sign_in.html", status=status, session=None, failure=explain(error), next=target)


def _own_path(path: str) -> str:
    """Return a path of the console; anything that could lead elsewhere is its beginning."""
    is_own = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if is_own else "/"
