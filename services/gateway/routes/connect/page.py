"""The page of a connect session, for the user's browser. It works without JavaScript."""

import re
from collections.abc import Mapping
from html import escape
from http import HTTPStatus
from typing import Annotated
from urllib.parse import urlencode, urlsplit

import structlog
from fastapi import Query, Request, Response
from mailroom.auth.v1 import auth_pb2
from starlette.responses import RedirectResponse

from services.gateway import pages
from services.gateway.clients import Services
from services.gateway.dependencies import Backends
from services.gateway.requests.routing import Router
from services.kit.errors import AppError, Kind
from services.kit.rpc.client import call

router = Router(prefix="/connect", include_in_schema=False)

Token = Annotated[str, Query(max_length=512)]
ProviderChoice = Annotated[str, Query(max_length=100)]

# The name of the application whose users sign in to Mailroom itself, which tells them nothing.
_NAMELESS = "default"
_ACCESS = {"read": "read all mail of the mailbox that you choose, also mail that is still to come"}
_ONLY_READS = "<p>It cannot send, change or delete mail.</p>"
_ENDED = {
    "TITLE": "This link does not work any more",
    "TEXT": "It was used already, or it is older than 15 minutes. Nothing has been connected now. Go back to the "
    "application that sent you here, and connect your mailbox from there again.",
}
_LATER = {"TITLE": "This does not work at the moment", "TEXT": "Reload this page in a minute."}
_PLACE = re.compile(r"\{\{([A-Z]+)\}\}")

log = structlog.get_logger()


@router.get("")
async def show_connect_page(request: Request, services: Backends, token: Token = "") -> Response:
    """Show which application asks for which access. It changes nothing: mail scanners open links, too."""
    return await _shown(request, services, token)


@router.post("")
async def begin_connect_session(
    request: Request, services: Backends, token: Token = "", provider: ProviderChoice = ""
) -> Response:
    """Send the browser to the provider. A form on another site begins nothing: it gets the page."""
    if not _is_from_here(request):
        return await _shown(request, services, token)
    try:
        answer = await call(
            services.connect.BeginConnectSession, auth_pb2.BeginConnectSessionRequest(token=token, provider=provider)
        )
    except AppError as error:
        if error.reason == "unknown_provider":
            return await _shown(request, services, token)
        return _failed(request, error)
    return RedirectResponse(answer.authorization_url, status_code=HTTPStatus.SEE_OTHER)


async def _shown(request: Request, services: Services, token: str) -> Response:
    try:
        session = await call(services.connect.GetConnectSession, auth_pb2.GetConnectSessionRequest(token=token))
    except AppError as error:
        return _failed(request, error)
    name = session.application_name
    is_named = name != _NAMELESS
    values = {
        "APPLICATION": f"<bdi>{escape(name)}</bdi>" if is_named else "the application that sent you here",
        "SUBJECT": f"<bdi>{escape(name)}</bdi>" if is_named else "The application that sent you here",
        "ACCESS": "".join(f"<li>{escape(_ACCESS.get(access, access))}</li>" for access in session.access),
        "ONLY": _ONLY_READS if list(session.access) == ["read"] else "",
        "HOST": escape(urlsplit(session.redirect_url).netloc),
        "BUTTONS": "\n".join(_button(token, provider) for provider in session.providers),
    }
    return _html(request, "connect", values)


def _button(token: str, provider: str) -> str:
    target = urlencode({"token": token, "provider": provider})
    return f'<button formaction="?{escape(target)}">Continue with {escape(provider.replace("-", " ").title())}</button>'


def _failed(request: Request, error: AppError) -> Response:
    if error.kind is Kind.NOT_FOUND:
        return _html(request, "connect_ended", _ENDED, status=HTTPStatus.NOT_FOUND)
    log.warning("a connect session is not shown", reason=error.reason)
    return _html(request, "connect_ended", _LATER, status=error.kind.http_status)


def _html(request: Request, name: str, values: Mapping[str, str], *, status: HTTPStatus = HTTPStatus.OK) -> Response:
    content = _PLACE.sub(lambda place: values[place[1]], pages.page(name))
    is_secure = urlsplit(request.app.state.public_url).scheme == "https"
    headers = {
        "Content-Security-Policy": pages.CONNECT_POLICY.format(local="" if is_secure else " http:"),
        # No other site learns the URL. To our own form browsers name its origin, which they do not for `no-referrer`.
        "Referrer-Policy": "same-origin",
    }
    return Response(content, status_code=status, headers=headers, media_type="text/html; charset=utf-8")


def _is_from_here(request: Request) -> bool:
    """Return whether a page of ours sent the form, as the browser tells (Fetch Metadata, or the Origin header)."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    public = urlsplit(request.app.state.public_url)
    own = f"{public.scheme}://{public.netloc}"
    return request.headers.get("origin", own) == own
