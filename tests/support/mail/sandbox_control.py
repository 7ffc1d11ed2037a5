"""The provider of mail's tests: a real sandbox on a real socket, and its control API."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from services.kit.http.server import serve_http
from services.sandbox.app import open_sandbox
from services.sandbox.clock import Clock
from services.sandbox.settings import Settings
from tests.support.sandbox.harness import SandboxClient

# Seconds. The limits stay those of a minute, so that tests can use a minute's quota every second.
QUOTA_WINDOW = 1.0


@dataclass(frozen=True)
class Sandbox:
    """A served sandbox. `url` is its origin, `oauth` a client that signs in."""

    url: str
    http: httpx.AsyncClient
    oauth: SandboxClient

    async def control(self, method: str, path: str, body: object = None) -> Any:
        """Call the control API; return the JSON of its answer, or None."""
        # The standard library escapes lone surrogates; httpx's encoder fails on them.
        content = None if body is None else json.dumps(body).encode()
        answer = await self.http.request(method, f"/_sandbox/{path}", content=content)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    async def emails(self) -> set[str]:
        """Return the addresses of all users."""
        return {user["email"] for user in (await self.control("GET", "users"))["users"]}

    async def be_ordinary(self) -> None:
        """Delete users, settings and faults of earlier tests."""
        for email in await self.emails():
            await self.control("DELETE", f"users/{email}")
        await self.control("DELETE", "faults")
        await self.control("DELETE", "calls")
        settings = {"quota_window": QUOTA_WINDOW, "quota_kind": "sliding", "page_token_lifetime": 86_400.0}
        await self.control("PATCH", "gmail", {**settings, "error_shape": "new", "concurrency": 10})


@dataclass(frozen=True)
class SandboxMailbox:
    """A user's mailbox at the provider."""

    sandbox: Sandbox
    email: str

    async def control(self, method: str, path: str, body: object = None) -> Any:
        """Call the control API below this user."""
        return await self.sandbox.control(method, f"users/{self.email}/{path}", body)

    async def renamed(self, email: str) -> "SandboxMailbox":
        """Give the user another primary address; the account stays the same."""
        await self.sandbox.control("PATCH", f"users/{self.email}", {"email": email})
        return SandboxMailbox(self.sandbox, email)

    async def send_as(self, *addresses: str) -> None:
        """Let the user send mail from these addresses, too."""
        await self.sandbox.control("PATCH", f"users/{self.email}", {"send_as": addresses})

    async def truth(self) -> dict[str, frozenset[str]]:
        """Return message ids with their label ids, newest first."""
        return {fact["id"]: frozenset(fact["labelIds"]) for fact in await self.facts()}

    async def visible(self) -> list[str]:
        """Return the ids outside Spam and Trash, newest first."""
        return [id_ for id_, labels in (await self.truth()).items() if not labels & {"SPAM", "TRASH"}]

    async def facts(self) -> list[dict[str, Any]]:
        """Return the sandbox's data about its messages, newest first."""
        answer = await self.sandbox.http.get(f"/_sandbox/users/{self.email}/messages?sha256=0")
        return [json.loads(line) for line in answer.text.splitlines()]

    async def deliver(self, **fields: object) -> str:
        """Deliver a message with these fields; return its id."""
        made = {"from": "Bob <bob@example.net>", "subject": "Hello", "text": "Hi"} if "raw" not in fields else {}
        answer = await self.control("POST", "messages", {**made, **fields})
        return str(answer["messages"][0]["id"])

    async def deliver_large(self, text: str) -> str:
        """Deliver a message of any size; return its id."""
        raw = f"From: bob@example.net\r\nSubject: large\r\n\r\n{text}\r\n".encode()
        answer = await self.sandbox.http.post(f"/_sandbox/users/{self.email}/import", content=raw)
        return str(answer.json()["messages"][0]["id"])

    async def deliver_many(self, count: int) -> list[str]:
        """Deliver generated messages; return their ids."""
        answer = await self.control("POST", "messages", {"count": count})
        return [message["id"] for message in answer["messages"]]

    async def relabel(self, message_id: str, *, add: tuple[str, ...] = (), remove: tuple[str, ...] = ()) -> None:
        """Add and remove labels of a message."""
        await self.control("POST", f"messages/{message_id}/labels", {"add": list(add), "remove": list(remove)})

    async def delete(self, message_id: str) -> None:
        """Delete a message permanently."""
        await self.control("DELETE", f"messages/{message_id}")

    async def create_label(self, name: str) -> str:
        """Create a label; return its id."""
        return str((await self.control("POST", "labels", {"name": name}))["id"])

    async def lose_history(self) -> None:
        """Expire every cursor so far."""
        await self.control("POST", "history/expire")

    async def fail(self, *rules: Mapping[str, object]) -> None:
        """Let calls of this user only fail by rules of the fault plan.

        With a rule for one message all gets of threads fail as well: they could return it.
        """
        given = [*rules]
        if any(rule["method"] == "gmail.messages.get" and "path" in rule for rule in rules):
            given.append({"method": "gmail.threads.get", "kind": "error", "status": 404})
        await self.sandbox.control("PUT", "faults", {"rules": [{"user": self.email, **rule} for rule in given]})

    async def fired(self) -> list[int]:
        """Return how often each rule fired."""
        return [rule["fired"] for rule in (await self.sandbox.control("GET", "faults"))["rules"]]

    async def quota(self) -> dict[str, int]:
        """Return the provider's counts for this mailbox: units, rejected calls, peaks."""
        users = (await self.sandbox.control("GET", "calls"))["quota"]["users"]
        return dict(users.get(self.email, {"units": 0, "rejected": 0}))

    async def calls(self, method: str) -> int:
        """Return the calls of a method by this user since the stage was opened."""
        users = (await self.sandbox.control("GET", "calls"))["users"]
        return int(users.get(self.email, {}).get(method, 0))


@asynccontextmanager
async def served_sandbox() -> AsyncIterator[Sandbox]:
    """Serve a sandbox without users."""
    clock = Clock()
    settings = Settings(sandbox_enabled=True, users=(), messages=0, quota_window=QUOTA_WINDOW, quota_kind="sliding")
    async with open_sandbox(settings, clock=clock) as app, serve_http(app, host="127.0.0.1", port=0) as port:
        url = f"http://127.0.0.1:{port}"
        # The server closes what is idle for 5 s: a request must not meet that.
        limits = httpx.Limits(keepalive_expiry=2)
        async with httpx.AsyncClient(base_url=url, timeout=20, trust_env=False, limits=limits) as http:
            yield Sandbox(url, http, SandboxClient(http, clock))
