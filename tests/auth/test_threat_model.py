"""docs/threat-model.md names tests that exist, and events that exist."""

import ast
import re
from pathlib import Path

import pytest

from services.auth.model import EventType

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs/threat-model.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py(?:::\w+)*)`", DOCUMENT)


def exists(name: str) -> bool:
    path, *parts = name.split("::")
    if not (ROOT / path).exists():
        return False
    body: list[ast.stmt] = ast.parse((ROOT / path).read_text(encoding="utf-8")).body
    for part in parts:
        found = [node for node in body if isinstance(node, ast.ClassDef | ast.AsyncFunctionDef | ast.FunctionDef)]
        node = next((node for node in found if node.name == part), None)
        if node is None:
            return False
        body = node.body
    return True


class TestThreatModel:
    @pytest.mark.parametrize("name", sorted(set(NAMED)))
    def test_names_tests_that_exist(self, name: str) -> None:
        assert exists(name)

    def test_has_a_test_for_every_attack(self) -> None:
        section = DOCUMENT.split("## Attacks")[1].split("\n## ")[0]
        rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
        assert len(rows) > 20
        assert [row for row in rows if "`tests/" not in row] == []

    def test_explains_every_event(self) -> None:
        section = DOCUMENT.split("## Security events")[1].split("\n## ")[0]
        rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
        assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(EventType)
