"""Connections to Gmail."""

import re
import socket
from typing import Any, Final

import httpx

from services.kit.observe.http_calls import CallObserver, ObservedClient
from services.kit.tls.authorities import public_authorities
from services.mail.providers.gmail.http.deadlines import DEADLINES, Deadlines

# A request with this extension set gets a connection of its own, which is closed afterwards.
OWN_CONNECTION: Final = "mailroom.own_connection"
# Seconds of silence before the first TCP keepalive probe, and between two probes.
_PROBE_SECONDS = 5
# Paths of users.* methods, and their names without the prefix "gmail.".
_CALLS = {
    re.compile(pattern): name
    for pattern, name in {
        r"/profile": "getProfile",
        r"/messages": "messages.list",
        r"/messages/[^/]+": "messages.get",
        r"/messages/[^/]+/attachments/[^/]+": "messages.attachments.get",
        r"/threads/[^/]+": "threads.get",
        r"/history": "history.list",
        r"/labels": "labels.list",
        r"/settings/sendAs": "settings.sendAs.list",
        r"/watch": "watch",
        r"/stop": "stop",
    }.items()
}


def create_gmail_client(*, observer: CallObserver, deadlines: Deadlines = DEADLINES) -> httpx.AsyncClient:
    """Create a client without a limit of connections: callers limit their calls, and no call waits for another.

    The caller closes it.
    """
    return _Client(
        observer=observer,
        name_call=name_call,
        transport=_Transport(deadlines),
        timeout=httpx.Timeout(connect=deadlines.connect, read=deadlines.between, write=deadlines.between, pool=None),
        follow_redirects=False,
        headers={"User-Agent": "mailroom (gzip)", "Accept-Encoding": "gzip"},
    )


def name_call(url: httpx.URL) -> str:
    """Return the method that a request to `url` calls, such as `gmail.messages.get`; any other address is a batch."""
    _, users, path = url.path.partition("/gmail/v1/users/me")
    if not users:
        return "gmail.batch"
    return next((f"gmail.{name}" for pattern, name in _CALLS.items() if pattern.fullmatch(path)), "gmail.other")


class _Transport(httpx.AsyncBaseTransport):
    """A transport over kept connections, or over a new one for each request with OWN_CONNECTION."""

    def __init__(self, deadlines: Deadlines) -> None:
        tls = public_authorities(trust_env=False)
        options = _socket_options(deadlines.between)

        def transport(*, kept: int | None) -> httpx.AsyncHTTPTransport:
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=kept, keepalive_expiry=deadlines.kept)
            # The environment's proxies must not see tokens unless the operator configures them in our own settings.
            return httpx.AsyncHTTPTransport(verify=tls, trust_env=False, limits=limits, socket_options=options)

        self._kept = transport(kept=None)
        self._own = transport(kept=0)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request."""
        transport = self._own if request.extensions.get(OWN_CONNECTION) else self._kept
        return await transport.handle_async_request(request)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._kept.aclose()
        await self._own.aclose()


def _socket_options(silence: float) -> list[tuple[int, int, int]]:
    """Return options that end connections whose data is not acknowledged for `silence` seconds. Source: tcp(7)."""
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    values = {
        "TCP_USER_TIMEOUT": round(silence * 1000),
        "TCP_KEEPIDLE": _PROBE_SECONDS,
        "TCP_KEEPINTVL": _PROBE_SECONDS,
    }
    # Systems other than Linux lack some of these.
    options += [
        (socket.IPPROTO_TCP, getattr(socket, name), value) for name, value in values.items() if hasattr(socket, name)
    ]
    return options


class _Client(ObservedClient):
    """A client without cookies: it serves many users, and no answer may set state for another user's call.

    Looking for cookies would also take an eighth of a call's CPU time.
    """

    def __init__(self, **options: Any) -> None:
        # A .netrc must not add credentials.
        super().__init__(trust_env=False, **options)
        self._no_cookies = _NoCookies()

    @property
    def cookies(self) -> httpx.Cookies:
        """Always empty."""
        return self._no_cookies

    @cookies.setter
    def cookies(self, cookies: object) -> None:
        raise NotImplementedError


class _NoCookies(httpx.Cookies):
    def extract_cookies(self, response: httpx.Response) -> None:
        pass
