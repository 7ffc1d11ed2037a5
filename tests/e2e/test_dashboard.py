"""A real Prometheus scrapes a stack in use with the shipped configuration: panels have data, rules evaluate."""

import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from deploy.local.children import die_with_parent
from deploy.local.ports import Ports
from tests.support.e2e.people import Person, Provider
from tests.support.e2e.running_stack import RunningStack, wait_for_answer

OBSERVABILITY = Path(__file__).parents[2] / "deploy/observability"
PROCESSES = ("gateway", "auth", "mail", "worker", "deliverer")
SECONDS = 60
# Empty while no alert fires, no client follows changes and there are no webhooks.
QUIET = {
    "Calls that fail, by status", "Dead letters", "Until the next watch ends", "Watches renewed per second",
    "Seconds per try, 99 in 100",
}  # fmt: skip


@dataclass(frozen=True)
class Prometheus:
    """A server that scrapes the processes of a stack once a second."""

    http: httpx.Client

    def query(self, expression: str) -> list[Any]:
        """Return the current value of an expression. Fails if Prometheus cannot parse it."""
        answer = self.http.get("/api/v1/query", params={"query": expression})
        assert answer.status_code == 200, f"{expression}: {answer.text}"
        found: list[Any] = answer.json()["data"]["result"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        """Return the alert rules with their state."""
        groups = self.http.get("/api/v1/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"] if rule["type"] == "alerting"]


@pytest.fixture
def prometheus(stack: RunningStack, ports: Ports, tmp_path: Path) -> Iterator[Prometheus]:
    """Prometheus with the shipped rules, and the shipped jobs at the addresses of this stack."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed: it comes with Debian's package of that name")
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(_configuration(stack)))
    port = ports.free()
    command = (
        program,
        f"--config.file={tmp_path / 'prometheus.yml'}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    )
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=die_with_parent(signal.SIGKILL)) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http,
    ):
        try:
            wait_for_answer(f"{http.base_url}/-/ready", process, log=tmp_path / "log")
            yield Prometheus(http)
        finally:
            process.terminate()


def _configuration(stack: RunningStack) -> dict[str, Any]:
    shipped = yaml.safe_load((OBSERVABILITY / "prometheus.yml").read_text())
    admin = {f"mailroom-{name}": stack.variables[f"{name.upper()}_ADMIN_PORT"] for name in PROCESSES}
    names = [job["job_name"] for job in shipped["scrape_configs"]]
    # The stack has no console and no exporters.
    assert set(names) == {*admin, "mailroom-console", "postgres", "redis", "node"}
    jobs = {name: f"127.0.0.1:{admin[name]}" for name in names if name in admin}
    return {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(OBSERVABILITY / file) for file in shipped["rule_files"]],
        "scrape_configs": [{"job_name": job, "static_configs": [{"targets": [at]}]} for job, at in jobs.items()],
    }


def _panels() -> Iterator[tuple[str, str]]:
    """Return each query with the title of its panel."""
    for path in (OBSERVABILITY / "grafana/dashboards").iterdir():
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", []):
                yield panel["title"], target["expr"].replace("$__rate_interval", "30s")


def _scaling_query() -> str:
    """Return the query by which the chart has KEDA scale workers."""
    template = (OBSERVABILITY.parent / "helm/mailroom/templates/_deployment.tpl").read_text()
    [query] = re.findall(r"^ +query: (.+)$", template, re.MULTILINE)
    return str(query)


def _use(person: Person, provider: Provider) -> None:
    """Cause some of every metric: a token is refreshed, mail arrives and is read."""
    provider.post(f"/users/{person.email}/tokens/expire")
    provider.deliver(person.email)
    person.sync()
    person.emails()


class TestPrometheus:
    def test_shows_a_system_in_use_on_every_panel_and_raises_no_alarm(
        self, prometheus: Prometheus, new_person: Callable[..., Person], provider: Provider
    ) -> None:
        person = new_person(messages=3)
        deadline = time.monotonic() + SECONDS
        empty = {"not asked yet"}
        while empty:
            assert time.monotonic() < deadline, empty
            _use(person, provider)
            empty = {title for title, query in _panels() if not prometheus.query(query)} - QUIET
        # KEDA takes a single number.
        [scaling] = prometheus.query(_scaling_query())
        assert (scaling["metric"], float(scaling["value"][1]) >= 0) == ({}, True)
        rules = prometheus.rules()
        assert {rule["name"]: rule["lastError"] for rule in rules if rule["health"] != "ok"} == {}
        assert len(rules) > 10
        assert [rule["name"] for rule in rules if rule["state"] == "firing"] == []
