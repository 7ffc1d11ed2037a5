"""People who use Mailroom through its REST API, and their true mailboxes at the (sandbox) provider."""

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx

from services.kit.tls.authorities import public_authorities
from tests.support.own_addresses import own_address

SYNC_SECONDS = 60
_LISTED_BY_DEFAULT = frozenset({"SPAM", "TRASH"})


@dataclass(frozen=True, slots=True)
class Truth:
    """A message at the provider."""

    id: str
    thread: str
    labels: frozenset[str]
    received: datetime
    subject: str | None


class Provider:
    """The sandbox's control API."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(
            base_url=f"{url}/_sandbox",
            trust_env=False,
            timeout=60,
            verify=public_authorities(trust_env=False),
            # The server closes what is idle for 5 s: a request must not meet that.
            limits=httpx.Limits(keepalive_expiry=2),
        )

    def close(self) -> None:
        self._http.close()

    def new_user(self, *, messages: int = 0, email: str = "", **fields: object) -> str:
        """Create a user for one test. Returns the address, from which the mail follows."""
        address = email or own_address({user["email"] for user in self.get("/users")["users"]})
        self.post("/users", email=address, messages=messages, **fields)
        return address

    def rename(self, email: str, new: str) -> None:
        """Give a user another address."""
        self._http.patch(f"/users/{email}", json={"email": new}).raise_for_status()

    def truth(self, email: str, *, all_labels: bool = True) -> list[Truth]:
        """Return the messages, newest first; without Spam and Trash unless `all_labels`."""
        messages = [_truth(fact) for fact in self.facts(email)]
        return [item for item in messages if all_labels or not item.labels & _LISTED_BY_DEFAULT]

    def facts(self, email: str) -> list[dict[str, Any]]:
        """Return the messages, newest first, in the provider's terms and with the SHA-256 of their bytes."""
        answer = self._http.get(f"/users/{email}/messages").raise_for_status()
        return [json.loads(line) for line in answer.text.splitlines()]

    def raw(self, email: str, message_id: str) -> bytes:
        """Return the RFC 5322 bytes of a message."""
        return self._http.get(f"/users/{email}/messages/{message_id}/raw").raise_for_status().content

    def deliver(self, email: str, **fields: object) -> list[str]:
        """Deliver new mail. Returns its ids."""
        return [item["id"] for item in self.post(f"/users/{email}/messages", **fields)["messages"]]

    def relabel(self, email: str, message_id: str, *, add: tuple[str, ...] = (), remove: tuple[str, ...] = ()) -> None:
        """Change labels of a message as its user."""
        self.post(f"/users/{email}/messages/{message_id}/labels", add=list(add), remove=list(remove))

    def delete(self, email: str, message_id: str) -> None:
        """Delete a message permanently as its user."""
        self._http.delete(f"/users/{email}/messages/{message_id}").raise_for_status()

    def plan_faults(self, *rules: Mapping[str, object], seed: int = 1) -> None:
        """Replace the fault plan."""
        self._http.put("/faults", json={"seed": seed, "rules": list(rules)}).raise_for_status()

    def end_faults(self) -> list[int]:
        """Clear the fault plan. Returns how often each rule fired."""
        plan = self._http.get("/faults").raise_for_status().json()
        self._http.delete("/faults").raise_for_status()
        return [int(rule["fired"]) for rule in plan["rules"]]

    def post(self, path: str, **body: object) -> Any:
        # Escaped, since lone surrogates have no UTF-8.
        headers = {"Content-Type": "application/json"}
        answer = self._http.post(path, content=json.dumps(body), headers=headers)
        assert answer.is_success, f"{path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def put(self, path: str, **body: object) -> Any:
        answer = self._http.put(path, json=body)
        assert answer.is_success, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    def patch(self, path: str, **body: object) -> None:
        self._http.patch(path, json=body).raise_for_status()

    def get(self, path: str) -> Any:
        return self._http.get(path).raise_for_status().json()

    def reset_calls(self) -> None:
        """Reset call counts."""
        self._http.delete("/calls").raise_for_status()


@dataclass(slots=True)
class Person:
    """A user with a session."""

    http: httpx.Client
    email: str
    token: str

    @classmethod
    def sign_in(cls, http: httpx.Client, email: str, *, provider: str = "google") -> Self:
        """Sign in through the consent page, as a browser and a frontend do together."""
        verifier, challenge = new_proof()
        code = login_code(http, email, code_challenge=challenge, provider=provider)
        return cls(http=http, email=email, token=redeem(http, code, code_verifier=verifier))

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.http.get(path, headers=self.headers(headers))

    def post(self, path: str, body: object, **headers: str) -> httpx.Response:
        return self.http.post(path, json=body, headers=self.headers(headers))

    def delete(self, path: str) -> httpx.Response:
        return self.http.delete(path, headers=self.headers())

    def address(self) -> dict[str, Any]:
        """Return the one connected address."""
        answer = self.get("/emails/addresses")
        assert answer.status_code == 200, answer.text
        [address] = answer.json()["addresses"]
        return dict(address)

    def start_sync(self, count: int | str = "all") -> dict[str, Any]:
        """Start a sync. Returns it as it is at that moment."""
        answer = self.post("/emails/sync", {"email": self.email, "count": count})
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    def await_end(self, sync: Mapping[str, Any]) -> dict[str, Any]:
        """Wait until a sync has ended."""
        answer = self.get(f"/emails/syncs/{sync['id']}", Prefer=f"wait={SYNC_SECONDS}")
        assert answer.status_code == 200, answer.text
        ended = dict(answer.json())
        assert ended["state"] in ("completed", "failed", "cancelled"), ended
        return ended

    def sync(self, count: int | str = "all") -> dict[str, Any]:
        """Bring the mailbox up to date. Returns the completed sync."""
        ended = self.await_end(self.start_sync(count))
        assert (ended["state"], ended["error"]) == ("completed", None), ended
        return ended

    def emails(self, **filters: str | int) -> list[dict[str, Any]]:
        """Return all pages of the list, as a client reads them."""
        found: list[dict[str, Any]] = []
        query = {"user_email": self.email, "limit": 200, **filters}
        cursor: str | None = ""
        while cursor is not None:
            page = self.get("/emails?" + urlencode({**query, "cursor": cursor}))
            assert page.status_code == 200, page.text
            found += page.json()["emails"]
            cursor = page.json()["next_cursor"]
        return found

    def headers(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the headers of all requests of this person, and `more`."""
        return {"Authorization": f"Bearer {self.token}", **(more or {})}


def new_proof() -> tuple[str, str]:
    """Return a PKCE verifier and its challenge (RFC 7636)."""
    verifier = secrets.token_urlsafe(48)
    digest = hashlib.sha256(verifier.encode()).digest()
    return verifier, base64.urlsafe_b64encode(digest).decode().rstrip("=")


def consent(
    http: httpx.Client, email: str, *, code_challenge: str = "", provider: str = "google", **form: object
) -> str:
    """Start a sign-in and submit the consent page. Returns the redirect of the provider."""
    started = http.get(f"/auth/{provider}/start", params={"code_challenge": code_challenge} if code_challenge else {})
    assert started.status_code == 200, started.text
    page = started.json()["authorization_url"]
    answer = http.post(page, data={"account": email, "decision": "allow", **form})
    assert answer.status_code in (302, 303), answer.text
    return answer.headers["location"]


def frontend_query(http: httpx.Client, callback: str) -> dict[str, str]:
    """Follow the provider's redirect through the gateway. Returns the query that the frontend gets."""
    answer = http.get(callback)
    assert answer.status_code == 303, answer.text
    query = parse_qs(urlsplit(answer.headers["location"]).query)
    return {name: value for name, [value] in query.items()}


def login_code(http: httpx.Client, email: str, *, code_challenge: str = "", provider: str = "google") -> str:
    """Sign in up to the point where the frontend has its `state`."""
    query = frontend_query(http, consent(http, email, code_challenge=code_challenge, provider=provider))
    assert "state" in query, query
    return query["state"]


def redeem(http: httpx.Client, state: str, *, code_verifier: str = "") -> str:
    """Exchange the frontend's `state` for an access token."""
    proof = {"code_verifier": code_verifier} if code_verifier else {}
    answer = http.post("/auth/token", json={"state": state, **proof})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


def external_ids(emails: list[dict[str, Any]]) -> list[str]:
    """Return the provider's ids of listed messages, in their order."""
    return [email["external_id"] for email in emails]


def ids(truth: list[Truth]) -> list[str]:
    """Return the ids of messages at the provider, in their order."""
    return [item.id for item in truth]


def _truth(fact: Mapping[str, Any]) -> Truth:
    return Truth(
        id=fact["id"],
        thread=fact["threadId"],
        labels=frozenset(fact["labelIds"]),
        received=datetime.fromtimestamp(int(fact["internalDate"]) / 1000, UTC),
        subject=fact["subject"],
    )
