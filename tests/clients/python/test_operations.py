"""Each operation of the OpenAPI document has its method in the client."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from typing import Any

import pytest
from mailroom_client import Mailroom, MailroomError

from tests.support.clients.gateways import Gateway, problem
from tests.support.gateway.document import openapi_document, operations

# For browsers and providers, and the older names of `listMailboxes` and `disconnectMailbox`.
NO_METHOD = {"completeSignIn", "acceptGooglePush", "listAddresses", "disconnectAddress"}
ID = "0190b0a0-0000-7000-8000-000000000001"
CALLS: dict[str, Callable[[Mailroom], object]] = {
    "listEmails": lambda client: list(client.emails.list(ID)),
    "getEmail": lambda client: client.emails.get(ID),
    "getRawEmail": lambda client: _opened(client.emails.raw(ID)),
    "getAttachment": lambda client: _opened(client.emails.attachment(ID, "a1")),
    "exportEmails": lambda client: list(client.emails.export(ID)),
    "listThreads": lambda client: list(client.emails.threads(ID)),
    "getThread": lambda client: client.emails.thread(ID, ID),
    "listLabels": lambda client: client.emails.labels(ID),
    "listChanges": lambda client: client.changes.after(ID, None),
    "streamChanges": lambda client: list(client.changes.stream(ID, "AAAA")),
    "listMailboxes": lambda client: list(client.mailboxes.list()),
    "listUsers": lambda client: list(client.users.list()),
    "addUser": lambda client: client.users.add("u1"),
    "getOneUser": lambda client: client.users.get(ID),
    "deleteOneUser": lambda client: client.users.delete(ID),
    "exchangeToken": lambda client: client.users.exchange_token(ID),
    "createConnectSession": lambda client: client.connections.start("u1", redirect_url="https://shop.example"),
    "completeConnectSession": lambda client: client.connections.complete(ID, "c"),
    "listKeys": lambda client: client.keys.list(),
    "createKey": lambda client: client.keys.create("ci", scopes=["mail.read"]),
    "revokeKey": lambda client: client.keys.revoke("k1"),
    "listKeyEvents": lambda client: client.keys.events("k1"),
    "listApplications": lambda client: client.applications.list(),
    "createApplication": lambda client: client.applications.create("shop"),
    "updateApplication": lambda client: client.applications.update(ID, redirect_urls=["https://shop.example"]),
    "listWebhooks": lambda client: client.webhooks.list(),
    "createWebhook": lambda client: client.webhooks.create("https://shop.example/hook"),
    "getWebhook": lambda client: client.webhooks.get(ID),
    "updateWebhook": lambda client: client.webhooks.update(ID, events=["message.created"]),
    "deleteWebhook": lambda client: client.webhooks.delete(ID),
    "rotateWebhookSecret": lambda client: client.webhooks.rotate(ID),
    "testWebhook": lambda client: client.webhooks.test(ID),
    "enableWebhook": lambda client: client.webhooks.enable(ID),
    "listWebhookDeliveries": lambda client: list(client.webhooks.deliveries(ID, state="parked")),
    "retryWebhookDelivery": lambda client: client.webhooks.retry(ID, "7"),
    "replayWebhook": lambda client: client.webhooks.replay(ID, since="AAAA"),
    "deleteApplication": lambda client: client.applications.delete(ID),
    "listAuditEvents": lambda client: list(client.audit.list(type="signed_in", user_id=ID, key_id="k1")),
    "getUsage": lambda client: client.usage.get(ID, hours=48),
    "getMailbox": lambda client: client.mailboxes.get(ID),
    "disconnectMailbox": lambda client: client.mailboxes.disconnect(ID),
    "startSync": lambda client: client.syncs.start(ID),
    "verifyMailbox": lambda client: client.syncs.verify(ID),
    "listSyncs": lambda client: list(client.syncs.list(ID)),
    "getSync": lambda client: client.syncs.get(ID),
    "cancelSync": lambda client: client.syncs.cancel(ID),
    "retrySync": lambda client: client.syncs.retry(ID),
    "startSignIn": lambda client: client.auth.start("google", code_challenge="c"),
    "redeemSignIn": lambda client: client.auth.redeem("s", code_verifier="v"),
    "refreshSession": lambda client: client.auth.refresh("r"),
    "endSession": lambda client: client.auth.logout(),
    "getUser": lambda client: client.auth.user(),
    "deleteUser": lambda client: client.auth.delete_user(),
    "listSessions": lambda client: client.auth.sessions(),
    "endOneSession": lambda client: client.auth.end_session(ID),
    "listSecurityEvents": lambda client: list(client.auth.events()),
    "listSigningKeys": lambda client: client.auth.signing_keys(),
    "getLiveness": lambda client: client.is_alive(),
    "getReadiness": lambda client: client.is_ready(),
}


def _opened(body: AbstractContextManager[Iterator[bytes]]) -> None:
    with body:
        pass


@pytest.fixture(scope="module")
def documented() -> dict[str, tuple[str, dict[str, Any]]]:
    """Method with path, and description, by operation id."""
    return {operation["operationId"]: (name, operation) for name, operation in operations(openapi_document())}


def test_every_operation_has_a_method(documented: dict[str, Any]) -> None:
    assert set(documented) == CALLS.keys() | NO_METHOD


@pytest.mark.parametrize("operation_id", CALLS)
def test_a_method_sends_what_the_document_says(
    documented: dict[str, tuple[str, dict[str, Any]]], operation_id: str
) -> None:
    name, operation = documented[operation_id]
    method, path = name.split()
    gateway = Gateway([problem(418, "teapot")])
    with gateway.client() as client, suppress(MailroomError):
        CALLS[operation_id](client)
    [request] = gateway.requests
    assert request.method == method
    assert re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", path), request.url.path)
    known = {parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "query"}
    assert set(request.url.params) <= known
    assert ("Authorization" in request.headers) == bool(operation.get("security"))
    # API keys have to name the mailbox also where users need not.
    if "mailbox_required" in str(operation["responses"]):
        assert request.url.params["mailbox_id"] == ID
