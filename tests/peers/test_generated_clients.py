"""Generators make whole, well-typed clients from the OpenAPI document."""

import re
from pathlib import Path

import pytest

from tests.support.gateway.document import openapi_document, operations
from tests.support.peers.generated_clients import mypy_errors, python_client, typescript, written_document

pytestmark = pytest.mark.peers
OPERATION_IDS = {operation["operationId"] for _, operation in operations(openapi_document())}
# tsc fails where an expected error does not come: an event of one type has no fields of another.
_PROGRAM = """\
export function told(event: WebhookEvent): string | null | undefined {
  // @ts-expect-error
  event.data.email;
  switch (event.type) {
    case "message.created":
      return event.data.email?.subject;
    case "label.updated":
      // @ts-expect-error
      event.data.email;
      return event.data.label?.name;
    case "sync.failed":
      return event.data.error;
    case "webhook.test":
      return event.data.webhook_id;
  }
}

export function changed(change: Change): string | null | undefined {
  return change.type === "label_updated" ? change.label?.name : change.email?.subject;
}
"""


@pytest.fixture
def document(tmp_path: Path) -> Path:
    return written_document(tmp_path)


def test_openapi_python_client_makes_every_operation_and_mypy_accepts_it(document: Path) -> None:
    client = python_client(document)
    modules = {path.stem for path in client.glob("api/*/*.py")} - {"__init__"}
    assert modules == {re.sub(r"([A-Z])", lambda match: f"_{match[1].lower()}", name) for name in OPERATION_IDS}
    assert mypy_errors(client) == []


def test_openapi_typescript_makes_every_operation_and_tsc_accepts_it(document: Path) -> None:
    names = "".join(f'type {name} = components["schemas"]["{name}"];\n' for name in ("WebhookEvent", "Change"))
    made = typescript(
        "openapi-typescript", document, f'import type {{ components }} from "./schema";\n{names}{_PROGRAM}'
    )
    assert [name for name in OPERATION_IDS if f'operations["{name}"]' not in made] == []


def test_openapi_ts_makes_every_operation_and_tsc_accepts_it(document: Path) -> None:
    made = typescript("openapi-ts", document, f'import type {{ Change, WebhookEvent }} from "./types.gen";\n{_PROGRAM}')
    assert [name for name in OPERATION_IDS if f"export const {name} =" not in made] == []
