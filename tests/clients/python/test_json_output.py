"""What every command prints with --json is as the OpenAPI document says, or as docs/command-line.md does."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import typer.main
from mailroom_cli.main import app
from typer.testing import CliRunner

from tests.support.clients.served_gateway import Reply, ServedGateway, served_gateway
from tests.support.docs.documents import ROOT
from tests.support.gateway.samples import sample, schema_of

ID = "0190b0a0-0000-7000-8000-000000000001"
# `listen` is tried in test_listen.py.
ELSEWHERE = {"listen"}
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
# Commands without an answer of the API: what they print, where it does not depend on the gateway's address.
OWN: dict[str, dict[str, str | None]] = {
    "login --token t": {"profile": "default"},
    "logout": {"profile": "default"},
    "keys revoke k1": {"id": "k1"},
    "webhooks delete w1": {"id": "w1"},
    "webhooks replay w1 --since 2026-01-31T01:00+01:00": {"id": "w1", "since": "2026-01-31T00:00:00+00:00"},
    "webhooks replay w1 --since p1": {"id": "w1", "since": "p1"},
    "doctor": {"name": "server", "remedy": None},
}
# What connecting prints: with an API key and with a session.
CONNECTED = {"mr_key --user 42": ("ConnectedMailbox", "?session=s&code=c"), "t": ("Mailbox", "?state=s")}
# What the gateway answers to these.
EMPTY = ("POST /auth/logout", "DELETE /keys/k1", "DELETE /webhooks/w1", "POST /webhooks/w1/replay", "GET /readyz")
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
def gateway() -> Iterator[ServedGateway]:
    """A gateway that answers with every field of the schema."""
    replies: dict[str, Reply] = {}
    for schema, _, request in COMMANDS.values():
        answer = sample(schema)
        if request in LISTS:
            answer = {LISTS[request]: [answer], "next_cursor": None}
        replies[request] = (200, answer)
    # The feed has no more pages.
    replies["GET /emails/changes"] = (200, sample("ChangePage") | {"has_more": False})
    session = sample("ConnectSession")
    replies |= {
        "GET /auth/google/start": (200, sample("SignInStart")),
        "POST /auth/token": (200, sample("Token")),
        "POST /connect/sessions": (200, session),
        f"POST /connect/sessions/{session['id']}/complete": (200, sample("ConnectedMailbox")),
    } | dict.fromkeys(EMPTY, (200, b""))
    with served_gateway(replies) as served:
        yield served


@pytest.fixture
def environment(gateway: ServedGateway, tmp_path: Path) -> dict[str, str]:
    """The environment of a command that is signed in at the gateway."""
    return {"MAILROOM_CONFIG": str(tmp_path / "c"), "MAILROOM_URL": gateway.url, "MAILROOM_TOKEN": "t"}


def _names(command: Any, path: str = "") -> Iterator[str]:
    inner = getattr(command, "commands", {})
    if not inner:
        yield path
    for name, each in inner.items():
        yield from _names(each, f"{path} {name}".strip())


def test_every_command_is_tried() -> None:
    tried = {_name(command) for command in (*COMMANDS, *OWN, "connect")}
    assert tried | ELSEWHERE == set(_names(typer.main.get_command(app)))


def _name(command: str) -> str:
    return " ".join(command.split()[: 2 if command.startswith(("keys", "webhooks")) else 1])


@pytest.mark.parametrize("command", COMMANDS)
def test_what_a_command_prints_is_valid(environment: dict[str, str], command: str) -> None:
    schema, is_document, request = COMMANDS[command]
    done = CliRunner().invoke(app, ["--json", *command.split()], env=environment)
    assert done.exit_code == 0, done.output
    printed = [json.loads(text) for text in ([done.stdout] if is_document else done.stdout.splitlines())]
    whole = sample(schema) | ({"has_more": False} if request == "GET /emails/changes" else {})
    assert printed == [whole]
    jsonschema_rs.validator_for(schema_of(schema)).validate(printed[0])


@pytest.mark.parametrize("command", OWN)
def test_a_command_without_an_answer_prints_what_the_page_shows(environment: dict[str, str], command: str) -> None:
    done = CliRunner().invoke(app, ["--json", *command.split()], env=environment)
    if command == "doctor":
        printed = [json.loads(line) for line in done.stdout.splitlines()]
        assert [finding["name"] for finding in printed[1:]] == ["clock", "sign-in"]
    else:
        assert done.exit_code == 0, done.output
        printed = [json.loads(done.stdout)]
    expected = OWN[command] | {name: environment["MAILROOM_URL"] for name in printed[0] if name == "url"}
    assert expected.items() <= printed[0].items()
    shown = _shown()[_name(command)]
    for each in printed:
        assert each.keys() == shown.keys()


def _shown() -> dict[str, dict[str, str | None]]:
    """Return the forms that docs/command-line.md shows, by command."""
    page = (ROOT / "docs/command-line.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?`) \| [^`{]*`(\{.*?\})`", page, re.MULTILINE)
    return {name: json.loads(form) for names, form in rows for name in re.findall("`(.*?)`", names)}


@pytest.mark.parametrize("given", CONNECTED)
def test_connecting_prints_mailboxes(environment: dict[str, str], given: str) -> None:
    token, *options = given.split()
    schema, query = CONNECTED[given]
    done = CliRunner().invoke(
        app,
        ["--json", "connect", "--no-browser", *options],
        env=environment | {"MAILROOM_TOKEN": token},
        input=f"http://front-end.example/{query}\n",
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == sample(schema)
    jsonschema_rs.validator_for(schema_of(schema)).validate(sample(schema))
