"""Generators make whole, well-typed clients from the OpenAPI document."""

import re
from pathlib import Path

import pytest

from tests.support.gateway.document import openapi_document, operations
from tests.support.peers.generated_clients import mypy_errors, python_client, typescript, written_document

pytestmark = pytest.mark.peers
OPERATION_IDS = {operation["operationId"] for _, operation in operations(openapi_document())}


@pytest.fixture
def document(tmp_path: Path) -> Path:
    return written_document(tmp_path)


def test_openapi_python_client_makes_every_operation_and_mypy_accepts_it(document: Path) -> None:
    client = python_client(document)
    modules = {path.stem for path in client.glob("api/*/*.py")} - {"__init__"}
    assert modules == {re.sub(r"([A-Z])", lambda match: f"_{match[1].lower()}", name) for name in OPERATION_IDS}
    assert mypy_errors(client) == []


def test_openapi_typescript_makes_every_operation_and_tsc_accepts_it(document: Path) -> None:
    made = typescript("openapi-typescript", document)
    assert [name for name in OPERATION_IDS if f'operations["{name}"]' not in made] == []


def test_openapi_ts_makes_every_operation_and_tsc_accepts_it(document: Path) -> None:
    made = typescript("openapi-ts", document)
    assert [name for name in OPERATION_IDS if f"export const {name} =" not in made] == []
