"""The mailboxes of a user, and the names by which requests select one."""

from typing import Any

import pytest

from services.gateway.schemas.addresses import Mailbox, MailboxList
from tests.gateway.conftest import Gateway
from tests.gateway.routes.test_messages import ADA, exactly, get
from tests.support.gateway.document import openapi_document, operations

DOCUMENT = openapi_document()
NAMES = {"mailbox_id": False, "email": False, "account_id": True, "user_email": True}
"""The names of a mailbox in requests, and whether they are deprecated."""


def names_in(operation: dict[str, Any]) -> dict[str, bool]:
    """Return the names of mailboxes that the query or the body of an operation has."""
    found = {item["name"]: item["schema"] for item in operation.get("parameters", ()) if item["in"] == "query"}
    if "requestBody" in operation:
        reference = operation["requestBody"]["content"]["application/json"]["schema"].get("$ref", "")
        found |= DOCUMENT["components"]["schemas"].get(reference.rpartition("/")[2], {}).get("properties", {})
    return {name: bool(schema.get("deprecated")) for name, schema in found.items() if name in NAMES}


# These have one of the names as a filter only.
FILTERED = {"GET /mailboxes", "GET /audit/events"}
SELECTING = [name for name, operation in operations(DOCUMENT) if names_in(operation) and name not in FILTERED]


class TestMailboxes:
    async def test_are_listed_oldest_first(self, gateway: Gateway) -> None:
        gateway.mail.connect("ada", ADA, message_count=3)
        gateway.mail.connect("ada", "ada@work.example")
        gateway.mail.connect("grace", "grace@example.org")
        status, body = await get(gateway, "/mailboxes")
        exactly(MailboxList, body)
        assert (status, [mailbox["email"] for mailbox in body["mailboxes"]]) == (200, [ADA, "ada@work.example"])
        assert "account_id" not in body["mailboxes"][0]

    async def test_one_is_shown_by_its_id(self, gateway: Gateway) -> None:
        gateway.mail.connect("ada", ADA)
        status, body = await get(gateway, f"/mailboxes/account-of-{ADA}")
        exactly(Mailbox, body)
        assert (status, body["mailbox_id"], body["email"]) == (200, f"account-of-{ADA}", ADA)

    @pytest.mark.parametrize("user_id", ["ada", "grace"])
    async def test_of_another_user_does_not_exist(self, gateway: Gateway, user_id: str) -> None:
        gateway.mail.connect("linus", ADA)
        status, body = await get(gateway, f"/mailboxes/account-of-{ADA}", user_id=user_id)
        assert (status, body["code"]) == (404, "mailbox_not_found")


class TestName:
    def test_is_the_same_everywhere(self) -> None:
        assert len(SELECTING) == 11
        wrong = {name: names_in(item) for name, item in operations(DOCUMENT) if name in SELECTING}
        assert {name: found for name, found in wrong.items() if found != NAMES} == {}

    def test_is_in_every_response_about_a_mailbox(self) -> None:
        schemas = {name: schema.get("properties", {}) for name, schema in DOCUMENT["components"]["schemas"].items()}
        requests = {"SyncRequest", "VerifyRequest"}
        older = {name for name, fields in schemas.items() if "account_id" in fields} - requests
        assert {"EmailSummary", "Email", "Thread", "ThreadView", "Sync", "SyncSummary", "Account"} <= older
        about = older | {"Label", "MessageChange", "LabelChange", "Mailbox"}
        assert {name for name in about if "mailbox_id" not in schemas[name]} == set()

    @pytest.mark.parametrize("name", NAMES)
    async def test_selects_a_mailbox_in_queries_and_bodies(self, gateway: Gateway, name: str) -> None:
        gateway.mail.connect("ada", "ada@work.example")
        account_id = gateway.mail.connect("ada", ADA).account_id
        value = account_id if name.endswith("_id") else ADA
        headers = gateway.as_user("ada")
        for path in ("/emails", "/emails/labels", "/emails/threads", "/emails/changes", "/emails/export"):
            answer = await gateway.http.get(path, params={name: value}, headers=headers)
            assert answer.status_code == 200, path
        for path in ("/emails/sync", "/emails/verify"):
            answer = await gateway.http.post(path, json={name: value}, headers=headers)
            assert (answer.status_code, answer.json()["mailbox_id"]) == (202, account_id)

    @pytest.mark.parametrize(
        "given", [{}, {"mailbox_id": "a", "email": "b"}, {"email": "b", "user_email": "b"}], ids=str
    )
    async def test_is_given_once(self, gateway: Gateway, given: dict[str, str]) -> None:
        queried = await gateway.http.get("/emails", params=given, headers=gateway.as_user("ada"))
        posted = await gateway.http.post("/emails/sync", json=given, headers=gateway.as_user("ada"))
        for answer in (queried, posted):
            assert answer.status_code == 400
            assert answer.json()["errors"][0]["message"] == "give exactly one of mailbox_id and email"
