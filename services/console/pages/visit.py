"""A request of a browser that is signed in: it makes calls, and shows a page with them."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Depends
from jinja2 import Environment
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from services.console.gateway.calls import Call
from services.console.gateway.client import Gateway, Json
from services.console.gateway.errors import GatewayError
from services.console.gateway.sandbox import Sandbox
from services.console.sessions.forms import Form, read_form
from services.console.sessions.peers import Peers
from services.console.sessions.session import Session
from services.console.sessions.sessions import Sessions
from services.console.words.problems import Explanation, explain


class SignedOutError(Exception):
    """The request has no live session."""


@dataclass(frozen=True, slots=True)
class Console:
    """The parts that requests share. `origin` is where browsers reach the console, `api` where others reach the API."""

    gateway: Gateway
    sessions: Sessions
    templates: Environment
    clock: Callable[[], float]
    origin: str
    api: str
    sandbox: Sandbox | None = None
    peers: Peers | None = None


def console_of(request: Request) -> Console:
    """Return the parts that requests share."""
    console: Console = request.app.state.console
    return console


class Visit:
    """Calls are made with the key of the session, and listed on the page that is shown."""

    def __init__(self, request: Request, session: Session, *, renews: bool) -> None:
        self.request = request
        self.session = session
        self.console = console_of(request)
        self._calls: list[Call] = []
        self._renews = renews

    @property
    def now(self) -> datetime:
        """The time at the console."""
        return datetime.fromtimestamp(self.console.clock(), UTC)

    async def ask(self, call: Call) -> Json:
        """Make a call. Raises GatewayError."""
        self._calls.append(call)
        return await self.console.gateway.send(call, key=self.session.key)

    async def attempt(self, call: Call) -> tuple[Json | None, Explanation | None]:
        """Make a call that a page can do without: return its answer, or the explanation of its failure."""
        try:
            return await self.ask(call), None
        except GatewayError as error:
            return None, explain(error)

    async def form(self) -> Form:
        """Return the form of the request. Raises ForeignFormError, MalformedFormError."""
        return await read_form(self.request, origin=self.console.origin, token=self.session.form_token)

    def show(self, template: str, *, status: int = HTTPStatus.OK, **values: object) -> Response:
        """Return a page, or a part of one."""
        response = render(
            self.request, template, status=status, session=self.session, calls=tuple(self._calls), **values
        )
        return self.finish(response)

    def go(self, path: str, **query: str) -> Response:
        """Send the browser to another page of the console."""
        target = f"{path}?{urlencode(query)}" if query else path
        return self.finish(RedirectResponse(target, HTTPStatus.SEE_OTHER))

    def finish[R: Response](self, response: R) -> R:
        """Return a response that prolongs the session."""
        if self._renews:
            self.console.sessions.renew(self.session, response)
        return response


def render(request: Request, template: str, *, status: int, session: Session | None, **values: object) -> Response:
    """Return a page; without a session it is one that strangers may see."""
    page = console_of(request).templates.get_template(template)
    common: Mapping[str, object] = {
        "has_sandbox": console_of(request).sandbox is not None,
        "request": request,
        "session": session,
        "nonce": request.state.nonce,
        "has_shortcuts": request.cookies.get("shortcuts") != "off",
        "done": request.query_params.get("done", ""),
    }
    return HTMLResponse(page.render({"calls": (), **common, **values}), status_code=status)


def _visitor(*, renews: bool) -> Callable[[Request], Awaitable[Visit]]:
    async def visit(request: Request) -> Visit:
        session = console_of(request).sessions.find(request)
        if session is None:
            raise SignedOutError
        return Visit(request, session, renews=renews)

    return visit


# A request that a person made, and one that an open page makes by itself: that one keeps no session alive.
Visited = Annotated[Visit, Depends(_visitor(renews=True))]
Watched = Annotated[Visit, Depends(_visitor(renews=False))]
