"""A gateway that answers the client from a script."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
from mailroom_client import AsyncMailroom, Mailroom, Retries

type Answer = httpx.Response | Exception
# No pause between two attempts.
AT_ONCE = Retries(first=0)


@dataclass
class Gateway:
    """Answers requests in turn, the last answer again and again, and remembers them."""

    answers: list[Answer]
    requests: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        request.read()
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def client(self, *, retries: Retries = AT_ONCE, **chosen: Any) -> Mailroom:
        """Return a client of this gateway."""
        http = httpx.Client(transport=httpx.MockTransport(self))
        return Mailroom("http://gateway/", **{"token": "t", "retries": retries, "http": http, **chosen})

    def async_client(self, *, retries: Retries = AT_ONCE, **chosen: Any) -> AsyncMailroom:
        """Return an asynchronous client of this gateway."""
        http = httpx.AsyncClient(transport=httpx.MockTransport(self))
        return AsyncMailroom("http://gateway/", **{"token": "t", "retries": retries, "http": http, **chosen})


def problem(status: int, code: str, **headers: str) -> httpx.Response:
    """Return a refusal as Mailroom words it."""
    body = {"type": f"urn:mailroom:{code}", "title": code, "status": status, "detail": "why", "code": code}
    return httpx.Response(status, json=body | {"request_id": "r-1"}, headers=headers)


def email(number: int) -> dict[str, object]:
    """Return a message as lists show it."""
    return {
        "id": f"m{number}",
        "external_id": f"x{number}",
        "mailbox_id": "0190b0a0-0000-7000-8000-000000000001",
        "account_id": "0190b0a0-0000-7000-8000-000000000001",
        "thread_id": "t1",
        "from": {"name": "Grace", "email": "grace@example.org"},
        "from_email": "grace@example.org",
        "to": [{"name": "", "email": "ada@example.com"}],
        "cc": [],
        "subject": f"number {number}",
        "snippet": "",
        "received_at": "2026-01-31T10:00:00.120Z",
        "is_read": False,
        "marks": [],
        "labels": ["INBOX"],
        "has_attachments": False,
        "size": 1000,
    }


def whole_email(number: int) -> dict[str, object]:
    """Return a message as exports show it."""
    return email(number) | {"bcc": [], "reply_to": [], "headers": [], "text": "hello", "html": None, "attachments": []}


def pages_of(items: list[dict[str, object]], *, field: str) -> Callable[[httpx.Request], httpx.Response]:
    """Return the handler of a list: `limit` items from the number that the cursor is."""

    def answer(request: httpx.Request) -> httpx.Response:
        begin, limit = int(request.url.params.get("cursor", "0")), int(request.url.params["limit"])
        end = begin + limit
        cursor = str(end) if end < len(items) else None
        return httpx.Response(200, json={field: items[begin:end], "next_cursor": cursor})

    return answer


async def chunks(*parts: bytes | Exception) -> AsyncIterator[bytes]:
    """Return a body that can break off."""
    for part in parts:
        if isinstance(part, Exception):
            raise part
        yield part
