"""docs/threat-model.md names a test for each attack, and every event; tests/docs holds that the tests exist."""

import re
from pathlib import Path

from services.auth.model import EventType

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs/threat-model.md").read_text(encoding="utf-8")


class TestThreatModel:
    def test_has_a_test_for_every_attack(self) -> None:
        section = DOCUMENT.split("## Attacks")[1].split("\n## ")[0]
        rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
        assert len(rows) > 20
        assert [row for row in rows if "`tests/" not in row] == []

    def test_explains_every_event(self) -> None:
        section = DOCUMENT.split("## Security events")[1].split("\n## ")[0]
        rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
        assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(EventType)
