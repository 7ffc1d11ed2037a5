"""Every alert rule has its test and its section in docs/observe.md."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from services.gateway.requests.prefer_header import WaitSeconds
from tests.docs.test_api import described_routes

type Services = dict[str, dict[str, Any]]

ROOT = Path(__file__).parents[2]
OBSERVABILITY = ROOT / "deploy/observability"
RULE_TESTS = sorted(path.name for path in OBSERVABILITY.glob("rules_test*.yml"))
# Seen in answers of postgres_exporter 0.11.1 beside PostgreSQL 18.6 and of redis_exporter 1.45.0 beside Valkey 9.1.2;
# pg_wal_size_bytes is of newer versions (collector/pg_wal.go).
SERVED = {
    "pg_settings_max_connections",
    "pg_stat_activity_count",
    "pg_stat_activity_max_tx_duration",
    "pg_stat_archiver_failed_count",
    "pg_up",
    "pg_wal_size_bytes",
    "redis_memory_max_bytes",
    "redis_memory_used_bytes",
    "redis_up",
}


def _services(*texts: str) -> Services:
    """Return the services of compose files."""
    return {name: service for text in texts for name, service in yaml.safe_load(text)["services"].items()}


def _development() -> Services:
    return _services((ROOT / "docker-compose.yml").read_text(), (OBSERVABILITY / "compose.yml").read_text())


def _production() -> Services:
    """Return the services of production with the override of docs/observe.md."""
    [override] = re.findall(
        r"^```yaml\n(services:\n.*?)^```", (ROOT / "docs/observe.md").read_text(), re.MULTILINE | re.DOTALL
    )
    return _services((ROOT / "deploy/compose.production.yml").read_text(), override)


def alerts() -> set[str]:
    found = re.findall(r"- alert: (\w+)", (OBSERVABILITY / "rules.yml").read_text())
    assert len(found) == len(set(found)) > 10
    return set(found)


def waits(needs: Dependant) -> bool:
    """Return whether a route with these needs takes `Prefer: wait`."""
    [depends] = get_args(WaitSeconds)[1:]
    return needs.call is depends.dependency or any(waits(each) for each in needs.dependencies)


def streams(route: APIRoute) -> bool:
    """Return whether the body of a route takes as long as its client, or as its news."""
    content = route.responses.get(200, {}).get("content", {})
    return any(re.fullmatch(r"application/(\S+\+)?json", kind) is None for kind in content)


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed: it comes with Debian's package prometheus")
    return subprocess.run(["promtool", *arguments], cwd=OBSERVABILITY, capture_output=True, text=True, check=False)


class TestAlerts:
    def test_name_their_section_as_runbook(self) -> None:
        rules = (OBSERVABILITY / "rules.yml").read_text()
        found = re.findall(r"- alert: (\w+)\n(?:(?!- alert).*\n)*?\s+runbook_url: docs/observe.md#(\w+)\n", rules)
        assert {name: name.lower() for name in alerts()} == dict(found)

    def test_have_a_section_each_with_a_remedy(self) -> None:
        runbook = (ROOT / "docs/observe.md").read_text()
        assert set(re.findall(r"^### (\w+)\n[^\n#]", runbook, re.MULTILINE)) == alerts()

    def test_have_a_test_each_in_which_they_fire(self) -> None:
        tests = "".join((OBSERVABILITY / name).read_text() for name in RULE_TESTS)
        assert set(re.findall(r"alertname: (\w+)\n\s+exp_alerts:\n", tests)) == alerts()

    def test_fire_when_they_should_and_not_otherwise(self) -> None:
        done = promtool("test", "rules", *RULE_TESTS)
        assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_accepts_its_configuration() -> None:
    done = promtool("check", "config", "--lint-fatal", "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_slow_requests_are_those_of_routes_that_neither_wait_nor_stream() -> None:
    texts = [(OBSERVABILITY / name).read_text() for name in ("rules.yml", "grafana/dashboards/mailroom.json")]
    [left_out] = {found for text in texts for found in re.findall(r'route!~\\?"none\|(.+?)\\?"', text)}
    routes = list(described_routes())
    long = {route.path for route in routes if waits(route.dependant) or streams(route)}
    assert "/emails/changes/stream" in long
    # Beside a route that waits.
    quick = {"/emails/syncs", "/emails/syncs/{id}/retry"}
    assert {route.path for route in routes if re.fullmatch(left_out, route.path)} - quick == long


class TestExporters:
    def test_serve_the_metrics_of_the_alerts(self) -> None:
        rules = (OBSERVABILITY / "rules.yml").read_text()
        used = set(re.findall(r"\b((?:pg|redis)_\w+)", rules))
        assert used == SERVED

    def test_are_scraped_by_their_names_in_compose(self) -> None:
        services = yaml.safe_load((OBSERVABILITY / "compose.yml").read_text())["services"]
        jobs = yaml.safe_load((OBSERVABILITY / "prometheus.yml").read_text())["scrape_configs"]
        targets = [target for job in jobs for one in job.get("static_configs", ()) for target in one["targets"]]
        exporters = {name for name in services if name.endswith("-exporter")}
        assert {target.partition(":")[0] for target in targets} == exporters


@pytest.mark.parametrize("composed", [_development, _production], ids=["development", "production"])
class TestNetworks:
    def test_lead_prometheus_to_each_process_that_it_scrapes(self, composed: Callable[[], Services]) -> None:
        services = composed()
        mine = set(services["prometheus"]["networks"])
        for job in yaml.safe_load((OBSERVABILITY / "prometheus.yml").read_text())["scrape_configs"]:
            named = [name for one in job.get("dns_sd_configs", ()) for name in one["names"]]
            named += [target.partition(":")[0] for one in job.get("static_configs", ()) for target in one["targets"]]
            [name] = named
            assert mine & set(services[name]["networks"]), name

    def test_lead_exporters_to_what_they_watch(self, composed: Callable[[], Services]) -> None:
        services = composed()
        for name in ("postgres", "redis"):
            assert set(services[f"{name}-exporter"]["networks"]) & set(services[name]["networks"]), name
