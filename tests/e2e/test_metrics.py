"""Metrics of the processes agree with docs/metrics.md, with the alert rules and with the dashboards."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.support.e2e.people import Person
from tests.support.e2e.running_stack import RunningStack

ROOT = Path(__file__).parents[2]
PROCESSES = ("gateway", "auth", "mail", "worker", "deliverer")
# Suffixes that Prometheus adds to a histogram.
SERIES = re.compile(r"_(bucket|sum|count)$")

type Shown = dict[str, dict[str, Metric]]


@pytest.fixture
def shown(stack: RunningStack, new_person: Any) -> Shown:
    """The metrics by process and name, after every process had work."""
    person: Person = new_person(messages=3)
    person.sync()
    return {name: _scrape(stack.variables[f"{name.upper()}_ADMIN_PORT"]) for name in PROCESSES}


def _scrape(port: str) -> dict[str, Metric]:
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    families = text_string_to_metric_families(text)
    return {_name(family): family for family in families if not family.name.endswith("_created")}


def _name(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name


def _labels(family: Metric) -> set[str]:
    return {label for sample in family.samples for label in sample.labels} - {"le"}


def _catalogue() -> dict[str, tuple[str, set[str], set[str]]]:
    """Return type, labels and processes of each metric in docs/metrics.md."""
    text = (ROOT / "docs/metrics.md").read_text()
    rows = re.findall(r"^\| `(mailroom_\w+)` \|(.*?)\|(.*?)\|(.*?)\|", text, re.MULTILINE)
    return {
        name: (kind.strip(), set(re.findall(r"\w+", labels)), set(processes.split()))
        for name, kind, labels, processes in rows
    }


def _expressions() -> str:
    dashboards = [json.loads(path.read_text()) for path in (ROOT / "deploy/observability/grafana").rglob("*.json")]
    panels = [panel for dashboard in dashboards for panel in dashboard["panels"]]
    queries = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    assert len(queries) > 20
    return "\n".join([*queries, (ROOT / "deploy/observability/rules.yml").read_text()])


class TestMetrics:
    def test_are_those_of_the_catalogue(self, shown: Shown) -> None:
        ours = {
            name: (family.type, {process for process in PROCESSES if name in shown[process]})
            for families in shown.values()
            for name, family in families.items()
            if name.startswith("mailroom_")
        }
        assert ours == {name: (kind, processes) for name, (kind, _, processes) in _catalogue().items()}

    def test_have_the_labels_of_the_catalogue_and_no_others(self, shown: Shown) -> None:
        catalogue = _catalogue()
        labels = {
            name: _labels(family)
            for families in shown.values()
            for name, family in families.items()
            if name in catalogue and family.samples
        }
        assert labels == {name: catalogue[name][1] for name in labels}
        assert len(labels) > len(catalogue) / 2

    def test_that_rules_and_dashboards_use_are_shown(self, shown: Shown) -> None:
        used = set(re.findall(r"\b(?:mailroom|process|python)_\w+", _expressions()))
        known = {name for families in shown.values() for name in families}
        assert {name for name in used if SERIES.sub("", name) not in known and name not in known} == set()
        assert len(used) > 20

    def test_show_no_address_and_no_id(self, shown: Shown) -> None:
        values = {
            value
            for families in shown.values()
            for family in families.values()
            for sample in family.samples
            for value in sample.labels.values()
        }
        assert [value for value in values if "@" in value or re.search(r"[0-9a-f]{8}-", value)] == []
        assert "/emails/sync" in values
