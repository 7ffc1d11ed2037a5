"""A signed-in client of the sandbox's Gmail API and of its control API."""

import base64
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from services.kit.http.server import serve_http
from services.sandbox.app import open_sandbox
from services.sandbox.clock import Clock
from services.sandbox.settings import Settings
from tests.support.sandbox.harness import ISSUER, SandboxClient
from tests.support.sandbox.key_ring import next_key

EMAIL = "ada@example.com"
FULL_SCOPE = "https://mail.google.com/"


@dataclass(frozen=True)
class MailClient:
    """Ada with an access token."""

    http: httpx.AsyncClient
    clock: Clock
    token: str

    @property
    def headers(self) -> dict[str, str]:
        """The headers that authorize a call."""
        return {"Authorization": f"Bearer {self.token}"}

    async def get(self, path: str, **headers: str) -> httpx.Response:
        """GET below `users/me/`."""
        return await self.http.get(f"/gmail/v1/users/me/{path}", headers=self.headers | headers)

    async def post(self, path: str, body: object = None) -> httpx.Response:
        """POST below `users/me/`."""
        return await self.http.post(f"/gmail/v1/users/me/{path}", json=body, headers=self.headers)

    async def json(self, path: str) -> Any:
        """GET that must succeed, as JSON."""
        answer = await self.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def control(self, verb: str, path: str, body: object = None) -> Any:
        """Call the control API, which must succeed."""
        content = None if body is None else json.dumps(body)
        answer = await self.http.request(verb, f"/_sandbox/{path}", content=content)
        assert answer.is_success, answer.text
        return answer.json() if answer.headers.get("content-type") == "application/json" else None

    async def deliver(self, **mail: object) -> str:
        """Deliver one message. Returns its id."""
        [message] = (await self.control("POST", f"users/{EMAIL}/messages", mail))["messages"]
        name: str = message["id"]
        return name

    async def deliver_raw(self, raw: bytes, **mail: object) -> str:
        """Deliver these bytes. Returns the message's id."""
        return await self.deliver(raw=base64.urlsafe_b64encode(raw).decode(), **mail)

    async def plan(self, *rules: dict[str, object], seed: int = 0) -> None:
        """Replace the fault plan."""
        await self.control("PUT", "faults", {"seed": seed, "rules": list(rules)})

    async def fired(self) -> list[int]:
        """Return how often each rule fired."""
        return [rule["fired"] for rule in (await self.control("GET", "faults"))["rules"]]

    async def batch(self, parts: Sequence[str], **headers: str) -> list[tuple[int, str]]:
        """Send request heads as one batch. Returns status and text of each response."""
        body = "".join(f"--b\r\nContent-Type: application/http\r\n\r\n{part}\r\n\r\n" for part in parts) + "--b--"
        sent = self.headers | {"Content-Type": "multipart/mixed; boundary=b"} | headers
        answer = await self.http.post("/batch/gmail/v1", content=body, headers=sent)
        assert answer.status_code == 200, answer.text
        return split_answers(answer)


def split_answers(answer: httpx.Response) -> list[tuple[int, str]]:
    """Split a batch response into status and text of each part."""
    boundary = answer.headers["content-type"].partition("boundary=")[2]
    chunks = answer.text.split(f"--{boundary}")[1:-1]
    return [(int(chunk.split("HTTP/1.1 ", 1)[1][:3]), chunk) for chunk in chunks]


def reason(answer: httpx.Response) -> tuple[int, str]:
    """Return status and reason of a Gmail error."""
    return answer.status_code, answer.json()["error"]["errors"][0]["reason"]


async def sign_in(http: httpx.AsyncClient, clock: Clock, scope: str = FULL_SCOPE) -> MailClient:
    """Let Ada consent to `scope`."""
    tokens = await SandboxClient(http, clock).sign_in(scope=scope)
    return MailClient(http, clock, tokens["access_token"])


@asynccontextmanager
async def open_mail(messages: int = 0, **settings: Any) -> AsyncIterator[MailClient]:
    """Open a sandbox without a socket. Its quota never binds by default."""
    clock = Clock()
    async with (
        open_sandbox(_settings(messages, settings), clock=clock, new_key=next_key) as app,
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ISSUER) as http,
    ):
        yield await sign_in(http, clock)


@asynccontextmanager
async def open_mail_on_socket(messages: int = 0, **settings: Any) -> AsyncIterator[MailClient]:
    """Open the same on a socket."""
    clock = Clock()
    async with (
        open_sandbox(_settings(messages, settings), clock=clock, new_key=next_key) as app,
        serve_http(app, host="127.0.0.1", port=0) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as http,
    ):
        yield await sign_in(http, clock)


def _settings(messages: int, settings: dict[str, Any]) -> Settings:
    chosen: dict[str, Any] = {"users": (EMAIL,), "messages": messages, "quota_window": 0.001} | settings
    return Settings(sandbox_enabled=True, **chosen)
