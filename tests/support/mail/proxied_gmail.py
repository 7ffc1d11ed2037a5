"""A proxy before the sandbox that answers some calls by itself: listings that lag, fall short, or skip messages."""

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.kit.http.server import serve_http
from services.kit.tls.authorities import public_authorities
from tests.support.mail.sandbox_control import Sandbox

LARGEST_PAGE = "500"


@dataclass(frozen=True)
class ProxiedCall:
    """A call on its way to the sandbox."""

    request: Request
    sandbox: httpx.AsyncClient

    @property
    def lists_messages(self) -> bool:
        """Whether it asks for a page of message ids."""
        return self.request.url.path.endswith("/messages")

    @property
    def label(self) -> str | None:
        """The label to list by."""
        return self.request.query_params.get("labelIds")

    async def forward(self, **params: str) -> httpx.Response:
        """The sandbox's answer, to these query parameters in place of the call's own; an empty one leaves it out."""
        names = ("authorization", "content-type")
        headers = {name: self.request.headers[name] for name in names if name in self.request.headers}
        query: list[tuple[str, str | int | float | bool | None]]
        query = [(name, value) for name, value in self.request.query_params.multi_items() if name not in params]
        query += [(name, value) for name, value in params.items() if value]
        return await self.sandbox.request(
            self.request.method,
            self.request.url.path,
            params=query,
            content=await self.request.body(),
            headers=headers,
        )


Answer = Callable[[ProxiedCall], Awaitable[Response | None]]
"""What the proxy answers by itself; None for what the sandbox answers."""


@asynccontextmanager
async def proxied(sandbox: Sandbox, answer: Answer) -> AsyncIterator[str]:
    """The origin of such a proxy, for as long as the context lasts."""
    async with httpx.AsyncClient(
        base_url=sandbox.url, timeout=20, trust_env=False, verify=public_authorities(trust_env=False)
    ) as http:

        async def handle(request: Request) -> Response:
            call = ProxiedCall(request, http)
            made = await answer(call)
            if made is not None:
                return made
            got = await call.forward()
            return Response(got.content, got.status_code, media_type=got.headers.get("content-type"))

        routes = [Route("/{path:path}", handle, methods=["GET", "POST"])]
        async with serve_http(Starlette(routes=routes), host="127.0.0.1", port=0) as port:
            yield f"http://127.0.0.1:{port}"


def as_json(value: object) -> Response:
    """A successful answer."""
    return Response(json.dumps(value), media_type="application/json")


async def _do_nothing(page: int) -> None:
    del page


@dataclass
class OffsetPages:
    """Listings whose page tokens are offsets. `after_page` is called with the number of each page before it is sent."""

    after_page: Callable[[int], Awaitable[None]] = _do_nothing
    pages: int = 0

    async def answer(self, call: ProxiedCall) -> Response | None:
        """See Answer."""
        if not call.lists_messages:
            return None
        size = int(call.request.query_params.get("maxResults", 100))
        start = int(call.request.query_params.get("pageToken") or 0)
        got = (await call.forward(maxResults=LARGEST_PAGE, pageToken="")).json()
        entries = got.get("messages", [])
        answer: dict[str, Any] = {"messages": entries[start : start + size]}
        if start + size < len(entries):
            answer["nextPageToken"] = str(start + size)
        self.pages += 1
        await self.after_page(self.pages)
        return as_json(answer)


@dataclass
class AlteredListings:
    """Listings that lack some messages, and show others by labels that they do not carry (any more).

    `lacks` may be everything; `invents` are entries that each first page shows in addition.
    """

    lacks: set[str] = field(default_factory=set)
    lacks_everything: bool = False
    # Label ids to the messages that their listings lack, and to those that they show wrongly.
    lacks_by_label: dict[str, set[str]] = field(default_factory=dict)
    shows_by_label: dict[str, set[str]] = field(default_factory=dict)
    invents: Callable[[], Sequence[str]] = tuple
    listings: int = 0

    async def answer(self, call: ProxiedCall) -> Response | None:
        """See Answer."""
        if not call.lists_messages:
            return None
        self.listings += 1
        if self.lacks_everything:
            return as_json({"resultSizeEstimate": 0})
        answer = (await call.forward()).json()
        entries = answer.get("messages", [])
        lacking, showing = self.lacks, set(self.invents())
        if call.label is not None:
            lacking, showing = self.lacks_by_label.get(call.label, set()), self.shows_by_label.get(call.label, set())
        shown = [{"id": id_, "threadId": id_} for id_ in showing if "pageToken" not in call.request.query_params]
        answer["messages"] = shown + [entry for entry in entries if entry["id"] not in lacking]
        return as_json(answer)


@dataclass
class LateIndex:
    """Listings that show the `late` messages only so many seconds after the first profile, which gave the cursor.

    Later profiles are compared with listings, and change nothing.
    """

    seconds: float
    late: set[str] = field(default_factory=set)
    _timed: set[str] = field(default_factory=set)
    _shown_at: float = float("inf")

    async def answer(self, call: ProxiedCall) -> Response | None:
        """See Answer."""
        if call.request.url.path.endswith("/profile") and self._timed != self.late:
            self._timed = set(self.late)
            self._shown_at = time.monotonic() + self.seconds
        if call.lists_messages and time.monotonic() < self._shown_at:
            return await AlteredListings(lacks=self.late).answer(call)
        return None
