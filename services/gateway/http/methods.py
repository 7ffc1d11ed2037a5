"""Methods of resources: HEAD wherever GET is, OPTIONS everywhere, and 405 with every method in `Allow`."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from http import HTTPStatus

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway.errors import FRAMEWORK_PROBLEMS, problem

# In the scope of a request that came as HEAD and is handled as GET.
CAME_AS_HEAD = "mailroom.came_as_head"


class Resources:
    """The methods of each path, in the order in which routes are matched."""

    def __init__(self, routers: Iterable[APIRouter]) -> None:
        self._routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
        self._methods: dict[str, set[str]] = {}
        for route in self._routes:
            self._methods.setdefault(route.path, set()).update(route.methods or ())

    def fixed(self) -> Mapping[str, frozenset[str]]:
        """Return the methods of paths without parameters."""
        return {path: _all(methods) for path, methods in self._methods.items() if "{" not in path}

    def methods_of(self, path: str) -> frozenset[str] | None:
        """Return the methods of a path; None if it names no resource."""
        route = self.route_of(path)
        return None if route is None else _all(self._methods[route.path])

    def route_of(self, path: str) -> APIRoute | None:
        """Return a route of a path, one without parameters first; None if it names no resource."""
        routes = [route for route in self._routes if route.path_regex.match(path)]
        return next((route for route in routes if route.path == path), routes[0] if routes else None)


def _all(methods: set[str]) -> frozenset[str]:
    return frozenset(methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set()))


def method_not_allowed(methods: Iterable[str]) -> Response:
    """Return the problem of a method that a resource lacks."""
    code, detail = FRAMEWORK_PROBLEMS[HTTPStatus.METHOD_NOT_ALLOWED]
    return problem(status=HTTPStatus.METHOD_NOT_ALLOWED, code=code, detail=detail, headers=_allow(methods))


def _allow(methods: Iterable[str]) -> dict[str, str]:
    return {"Allow": ", ".join(sorted(methods))}


class Methods:
    """The middleware that responds to OPTIONS, and keeps paths without parameters from being taken for ids.

    `GET /emails/sync` would otherwise ask for the message "sync".
    """

    def __init__(self, app: ASGIApp, *, resources: Resources) -> None:
        self._app = app
        self._resources = resources
        self._fixed = resources.fixed()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        answer = self._answer(scope) if scope["type"] == "http" else None
        await (answer or self._app)(scope, receive, send)

    def _answer(self, scope: Scope) -> Response | None:
        method, path = scope["method"], scope["path"]
        methods = self._resources.methods_of(path) if method == "OPTIONS" else self._fixed.get(path)
        if methods is None:
            return None
        if method in methods and method != "OPTIONS":
            return None
        # Telemetry names requests by their route.
        scope["route"] = self._resources.route_of(path)
        if method == "OPTIONS":
            return Response(status_code=HTTPStatus.NO_CONTENT, headers=_allow(methods))
        return method_not_allowed(methods)


class _SentError(Exception):
    """The headers were sent: the rest of the response is not wanted."""


class HeadAsGet:
    """The middleware that handles HEAD as GET and sends no body (RFC 9110 section 9.3.2)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        is_sent = False

        async def send_head(message: Message) -> None:
            nonlocal is_sent
            if message["type"] != "http.response.body":
                await send(message)
            elif not is_sent:
                is_sent = True
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            if is_sent and message.get("more_body"):
                # Ends a stream at its source.
                raise _SentError

        # The server keeps its scope: by the method in it, it knows that no body follows.
        as_get = {**scope, "method": "GET", CAME_AS_HEAD: True}
        with suppress(_SentError):
            await self._app(as_get, receive, send_head)
        # Telemetry names requests by their route.
        scope["route"] = as_get.get("route")
