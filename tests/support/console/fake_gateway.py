"""A gateway that holds mailboxes, syncs, messages and keys, and answers as the REST API does."""

import json
from dataclasses import dataclass, field
from typing import Any

import httpx

NOW = 1_796_000_000.0
"""Seconds since 1970 at which tests of the console happen: 2026-11-30T00:53:20Z."""
MAILBOX = "6e81e799-cdf2-4763-a9f7-e419949912c8"
RECEIVED = "2026-11-30T00:48:20.000Z"

type Json = dict[str, Any]


def mailbox(**fields: object) -> Json:
    """Return a mailbox as the API gives it."""
    return {
        "mailbox_id": MAILBOX,
        "email": "ada@example.com",
        "provider": "example",
        "status": "active",
        "access_denied_reason": None,
        "reconnect_by": None,
        "last_synced_at": RECEIVED,
        "message_count": 1234,
        "unread_count": 5,
        "user_id": "0f823764-8ccd-4a5e-8521-83ab45d56833",
        **fields,
    }


def sync(**fields: object) -> Json:
    """Return a sync that has completed."""
    return {
        "id": "sync-1",
        "mailbox_id": MAILBOX,
        "email": "ada@example.com",
        "state": "completed",
        "count": 100,
        "listed": 100,
        "stored": 100,
        "pending": 0,
        "dead_letter_count": 0,
        "units_spent": 2000,
        "units_per_message": 20.0,
        "eta_seconds": None,
        "verification": None,
        "error": None,
        "last_error": None,
        "access_denied_reason": None,
        "waiting_for": None,
        "waiting_until": None,
        "progress_at": RECEIVED,
        "created_at": RECEIVED,
        "ended_at": RECEIVED,
        "dead_letters": [],
        **fields,
    }


def email(**fields: object) -> Json:
    """Return a whole message."""
    return {
        "id": "email-1",
        "external_id": "x1",
        "mailbox_id": MAILBOX,
        "thread_id": "thread-1",
        "from": {"name": "Grace", "email": "grace@example.org"},
        "to": [{"name": "", "email": "ada@example.com"}],
        "cc": [],
        "bcc": [],
        "reply_to": [],
        "subject": "Lunch",
        "snippet": "At noon?",
        "received_at": RECEIVED,
        "is_read": False,
        "marks": [],
        "labels": ["INBOX"],
        "has_attachments": False,
        "size": 2048,
        "headers": [{"name": "Subject", "value": "Lunch"}],
        "text": "At noon?",
        "html": "<p>At <b>noon</b>?</p>",
        "attachments": [],
        **fields,
    }


def webhook(**fields: object) -> Json:
    """Return a webhook as the API gives it."""
    return {
        "id": "webhook-1",
        "url": "https://shop.example/hook",
        "events": ["message.created"],
        "mailbox_ids": None,
        "description": "the shop",
        "backfill": False,
        "order": "mailbox",
        "status": "enabled",
        "disabled_reason": None,
        "disabled_at": None,
        "failing_since": None,
        "created_at": RECEIVED,
        **fields,
    }


def delivery(**fields: object) -> Json:
    """Return a delivery as the API gives it, which was parked after a try."""
    attempt = {"at": RECEIVED, "status": 400, "error": None, "duration_ms": 12, "body": "no such order"}
    return {
        "id": "7",
        "event_id": "msg_1",
        "event": "message.created",
        "mailbox_id": MAILBOX,
        "position": "position-1",
        "state": "parked",
        "tries": 1,
        "attempts": [attempt],
        "created_at": RECEIVED,
        "ended_at": RECEIVED,
        **fields,
    }


def event(**fields: object) -> Json:
    """Return an audit event as the API gives it, of a user whose mailbox was connected."""
    return {
        "id": "e1",
        "type": "account_connected",
        "created_at": RECEIVED,
        "user_id": "user-1",
        "key_id": None,
        "mailbox_id": MAILBOX,
        "session_id": None,
        "email": "ada@example.com",
        "client_network": "192.0.2.0/24",
        "client": "Firefox on Linux",
        **fields,
    }


def key(**fields: object) -> Json:
    """Return an API key as the API gives it, without its secret."""
    return {
        "id": "AbC",
        "name": "reports",
        "scopes": ["mail.read"],
        "mailbox_ids": None,
        "networks": None,
        "created_by": None,
        "created_at": RECEIVED,
        "expires_at": None,
        "revoked_at": None,
        "last_used_at": None,
        **fields,
    }


def usage(*, active: int = 1, **last: object) -> Json:
    """Return the usage of a day with counts in its last hour only."""
    deliveries = {"delivered": 0, "failed": 0, "parked": 0}
    none: Json = {"messages_stored": 0, "changes": 0, "deliveries": deliveries, "provider_units": 0}
    hours = [{"hour": f"2026-11-{29 + (n + 1) // 24}T{(n + 1) % 24:02}:00:00.000Z", **none} for n in range(24)]
    hours[-1] |= last
    counts = {"active": active, "reauth_required": 0, "access_denied": 0}
    return {"mailboxes": counts, "total": {**none, **last}, "hours": hours}


@dataclass
class FakeGateway:
    """Answers by path; `refusals` have a status and a code for a path that is to fail."""

    mailboxes: list[Json] = field(default_factory=lambda: [mailbox()])
    syncs: list[Json] = field(default_factory=lambda: [sync()])
    emails: list[Json] = field(default_factory=lambda: [email()])
    labels: list[Json] = field(default_factory=list)
    keys: list[Json] = field(default_factory=list)
    usage: Json = field(default_factory=usage)
    webhooks: list[Json] = field(default_factory=list)
    deliveries: list[Json] = field(default_factory=list)
    changes: list[Json] = field(default_factory=list)
    events: list[Json] = field(default_factory=list)
    document: Json | None = None
    bytes: bytes = b"From: grace\r\n\r\nAt noon?"
    refusals: dict[str, tuple[int, str]] = field(default_factory=dict)
    requests: list[httpx.Request] = field(default_factory=list)
    _refused_once: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)

    def refuse_once(self, method: str, path: str, status: int, code: str) -> None:
        """Refuse the next request of this method for a path."""
        self._refused_once[method, path] = (status, code)

    def client(self) -> httpx.AsyncClient:
        """Return a client whose requests this gateway answers."""
        return httpx.AsyncClient(base_url="http://gateway", transport=httpx.MockTransport(self._answer))

    def bodies(self, method: str, path: str) -> list[Json]:
        """Return the bodies of the requests that were made."""
        made = [each for each in self.requests if (each.method, each.url.path) == (method, path)]
        return [json.loads(each.content) if each.content else {} for each in made]

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        path = request.url.path
        refusal = self._refused_once.pop((request.method, path), None) or self.refusals.get(path)
        if refusal is not None:
            status, code = refusal
            problem = {"status": status, "code": code, "detail": f"About {code}.", "request_id": "r1"}
            return httpx.Response(status, json=problem)
        if request.method == "DELETE":
            return httpx.Response(202)
        answer = self._of_webhooks(request, path) if path.startswith("/webhooks") else self._found(request, path)
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)

    def _found(self, request: httpx.Request, path: str) -> Json | httpx.Response:
        lists: dict[str, Json] = {
            "/mailboxes": {"mailboxes": self.mailboxes, "next_cursor": None},
            f"/mailboxes/{MAILBOX}": (self.mailboxes or [{}])[0],
            "/emails/syncs": {"syncs": self.syncs, "next_cursor": None},
            "/emails/sync": sync(state="queued", ended_at=None),
            "/emails/verify": sync(state="queued", ended_at=None),
            "/emails": {"emails": self.emails[: int(request.url.params.get("limit", 50))], "next_cursor": None},
            "/emails/labels": {"labels": self.labels},
            "/emails/threads": {"threads": [], "next_cursor": None},
            "/emails/changes": {"changes": self.changes, "next_since": "position-2", "has_more": False},
            "/keys": {"keys": self.keys},
            "/audit/events": {"events": self.events, "next_cursor": "more" if self.events else None},
            "/usage": self.usage,
            "/connect/sessions/connection-1/complete": {"mailbox_id": MAILBOX, "email": "ada@example.com"},
        }
        if request.method == "POST" and path == "/keys":
            return {**json.loads(request.content), "id": "new", "api_key": "mr_new_secret"}
        if path == "/connect/sessions":
            return {
                "id": "connection-1",
                "url": "http://api.example.com/connect?x=1",
                "user_id": "u",
                "expires_at": RECEIVED,
            }
        if path == "/openapi.json" and self.document is not None:
            return self.document
        if path in lists:
            return lists[path]
        if path.endswith("/raw") or "/attachments/" in path:
            disposition = {"content-disposition": 'attachment; filename="a.html"', "content-type": "text/html"}
            return httpx.Response(200, content=self.bytes, headers=disposition)
        for prefix, known in (("/emails/syncs/", self.syncs), ("/emails/", self.emails)):
            for each in known:
                if path.removesuffix("/retry") == f"{prefix}{each['id']}":
                    return each
        if path.endswith("/events"):
            return {"events": [{"type": "created", "created_at": RECEIVED, "client_network": None, "client": None}]}
        return httpx.Response(404, json={"status": 404, "code": "not_found", "detail": "No.", "request_id": "r1"})

    def _of_webhooks(self, request: httpx.Request, path: str) -> Json | httpx.Response:
        """Answer for the webhook `webhook-1` and its delivery `7`."""
        if path == "/webhooks" and request.method == "POST":
            return {**webhook(**json.loads(request.content)), "secret": "whsec_new"}
        one = "/webhooks/webhook-1"
        answers: dict[str, Json] = {
            "/webhooks": {"webhooks": self.webhooks},
            one: (self.webhooks or [webhook()])[0],
            f"{one}/deliveries": {"deliveries": self.deliveries, "next_cursor": None},
            f"{one}/rotate": {"secret": "whsec_another"},
            f"{one}/test": delivery(state="pending"),
            f"{one}/enable": webhook(),
            f"{one}/deliveries/7/retry": delivery(state="pending"),
            f"{one}/replay": {},
        }
        return answers.get(
            path, httpx.Response(404, json={"status": 404, "code": "webhook_not_found", "detail": "No."})
        )
