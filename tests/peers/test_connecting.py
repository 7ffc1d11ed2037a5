"""Users of an application connect mailboxes in a browser, without a sign-in to Mailroom."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.e2e.back_ends import BackEnd
from tests.support.e2e.people import Provider
from tests.support.e2e.running_stack import RunningStack, running_stack
from tests.support.peers.installation import ROOT, VENV
from tests.support.peers.shop import Shop, open_shop
from tests.support.peers.skips import require

pytestmark = pytest.mark.peers
_PROGRAM = ROOT / "tests/support/peers/connect_visit.py"
_SECONDS = 180


@pytest.fixture
def stack() -> Iterator[RunningStack]:
    home = Path(tempfile.mkdtemp(prefix="mailroom-connect-"))
    try:
        with running_stack(home, SANDBOX_USERS="") as running:
            yield running
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def shop(stack: RunningStack) -> Iterator[Shop]:
    """A shop that is an application of the stack."""
    with open_shop() as shop, httpx.Client(base_url=stack.gateway_url, trust_env=False, timeout=60) as http:
        operator = {"Authorization": f"Bearer {stack.api_key('--operator')}"}
        body = {"name": "Книжная лавка <Ada & Co.>", "redirect_urls": [shop.redirect_url]}
        http.post("/applications", json=body, headers=operator).raise_for_status()
        scopes = "--scopes=mail.read,mailboxes.read,mailboxes.manage"
        shop.back_end = BackEnd(http, stack.api_key(f"--application={body['name']}", scopes))
        yield shop


def test_users_connect_and_reconnect_and_a_phished_consent_attaches_nothing(
    stack: RunningStack, shop: Shop, tmp_path: Path
) -> None:
    browser = require(shutil.which("chromium"), "chromium", source="debian")
    require(next(VENV.glob("lib/*/site-packages/playwright"), None), "playwright", source="pypi")
    provider = Provider(stack.sandbox_url)
    email, victim = provider.new_user(messages=3), provider.new_user(messages=3)
    attackers_url = shop.start("mallory")
    arguments = [browser, shop.url, email, victim, str(tmp_path), attackers_url]
    command = [str(VENV / "bin/python"), str(_PROGRAM), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
    provider.close()
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    # The page that has ended is a 404, which Chromium tells as an error.
    assert [error for error in facts["errors"] if "404" not in error] == []
    assert facts["first"]["heading"] == "Connect a mailbox to Книжная лавка <Ada & Co.>"
    assert facts["first"]["end"] == facts["again"]["end"] == f"connected {email}"
    assert facts["used"] == "This link does not work any more"
    assert facts["phished"] == "refused: another user's session"
    first, again = shop.connected
    assert first == again
    assert shop.back_end is not None
    shop.back_end.sync(first["mailbox_id"])
    assert len(shop.back_end.get("/emails", mailbox_id=first["mailbox_id"]).json()["emails"]) == 3
    assert shop.back_end.get("/mailboxes", external_user_id="mallory").json()["mailboxes"] == []
    looks = [facts[f"{scheme} {name}"] for scheme in ("light", "dark") for name in ("phone", "desk")]
    assert [look["overflow"] for look in looks] == [0, 0, 0, 0]
    assert all(look["height"] >= 44 for look in looks)
    assert looks[0]["background"] != looks[2]["background"]
    assert not any("token=" in referer for referer in shop.referers)
