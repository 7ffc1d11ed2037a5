"""The table "If it stands still" in docs/observe.md names what exists, and covers every reason for waiting."""

import re
from pathlib import Path
from typing import get_args

import pytest

from services.gateway.schemas.syncs import Sync, WaitReason
from services.mail.provider_access.quota_metrics import SCOPES
from services.mail.sync.turns.metrics import WAITS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/observe.md").read_text(encoding="utf-8").split("## If it stands still\n")[1].split("\n## ")[0]
METRICS = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
RULES = (ROOT / "deploy/observability/rules.yml").read_text(encoding="utf-8")
SOURCES = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "services").rglob("*.py")))
ROWS = [[cell.strip() for cell in line[1:-1].split("|")] for line in PAGE.splitlines() if line.startswith("| ")][1:]
# Reasons for waiting are not strings of their own in the code of rows.
REASONS = set(get_args(WaitReason.__value__))


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def named(text: str) -> bool:
    """Whether a text stands in the code as a whole string."""
    return f'"{text}"' in SOURCES


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row[0]))
class TestRow:
    def test_names_fields_and_values_of_syncs_that_exist(self, row: list[str]) -> None:
        fields = set(Sync.__annotations__)
        for field, value in re.findall(r"`(\w+)` = `(\w+)`", row[1]):
            assert field in fields
            assert value in REASONS if field == "waiting_for" else named(value), value
        for alone in re.findall(r"`(\w+)`(?! = )", re.sub(r"`\w+` = `\w+`", "", row[1])):
            assert alone in fields

    def test_names_log_lines_that_are_written(self, row: list[str]) -> None:
        assert row[2] == "none" or quoted(row[2])
        for event in quoted(row[2]):
            assert named(event), event

    def test_names_a_metric_with_its_labels(self, row: list[str]) -> None:
        [metric] = quoted(row[3])
        name, _, label = metric.partition("{")
        assert f"| `{name}` |" in METRICS
        if label:
            key, value = re.fullmatch(r'(\w+)="(\w+)"}', label).groups()  # type: ignore[union-attr]  # fails the test
            line = next(line for line in METRICS.splitlines() if line.startswith(f"| `{name}` |"))
            assert f"`{key}`" in line
            assert named(value) or f"'{value}'" in SOURCES, value

    def test_names_an_alert_with_a_section(self, row: list[str]) -> None:
        for alert in quoted(row[4]):
            assert f"- alert: {alert}\n" in RULES
        assert row[4] == "none" or quoted(row[4])

    def test_has_a_remedy(self, row: list[str]) -> None:
        assert row[5]


def test_covers_every_reason_for_waiting() -> None:
    assert set(re.findall(r"`waiting_for` = `(\w+)`", PAGE)) == REASONS


def test_covers_every_wait_for_quota() -> None:
    by_scope = set(re.findall(r'mailroom_quota_waits_total\{scope="(\w+)"', PAGE))
    # The last one has a metric of its own.
    assert by_scope | {"service"} == set(SCOPES)
    assert "mailroom_quota_reachable" in PAGE


def test_explains_every_bounded_wait_of_a_worker() -> None:
    line = next(line for line in METRICS.splitlines() if line.startswith("| `mailroom_worker_waits_given_up_total` |"))
    assert all(f"`{wait}`" in line for wait in WAITS)
