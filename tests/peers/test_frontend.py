"""The quick start of docs/frontends.md as it is printed, and the gateway's own pages, in a browser."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from deploy.local.ports import Ports
from tests.support.docs.page_steps import steps_of
from tests.support.e2e.people import Provider
from tests.support.e2e.running_stack import plain_environment
from tests.support.gateway.document import operations
from tests.support.peers.installation import ROOT, VENV
from tests.support.peers.skips import require

pytestmark = pytest.mark.peers
_PROGRAM = ROOT / "tests/support/peers/frontend_visit.py"
_MESSAGES = 12
_SECONDS = 180


@dataclass(frozen=True, slots=True)
class QuickStart:
    """What the printed commands have started."""

    page_url: str
    gateway_url: str
    sandbox_url: str


@pytest.fixture
def quick_start(ports: Ports) -> Iterator[QuickStart]:
    """The commands of the page as they are printed, on other ports; each has its terminal."""
    run, serve = steps_of((ROOT / "docs/frontends.md").read_text(encoding="utf-8"), section="Try the page")
    page_port, gateway_port, sandbox_port = ports.free(), ports.free(), ports.free()
    home = Path(tempfile.mkdtemp(prefix="mailroom-frontend-"))
    # No .env of the checkout counts.
    (home / "docs").symlink_to(ROOT / "docs")
    environment = plain_environment(
        MAILROOM_HOME=str(home / "mailroom"),
        GATEWAY_PORT=str(gateway_port),
        SANDBOX_PORT=str(sandbox_port),
        SANDBOX_USERS="",
        AUTH_REQUIRE_CLIENT_PROOF="true",
        PYTHONUNBUFFERED="1",
    )
    try:
        with (
            _terminal(run.text.replace("3000", str(page_port)), home, environment, until="Ctrl-C stops everything"),
            _terminal(serve.text.replace("3000", str(page_port)), home, environment, until="Serving HTTP"),
        ):
            yield QuickStart(
                f"http://localhost:{page_port}/",
                f"http://localhost:{gateway_port}",
                f"http://localhost:{sandbox_port}",
            )
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def _terminal(typed: str, folder: Path, environment: Mapping[str, str], *, until: str) -> Iterator[None]:
    """Type a command in a folder, wait until it prints a text, and end it by Ctrl-C after the block."""
    # The interpreter of the tests is the one of `make`, which must not install anything now.
    make = f'make() {{ "{sys.executable}" -m deploy.local "$@"; }}\n'
    with subprocess.Popen(
        ["bash", "-c", make + typed],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        watchdog = threading.Timer(2 * _SECONDS, os.killpg, (process.pid, signal.SIGKILL))
        watchdog.start()
        try:
            assert process.stdout
            printed: list[str] = []
            while until not in "".join(printed[-1:]):
                line = process.stdout.readline()
                assert line, f"it ended with:\n{''.join(printed)}"
                printed.append(line)
            yield
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
            process.communicate()
            watchdog.cancel()


def test_the_page_signs_in_shows_mail_and_outlives_a_reload(quick_start: QuickStart) -> None:
    browser = require(shutil.which("chromium"), "chromium", source="debian")
    require(next(VENV.glob("lib/*/site-packages/playwright"), None), "playwright", source="pypi")
    provider = Provider(quick_start.sandbox_url)
    email = provider.new_user(messages=_MESSAGES)
    command = [str(VENV / "bin/python"), str(_PROGRAM), browser, quick_start.page_url, quick_start.gateway_url, email]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    truth = provider.truth(email, all_labels=False)[:10]
    provider.close()
    assert facts["errors"] == []
    assert facts["address"] == quick_start.page_url
    assert [line.partition(": ")[2] for line in facts["signed_in"]] == [
        " ".join((item.subject or "(no subject)").split()) for item in truth
    ]
    assert facts["reloaded"] == facts["signed_in"]
    assert facts["landing"] == "Mailroom"
    served = httpx.get(f"{quick_start.gateway_url}/openapi.json", trust_env=False).json()
    # The page lists the events of webhooks as well.
    assert facts["docs"] == len(list(operations(served))) + len(served["webhooks"])
