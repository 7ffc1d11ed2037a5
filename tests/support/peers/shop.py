"""A shop on this machine: a back end of an application, with sign-ins of its own, whose users connect mailboxes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from tests.support.e2e.back_ends import BackEnd


@dataclass
class Shop:
    """The state of the shop: the sessions that it created, by id, with their users."""

    url: str
    # Set once the application is known, which lists `url`.
    back_end: BackEnd | None = None
    users: dict[str, str] = field(default_factory=dict)
    referers: list[str] = field(default_factory=list)
    connected: list[dict[str, Any]] = field(default_factory=list)

    @property
    def redirect_url(self) -> str:
        """Where browsers return to."""
        return f"{self.url}/connected"

    def start(self, user: str) -> str:
        """Create a session for a user; return the URL of its page."""
        assert self.back_end is not None
        session = self.back_end.start(user, redirect_url=self.redirect_url)
        self.users[session["id"]] = user
        return str(session["url"])

    def finish(self, user: str, query: dict[str, str]) -> str:
        """Complete a session if it is the user's of this browser; return what the browser shows."""
        assert self.back_end is not None
        if self.users.get(query.get("session", "")) != user:
            return "refused: another user's session"
        if "error" in query:
            return f"not connected: {query['error']}"
        answer = self.back_end.complete(query["session"], query["code"])
        assert answer.status_code == 200, answer.text
        self.connected.append(answer.json())
        return f"connected {answer.json()['email']}"


class _Pages(BaseHTTPRequestHandler):
    shop: ClassVar[Shop]

    def do_GET(self) -> None:
        """Serve `/login?user=`, `/connect` and the redirect URL."""
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.shop.referers.append(self.headers.get("Referer", ""))
        cookie = SimpleCookie(self.headers.get("Cookie", "")).get("user")
        user = cookie.value if cookie else ""
        match parts.path:
            case "/login":
                self._respond(200, f"hello {query['user']}", **{"Set-Cookie": f"user={query['user']}"})
            case "/connect":
                self._respond(303, "", Location=self.shop.start(user))
            case "/connected":
                self._respond(200, self.shop.finish(user, query))
            case _:
                self._respond(404, "")

    def _respond(self, status: int, text: str, **headers: str) -> None:
        body = f"<!doctype html><title>Shop</title><link rel=icon href=data:,><p>{text}</p>".encode()
        self.send_response(status)
        for name, value in {"Content-Type": "text/html", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
        """Log nothing."""


@contextmanager
def open_shop() -> Iterator[Shop]:
    """Serve a shop on a free port until the block ends."""

    class Pages(_Pages):
        pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        Pages.shop = Shop(f"http://localhost:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Pages.shop
        finally:
            server.shutdown()
            thread.join()
