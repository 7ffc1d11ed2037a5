"""A sandbox whose control API holds mailboxes."""

import json
from dataclasses import dataclass, field
from urllib.parse import unquote

import httpx


@dataclass
class FakeSandbox:
    """The number of messages by address."""

    mailboxes: dict[str, int] = field(default_factory=lambda: {"ada@example.com": 10})

    def client(self) -> httpx.AsyncClient:
        """Return a client whose requests this sandbox answers."""
        return httpx.AsyncClient(base_url="http://sandbox", transport=httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json={"users": [{"email": email} for email in self.mailboxes]})
        body = json.loads(request.content)
        if request.url.path == "/_sandbox/users":
            if body["email"] in self.mailboxes:
                return httpx.Response(409, json={"error": "the address is taken"})
            self.mailboxes[body["email"]] = body["messages"]
            return httpx.Response(201, json={})
        email = unquote(request.url.path.split("/")[3])
        self.mailboxes[email] += body["count"]
        return httpx.Response(201, json={})
