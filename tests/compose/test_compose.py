"""`docker compose up` starts a system that works as docs/sessions.md says, and survives the loss of its parts."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.compose.composed_system import ROOT, ComposedSystem
from tests.support.docs.page_steps import steps_of
from tests.support.e2e.people import Person, Provider, external_ids, ids

pytestmark = pytest.mark.compose

IMAGES = ("auth", "mail", "worker", "gateway", "console", "sandbox")
RECOVERY_SECONDS = 60
POLL_SECONDS = 0.2
_DATABASE = {"alembic", "asyncpg", "sqlalchemy"}
# Packages of other images that this one must not have.
FOREIGN = {
    "auth": {
        "fastapi",
        "python_multipart",
        "services.mail",
        "services.gateway",
        "services.sandbox",
        "mailroom.mail",
    },
    "mail": {"fastapi", "python_multipart", "services.auth", "services.gateway", "services.sandbox"},
    "worker": {"fastapi", "python_multipart", "services.auth", "services.gateway", "services.sandbox"},
    "gateway": {*_DATABASE, "httpx", "services.auth", "services.mail", "services.sandbox"},
    "console": {
        *(*_DATABASE, "redis", "mailroom"),
        *("services.auth", "services.mail", "services.gateway", "services.sandbox"),
    },
    "sandbox": {*_DATABASE, "redis", "services.auth", "services.mail", "services.gateway", "mailroom"},
}
# Prints the container's properties as the process sees them.
_LOOK = """
import importlib.util, json, os, pathlib, shutil, sys

def found(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False

def writable(path):
    try:
        pathlib.Path(path, "probe").touch()
    except OSError:
        return False
    return True

names = {names!r}
print(json.dumps({{
    "uid": os.getuid(),
    "found": [name for name in names if found(name)],
    "programs": [name for name in ("pip", "pip3", "cc", "gcc", "make") if shutil.which(name)],
    "writable": [path for path in ("/", "/app", "/opt/venv", "/home", "/var/tmp") if writable(path)],
}}))
"""


@pytest.fixture(scope="module")
def system(development: ComposedSystem) -> ComposedSystem:
    """The system under test."""
    return development


def _await_status(get: Callable[[], httpx.Response], status: int) -> httpx.Response:
    """Request until the response has this status; until then only success or an unavailable service is allowed."""
    deadline = time.monotonic() + RECOVERY_SECONDS
    while (answer := get()).status_code != status:
        # 504: the loss is not noticed yet.
        assert answer.status_code in (200, 503, 504), answer.text
        assert time.monotonic() < deadline, f"still {answer.status_code} {answer.text}"
        time.sleep(POLL_SECONDS)
    return answer


def _documents(text: str) -> list[Any]:
    """Parse JSON documents that were printed one after another."""
    decoder, found = json.JSONDecoder(), []
    while text := text.strip():
        document, end = decoder.raw_decode(text)
        found.append(document)
        text = text[end:]
    return found


def test_every_service_is_healthy_and_the_migrations_ended_with_0(system: ComposedSystem) -> None:
    containers = system.containers()
    for name in ("certificates", "auth-migrations", "mail-migrations"):
        ended = containers.pop(name)
        assert (ended["State"], ended["ExitCode"]) == ("exited", 0)
    services = ("auth", "mail", "worker", "deliverer", "gateway", "console", "sandbox")
    assert set(containers) == {"postgres", "redis", *services}
    assert {container["Health"] for container in containers.values()} == {"healthy"}


def test_the_sign_in_with_curl_works_as_it_is_printed(
    system: ComposedSystem, provider: Provider, tmp_path: Path
) -> None:
    [step] = steps_of((ROOT / "docs/sessions.md").read_text(), section="Sign in with curl")
    script = step.text.replace("http://localhost:8000", system.gateway_url)
    assert system.gateway_url in script
    done = subprocess.run(["sh", "-eu", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    listed, sync, newest, unread, found, message = _documents(done.stdout)
    assert [mailbox["email"] for mailbox in listed["mailboxes"]] == ["grace@example.org"]
    # Quota alone makes this sync take 20 of the 30 seconds for which the command waits.
    assert (sync["state"] in ("running", "completed"), sync["listed"]) == (True, 100)
    assert external_ids(newest["emails"]) == ids(provider.truth("grace@example.org", all_labels=False))[:5]
    assert all("INBOX" in email["labels"] and not email["is_read"] for email in unread["emails"])
    assert found["emails"]
    assert all("INBOX" in email["labels"] for email in found["emails"])
    assert message["id"] == newest["emails"][0]["id"]
    assert message["headers"]


def test_a_whole_mailbox_arrives_as_it_is_at_the_provider(http: httpx.Client, provider: Provider) -> None:
    ada = Person.sign_in(http, provider.new_user(messages=60))
    ada.sync()
    assert sorted(external_ids(ada.emails())) == sorted(ids(provider.truth(ada.email)))


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_holds_its_service_only_and_runs_without_rights(system: ComposedSystem, name: str) -> None:
    own = "services." + {"worker": "mail"}.get(name, name)
    names = [own, "services.kit", "pip", "ensurepip", "setuptools", "pytest", "deploy", *sorted(FOREIGN[name])]
    seen = json.loads(system.python(name, _LOOK.format(names=names)))
    assert seen == {"uid": 10001, "found": [own, "services.kit"], "programs": [], "writable": []}


@pytest.mark.parametrize("name", ["auth", "mail"])
def test_a_killed_service_is_a_clean_problem_until_its_replacement_serves(
    system: ComposedSystem, http: httpx.Client, provider: Provider, name: str
) -> None:
    ada = Person.sign_in(http, provider.new_user(messages=5))
    ada.sync()
    asked: dict[str, Callable[[], httpx.Response]] = {
        "auth": lambda: http.get("/auth/google/start"),
        "mail": lambda: ada.get(f"/emails?user_email={ada.email}"),
    }
    with system.killed(name):
        refused = _await_status(asked[name], 503)
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["code"] == "service_unavailable"
    _await_status(asked[name], 200)
    assert len(ada.emails()) == 5


def test_a_sync_asked_for_while_no_worker_lives_is_done_by_the_next_one(
    system: ComposedSystem, http: httpx.Client, provider: Provider
) -> None:
    ada = Person.sign_in(http, provider.new_user(messages=20))
    with system.killed("worker"):
        sync = ada.start_sync()
    ended = ada.await_end(sync)
    assert (ended["state"], ended["stored"]) == ("completed", 20)


def test_the_published_servers_are_found_by_make_migrate(system: ComposedSystem, tmp_path: Path) -> None:
    example = (ROOT / ".env.example").read_text()
    chosen = dict(
        re.findall(
            r"^## .*?((?:(?:AUTH|MAIL|WORKER|DELIVERER)_)?POSTGRES_"
            r"(?:HOST|USER|PASSWORD|OWNER|OWNER_PASSWORD)|REDIS_HOST)=(\w+)",
            example,
            re.MULTILINE,
        )
    )
    assert len(chosen) == 15
    ports = {name: system.variables[name] for name in ("POSTGRES_PORT", "REDIS_PORT")}
    environment = {"PATH": os.environ["PATH"], "MAILROOM_HOME": str(tmp_path / "home"), **chosen, **ports}
    command = [sys.executable, "-m", "deploy.local", "migrate"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (tmp_path / "home" / "postgres").exists(), "an embedded server was started"


def test_every_process_stops_by_itself_when_it_is_told_to(system: ComposedSystem) -> None:
    system.compose("stop", timeout=180)
    codes = {name: container["ExitCode"] for name, container in system.containers().items()}
    assert codes == dict.fromkeys(codes, 0)
