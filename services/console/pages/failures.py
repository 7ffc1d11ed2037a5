"""Pages of failures, and what becomes of requests without a session."""

from http import HTTPStatus
from urllib.parse import quote

import structlog
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from services.console.gateway.errors import GatewayError
from services.console.pages.visit import SignedOutError, console_of, render
from services.console.sessions.forms import ForeignFormError, MalformedFormError
from services.console.words.problems import Explanation, explain

log = structlog.get_logger()

_EXPIRED = Explanation(
    "This form is no longer valid", "It came from an earlier session or another site.", "Load the page again.", "", None
)
_MALFORMED = Explanation("This form cannot be read", "It is too large or damaged.", "Load the page again.", "", None)
_NO_PAGE = Explanation("There is no such page", "The address leads nowhere.", "Begin at the mailboxes.", "", None)
_OTHER = Explanation("That did not work", "The request was not understood.", "Begin at the mailboxes.", "", None)


def register(app: FastAPI) -> None:
    """Show each failure as a page, or as a part of one to a page that asked for a part."""

    async def signed_out(request: Request, _: Exception) -> Response:
        return _to_sign_in(request)

    async def gateway_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, GatewayError)  # noqa: S101 - registered for this type alone
        if error.status == HTTPStatus.UNAUTHORIZED:
            return _key_refused(request, error)
        return _failed(request, explain(error), error.status)

    async def foreign_form(request: Request, _: Exception) -> Response:
        return _failed(request, _EXPIRED, HTTPStatus.FORBIDDEN)

    async def malformed_form(request: Request, _: Exception) -> Response:
        return _failed(request, _MALFORMED, HTTPStatus.BAD_REQUEST)

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - as above
        explained = _NO_PAGE if error.status_code == HTTPStatus.NOT_FOUND else _OTHER
        return _failed(request, explained, error.status_code)

    app.add_exception_handler(SignedOutError, signed_out)
    app.add_exception_handler(GatewayError, gateway_error)
    app.add_exception_handler(ForeignFormError, foreign_form)
    app.add_exception_handler(MalformedFormError, malformed_form)
    app.add_exception_handler(HTTPException, http_error)


def _failed(request: Request, explained: Explanation, status: int) -> Response:
    template = "parts/failure.html" if "hx-request" in request.headers else "failure.html"
    session = console_of(request).sessions.find(request)
    return render(request, template, status=status, session=session, failure=explained)


def _to_sign_in(request: Request) -> Response:
    """Ask for a key. A link from another site comes without the cookie, which is strict: it is followed once more."""
    if "hx-request" in request.headers:
        return Response(status_code=HTTPStatus.OK, headers={"HX-Redirect": "/sign-in"})
    is_followed_link = request.method == "GET" and request.headers.get("sec-fetch-site") == "cross-site"
    if is_followed_link:
        return render(request, "again.html", status=HTTPStatus.OK, session=None)
    wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    query = f"?next={quote(wanted)}" if request.method == "GET" and wanted != "/" else ""
    return RedirectResponse(f"/sign-in{query}", HTTPStatus.SEE_OTHER)


def _key_refused(request: Request, error: GatewayError) -> Response:
    """End a session whose key is refused: it was revoked, or has expired."""
    console = console_of(request)
    session = console.sessions.find(request)
    if "hx-request" in request.headers:
        response: Response = Response(status_code=HTTPStatus.OK, headers={"HX-Redirect": "/sign-in"})
    else:
        response = render(
            request, "sign_in.html", status=HTTPStatus.UNAUTHORIZED, session=None, failure=explain(error), next="/"
        )
    if session is not None:
        console.sessions.end(session, response)
        log.info("session ended, its key is refused", key_id=session.key.key_id, code=error.code)
    return response
