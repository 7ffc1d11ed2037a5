"""Middleware in plain ASGI: request ids, default headers, the catch-all, and limits of addresses and bodies."""

import re
import time
from collections.abc import Iterable, Sequence
from http import HTTPStatus

import structlog
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway.errors import INTERNAL, from_app_error
from services.gateway.limits.rate_limits import RateLimit
from services.gateway.limits.standings import standing_headers, standings_of
from services.kit.context import REQUEST_ID_HEADER, start_request
from services.kit.errors import AppError
from services.kit.http.client_address import Network, client_networks

# Responses hold mail or tokens: they must not be cached, and later requests must not name their URLs.
_DEFAULT_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)
_HTTPS_HEADERS = ((b"strict-transport-security", b"max-age=31536000"),)
_REQUEST_ID = REQUEST_ID_HEADER.encode()

_STARTS = re.compile("/auth/[^/]+/start")
# One back end exchanges the tokens of many users from one address: these requests are counted by its key.
_BY_KEY = frozenset({"/auth/token/exchange"})
# The page of connect sessions, whose POST starts a sign-in at the provider.
_CONNECT_PAGE = "/connect"

# Digits of the largest limit.
MAX_LENGTH_DIGITS = 18

log = structlog.get_logger()


class RequestContext:
    """The middleware that binds the request id, returns it, and sets the headers of every response.

    With `https`, browsers are told to use TLS only (RFC 6797).
    """

    def __init__(self, app: ASGIApp, *, https: bool = False) -> None:
        self._app = app
        self._headers = (*_DEFAULT_HEADERS, *(_HTTPS_HEADERS if https else ()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        identifier = start_request(request_id=Headers(scope=scope).get(REQUEST_ID_HEADER))
        standings = standings_of(scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(_REQUEST_ID, identifier.encode()), *self._headers, *standing_headers(standings)]
                _add_missing(message, own)
                # Without the query, which holds codes and login codes.
                log.debug(
                    "answered",
                    method=scope["method"],
                    path=scope["path"],
                    status_code=int(message["status"]),
                    seconds=round(time.perf_counter() - started, 4),
                )
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _add_missing(message: Message, headers: Iterable[tuple[bytes, bytes]]) -> None:
    # ASGI's names are in lower case; Starlette's `setdefault` would search all headers for each of ours.
    present = {name for name, _ in message["headers"]}
    message["headers"] = [*message["headers"], *(header for header in headers if header[0] not in present)]


class CatchAll:
    """The catch-all: it logs an unknown exception and responds with a 500 problem that does not describe it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        answering = False

        async def watched_send(message: Message) -> None:
            nonlocal answering
            answering = True
            await send(message)

        try:
            await self._app(scope, receive, watched_send)
        except ClientDisconnect:
            # No failure of ours, and no client to respond to.
            return
        except Exception as error:
            if answering or scope["type"] != "http":
                raise
            log.error("request failed", method=scope["method"], path=scope["path"], exc_info=error)
            await from_app_error(INTERNAL)(scope, receive, send)


# How many times as much as a /64 a /56 and a /48 of IPv6 may send: some providers share them among subscribers.
_NETWORK_FACTORS = (1, 4, 16)


class AddressLimit:
    """The rate limit per address and network at the routes of sign-in and sessions, and at the page of connections."""

    def __init__(self, app: ASGIApp, *, limit: RateLimit, trusted_proxies: Sequence[Network]) -> None:
        self._app = app
        self._limits = [limit.times(factor) for factor in _NETWORK_FACTORS]
        self._trusted_proxies = trusted_proxies
        self._warned = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http" and _is_of_an_address(scope["path"]):
            self._warn_of_an_unknown_proxy(scope)
            try:
                # The narrowest first: what it refuses takes nothing from its neighbours. Only of this one is the client
                # told: in the wider ones its neighbours count, too.
                first, *wider = self._networks_of(scope)
                await self._limits[0].take(first, standings=standings_of(scope))
                for limit, network in zip(self._limits[1:], wider, strict=False):
                    await limit.take(network)
            except AppError as error:
                await from_app_error(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _networks_of(self, scope: Scope) -> tuple[str, ...]:
        return client_networks(scope, trusted_proxies=self._trusted_proxies)

    def _warn_of_an_unknown_proxy(self, scope: Scope) -> None:
        """Warn once: behind an untrusted proxy all clients count as one address, and would soon be refused."""
        if not self._trusted_proxies and not self._warned and "x-forwarded-for" in Headers(scope=scope):
            self._warned = True
            log.warning("a proxy seems to stand in front: name it in GATEWAY_TRUSTED_PROXIES", client=scope["client"])


class SignInLimit:
    """The rate limit of started sign-ins in all: each stores a record before its client is known."""

    def __init__(self, app: ASGIApp, *, limit: RateLimit) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http" and _starts_a_sign_in(scope):
            try:
                await self._limit.take("sign-ins")
            except AppError as error:
                await from_app_error(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _is_of_an_address(path: str) -> bool:
    return (path.startswith("/auth/") and path not in _BY_KEY) or path == _CONNECT_PAGE


def _starts_a_sign_in(scope: Scope) -> bool:
    path: str = scope["path"]
    return _STARTS.fullmatch(path) is not None or (path == _CONNECT_PAGE and scope["method"] == "POST")


class BodyLimit:
    """The limit of bodies to `limit` bytes, by their declared length or while they arrive."""

    def __init__(self, app: ASGIApp, *, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI. The 413 HTTPException is raised in `receive`, through which the framework passes it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "")
        too_large = declared.isdecimal() and (len(declared) > MAX_LENGTH_DIGITS or int(declared) > self._limit)
        received = 0

        async def limited_receive() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if too_large or received > self._limit:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return message

        await self._app(scope, limited_receive, send)
