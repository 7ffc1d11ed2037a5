"""The page of docs/frontends.md, and the gateway's own pages, in a browser."""

import json
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from tests.support.e2e.people import Provider
from tests.support.e2e.running_stack import RunningStack, running_stack
from tests.support.gateway.document import operations
from tests.support.peers.installation import ROOT, VENV
from tests.support.peers.skips import require

pytestmark = pytest.mark.peers
_PROGRAM = ROOT / "tests/support/peers/frontend_visit.py"
_MESSAGES = 12
_SECONDS = 180


@pytest.fixture
def page_url() -> Iterator[str]:
    """The page, served from an origin of its own."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(ROOT / "docs/frontend"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def stack(page_url: str) -> Iterator[RunningStack]:
    """A stack whose sign-ins return to the page, which may call it."""
    home = Path(tempfile.mkdtemp(prefix="mailroom-frontend-"))
    try:
        with running_stack(
            home,
            FRONTEND_REDIRECT_URL=page_url,
            CORS_ORIGINS=page_url.rstrip("/"),
            AUTH_REQUIRE_CLIENT_PROOF="true",
            SANDBOX_USERS="",
        ) as running:
            yield running
    finally:
        shutil.rmtree(home, ignore_errors=True)


def test_the_page_signs_in_shows_mail_and_outlives_a_reload(stack: RunningStack, page_url: str) -> None:
    browser = require(shutil.which("chromium"), "chromium", source="debian")
    require(next(VENV.glob("lib/*/site-packages/playwright"), None), "playwright", source="pypi")
    provider = Provider(stack.sandbox_url)
    email = provider.new_user(messages=_MESSAGES)
    command = [str(VENV / "bin/python"), str(_PROGRAM), browser, page_url, stack.gateway_url, email]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    truth = provider.truth(email, all_labels=False)[:10]
    provider.close()
    assert facts["errors"] == []
    assert facts["address"] == page_url
    assert [line.partition(": ")[2] for line in facts["signed_in"]] == [
        " ".join((item.subject or "(no subject)").split()) for item in truth
    ]
    assert facts["reloaded"] == facts["signed_in"]
    assert facts["landing"] == "Mailroom"
    served = httpx.get(f"{stack.gateway_url}/openapi.json", trust_env=False).json()
    # The page lists the events of webhooks as well.
    assert facts["docs"] == len(list(operations(served))) + len(served["webhooks"])
