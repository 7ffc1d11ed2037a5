"""docs/applications.md says what each operation asks of its caller as the gateway's table does."""

import re

import pytest

from services.gateway.access import KEYS_ONLY, Credential, requirement_of
from services.kit.scopes import MEANINGS, Scope
from tests.support.docs.documents import ROOT
from tests.support.gateway.document import openapi_document, operations

TEXT = (ROOT / "docs/applications.md").read_text(encoding="utf-8")
OPERATIONS = dict(operations(openapi_document()))


def row_of(name: str, operation: str) -> str:
    """Return the row of an operation."""
    requirement = requirement_of(operation)
    match requirement:
        case Credential.NONE:
            return f"| `{name}` | nothing | |"
        case Credential.USER:
            return f"| `{name}` | refused | yes |"
        case _:
            return f"| `{name}` | `{requirement}` | {'' if operation in KEYS_ONLY else 'yes'} |".replace("|  |", "| |")


def test_lists_what_each_operation_asks() -> None:
    rows = [row_of(name, operation["operationId"]) for name, operation in OPERATIONS.items()]
    listed = re.findall(r"^\| `[A-Z]+ /.*$", TEXT, re.MULTILINE)
    assert sorted(listed) == sorted(rows)


@pytest.mark.parametrize("scope", Scope)
def test_says_what_a_scope_means(scope: Scope) -> None:
    assert f"| `{scope}` | {MEANINGS[scope]} |\n" in TEXT
