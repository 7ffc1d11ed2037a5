"""What every command prints with --json is as the OpenAPI document says."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import typer.main
from mailroom_cli.main import app
from typer.testing import CliRunner

from tests.support.clients.served_gateway import Reply, served_gateway
from tests.support.gateway.samples import sample, schema_of

ID = "0190b0a0-0000-7000-8000-000000000001"
# Commands that print no answer of the API: files of mail, findings, sign-ins; and `listen`: test_listen.py.
SILENT = {"login", "logout", "connect", "doctor", "listen", "keys revoke", "webhooks delete", "webhooks replay"}
# The schema, whether one document or lines of it are printed, and the request that is answered with it.
COMMANDS: dict[str, tuple[str, bool, str]] = {
    "mailboxes": ("Mailbox", False, "GET /mailboxes"),
    "sync": ("Sync", True, "POST /emails/sync"),
    "search": ("EmailSummary", False, "GET /emails"),
    "get m1": ("Email", True, "GET /emails/m1"),
    "export": ("Email", False, "GET /emails/export"),
    "changes": ("ChangePage", False, "GET /emails/changes"),
    "audit": ("AuditEvent", False, "GET /audit/events"),
    "keys list": ("ApiKey", False, "GET /keys"),
    "keys create ci --scope mail.read": ("CreatedKey", True, "POST /keys"),
    "webhooks list": ("Webhook", False, "GET /webhooks"),
    "webhooks create https://shop.example/hook": ("CreatedWebhook", True, "POST /webhooks"),
    "webhooks show w1": ("Webhook", True, "GET /webhooks/w1"),
    "webhooks change w1 --all-events": ("Webhook", True, "PATCH /webhooks/w1"),
    "webhooks test w1": ("Delivery", True, "POST /webhooks/w1/test"),
    "webhooks rotate w1": ("WebhookSecret", True, "POST /webhooks/w1/rotate"),
    "webhooks enable w1": ("Webhook", True, "POST /webhooks/w1/enable"),
    "webhooks disable w1": ("Webhook", True, "PATCH /webhooks/w1"),
    "webhooks deliveries w1": ("Delivery", False, "GET /webhooks/w1/deliveries"),
    "webhooks retry w1 7": ("Delivery", True, "POST /webhooks/w1/deliveries/7/retry"),
}
# Where the items of a list stand.
LISTS = {
    "GET /mailboxes": "mailboxes",
    "GET /emails": "emails",
    "GET /audit/events": "events",
    "GET /keys": "keys",
    "GET /webhooks": "webhooks",
    "GET /webhooks/w1/deliveries": "deliveries",
}


@pytest.fixture(scope="module")
def gateway_url() -> Iterator[str]:
    """A gateway that answers with every field of the schema."""
    replies: dict[str, Reply] = {}
    for schema, _, request in COMMANDS.values():
        answer = sample(schema)
        if request in LISTS:
            answer = {LISTS[request]: [answer], "next_cursor": None}
        replies[request] = (200, answer)
    # The feed has no more pages.
    replies["GET /emails/changes"] = (200, sample("ChangePage") | {"has_more": False})
    with served_gateway(replies) as gateway:
        yield gateway.url


def _names(command: Any, path: str = "") -> Iterator[str]:
    inner = getattr(command, "commands", {})
    if not inner:
        yield path
    for name, each in inner.items():
        yield from _names(each, f"{path} {name}".strip())


def test_every_command_is_tried() -> None:
    tried = {" ".join(command.split()[: 2 if command.startswith(("keys", "webhooks")) else 1]) for command in COMMANDS}
    assert tried | SILENT == set(_names(typer.main.get_command(app)))


@pytest.mark.parametrize("command", COMMANDS)
def test_what_a_command_prints_is_valid(gateway_url: str, tmp_path: Path, command: str) -> None:
    schema, is_document, request = COMMANDS[command]
    environment = {"MAILROOM_CONFIG": str(tmp_path / "c"), "MAILROOM_URL": gateway_url, "MAILROOM_TOKEN": "t"}
    done = CliRunner().invoke(app, ["--json", *command.split()], env=environment)
    assert done.exit_code == 0, done.output
    printed = [json.loads(text) for text in ([done.stdout] if is_document else done.stdout.splitlines())]
    whole = sample(schema) | ({"has_more": False} if request == "GET /emails/changes" else {})
    assert printed == [whole]
    jsonschema_rs.validator_for(schema_of(schema)).validate(printed[0])
