"""The route of an application's events."""

from datetime import UTC, datetime

import pytest

from services.kit.scopes import Scope
from tests.gateway.conftest import Gateway

USER, MAILBOX = "5f0c1c5e-7f0a-4f8e-9d54-0f2b3f1f7d10", "0190b0a0-0000-7000-8000-000000000001"


async def test_shows_events_of_users_and_of_keys(gateway: Gateway) -> None:
    answer = await gateway.http.get("/audit/events", headers=gateway.as_key(Scope.KEYS_MANAGE))
    of_key, of_user = answer.json()["events"]
    assert (of_key["id"], of_key["type"], of_key["key_id"], of_key["user_id"]) == ("e2", "key_created", "k1", None)
    assert of_user == {
        "id": "e1",
        "type": "account_connected",
        "created_at": of_key["created_at"],
        "user_id": "u1",
        "key_id": None,
        "mailbox_id": "a1",
        "session_id": None,
        "email": "ada@example.com",
        "client_network": "192.0.2.0/24",
        "client": "Firefox on Linux",
    }
    assert answer.json()["next_cursor"] == "next"


async def test_asks_for_what_is_wanted(gateway: Gateway) -> None:
    query: dict[str, str | int] = {
        "type": "signed_in",
        "user_id": USER,
        "mailbox_id": MAILBOX,
        "key_id": "k1",
        "since": "2026-11-30T01:00:00+01:00",
        "until": "2026-12-01T00:00:00Z",
        "limit": 7,
        "cursor": "next",
    }
    headers = gateway.as_key(Scope.KEYS_MANAGE)
    assert (await gateway.http.get("/audit/events", params=query, headers=headers)).status_code == 200
    [asked] = gateway.keys.audits
    assert asked.manager_key_id in headers["Authorization"]
    assert (asked.type, asked.user_id, asked.account_id, asked.key_id) == ("signed_in", USER, MAILBOX, "k1")
    assert asked.since_time.ToDatetime(tzinfo=UTC) == datetime(2026, 11, 30, tzinfo=UTC)
    assert asked.until_time.ToDatetime(tzinfo=UTC) == datetime(2026, 12, 1, tzinfo=UTC)
    assert (asked.page_size, asked.page_token) == (7, "next")


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=201", "user_id=42", "mailbox_id=x", "since=2026-11-30", "since=2026-11-30T00:00:00", "x=1"],
)
async def test_refuses_wrong_parameters(gateway: Gateway, query: str) -> None:
    answer = await gateway.http.get(f"/audit/events?{query}", headers=gateway.as_key(Scope.KEYS_MANAGE))
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
