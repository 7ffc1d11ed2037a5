"""The incidents in docs/operate.md: their alerts exist, page or warn as the table says, and are tried by promtool."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
OBSERVABILITY = ROOT / "deploy/observability"
TELLS = {"critical": "pages", "warning": "warns"}


def _incidents() -> dict[str, list[str]]:
    """Return the cells of each incident behind its name."""
    text = (ROOT / "docs/operate.md").read_text(encoding="utf-8")
    _, _, table = text.partition("| incident | alert | tells |")
    rows = [line.strip("| ").split(" | ") for line in table.split("\n\n")[0].splitlines()[2:]]
    return {row[0]: row[1:] for row in rows}


def _severities() -> dict[str, str]:
    groups = yaml.safe_load((OBSERVABILITY / "rules.yml").read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule["labels"]["severity"] for group in groups for rule in group["rules"] if "alert" in rule}


def test_ten_and_more_are_listed_each_with_the_place_where_it_is_tried() -> None:
    incidents = _incidents()
    assert len(incidents) >= 10
    for cells in incidents.values():
        tried = cells[-1]
        assert tried.partition(",")[0] == "promtool" or (ROOT / tried.strip("`")).is_file(), tried


def test_tell_as_their_alerts_do() -> None:
    severities = _severities()
    said = {cells[0].strip("`"): cells[1] for cells in _incidents().values() if cells[0] != "none"}
    assert said == {alert: TELLS[severities[alert]] for alert in said}


def test_have_alerts_that_promtool_tries() -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in OBSERVABILITY.glob("rules_test*.yml"))
    tried = set(re.findall(r"alertname: (\w+)", tests))
    named = {alert for cells in _incidents().values() for alert in re.findall(r"Mailroom\w+", " ".join(cells))}
    assert named - tried == set()
