"""The console in a browser: accessibility, journeys by keyboard, hostile mail, the time until a change shows."""

import asyncio
import json
import os
import random
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.local.ports import Ports
from services.console.app import create_app
from services.console.gateway.client import Gateway
from services.console.settings import ConsoleSettings
from services.kit.api_key import generate
from services.kit.http.server import serve_http
from tests.support.console.fake_gateway import (
    MAILBOX,
    RECEIVED,
    FakeGateway,
    delivery,
    email,
    event,
    key,
    mailbox,
    webhook,
)
from tests.support.e2e.people import Person
from tests.support.e2e.running_stack import RunningStack, running_stack
from tests.support.peers.html_attacks import ATTACKS, EVIL
from tests.support.peers.installation import FOLDER, ROOT, VENV
from tests.support.peers.skips import require

pytestmark = pytest.mark.peers
_PROGRAM = ROOT / "tests/support/peers/console_visit.py"
_SECONDS = 900
_SCOPES = "mail.read,mailboxes.read,mailboxes.manage,keys.manage,webhooks.manage"
_EMAIL, _OTHER = "ada@example.com", "grace@example.org"

# Of the right form; the gateway of the tests takes any.
_KEY = generate(random.Random(5).randbytes).value

type Visit = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def visit() -> Visit:
    """Do a task in a browser, and return what it saw."""
    browser = require(shutil.which("chromium"), "chromium", source="debian")
    require(next(VENV.glob("lib/*/site-packages/playwright"), None), "playwright", source="pypi")
    axe = require(FOLDER / "node_modules/axe-core/axe.min.js", "axe-core", source="npm")

    def visited(task: str, **facts: object) -> dict[str, Any]:
        command = [str(VENV / "bin/python"), str(_PROGRAM), browser, axe, task]
        done = subprocess.run(
            command, input=json.dumps(facts), capture_output=True, text=True, check=False, timeout=_SECONDS
        )
        assert done.returncode == 0, done.stderr
        seen: dict[str, Any] = json.loads(done.stdout)
        return seen

    return visited


@dataclass
class Console:
    """A stack with its console, and an API key."""

    stack: RunningStack
    key: str

    @property
    def facts(self) -> dict[str, str]:
        """What each task needs."""
        return {
            "console": self.stack.variables["CONSOLE_PUBLIC_URL"],
            "sandbox": self.stack.sandbox_url,
            "key": self.key,
            "email": _EMAIL,
        }

    def fill(self) -> str:
        """Connect the mailbox and copy it, unless that was done. Returns its id."""
        http = httpx.Client(base_url=self.stack.gateway_url, trust_env=False, timeout=60)
        http.headers["authorization"] = f"Bearer {self.key}"
        if not (found := http.get("/mailboxes").json()["mailboxes"]):
            with httpx.Client(base_url=self.stack.gateway_url, trust_env=False, timeout=60) as person:
                Person.sign_in(person, _EMAIL)
            asked = {"email": _EMAIL, "count": 100}
            http.post("/emails/sync", json=asked, headers={"prefer": "wait=60"}).raise_for_status()
            found = http.get("/mailboxes").json()["mailboxes"]
        http.close()
        return str(found[0]["mailbox_id"])

    def webhook(self) -> str:
        """Create a webhook, whose first event cannot be delivered. Returns its id."""
        headers = {"authorization": f"Bearer {self.key}"}
        body = {"url": "https://shop.example/hook", "description": "the shop"}
        made = httpx.post(f"{self.stack.gateway_url}/webhooks", json=body, headers=headers, trust_env=False, timeout=60)
        return str(made.raise_for_status().json()["id"])


@pytest.fixture(scope="module")
def console() -> Iterator[Console]:
    """A console without a mailbox, whose sandbox has one to connect."""
    home = Path(tempfile.mkdtemp(prefix="mailroom-console-"))
    try:
        with running_stack(
            home,
            SANDBOX_USERS=f"{_EMAIL},{_OTHER}",
            SANDBOX_MESSAGES="120",
            SANDBOX_QUOTA_WINDOW="0.2",
            GMAIL_QUOTA_WINDOW="0.2",
        ) as stack:
            stack.start("console")
            returning = f"{stack.variables['CONSOLE_PUBLIC_URL']}/connect/done"
            yield Console(stack, stack.api_key("--scopes", _SCOPES, "--redirect-url", returning))
    finally:
        shutil.rmtree(home, ignore_errors=True)


class TestPages:
    def test_without_mail_are_accessible_and_fit(self, visit: Visit, console: Console) -> None:
        paths = [
            "/overview",
            "/mailboxes",
            "/mail",
            "/changes",
            "/webhooks",
            "/keys",
            "/audit?type=sign_up_refused",
            "/api",
            "/nowhere",
        ]
        seen = visit("look", **console.facts, paths=paths)
        assert len(seen) == 4
        assert {size: found for size, found in seen.items() if found} == {}

    @pytest.mark.long  # more than 20 pages, in both themes and widths
    def test_with_mail_are_accessible_and_fit(self, visit: Visit, console: Console) -> None:
        mailbox = f"/mailboxes/{console.fill()}"
        newest, thread = _ids(console)
        webhook = f"/webhooks/{console.webhook()}"
        paths = [
            *(
                "/overview",
                "/mailboxes",
                "/mailboxes?status=access_denied",
                mailbox,
                f"{mailbox}/disconnect",
                f"{mailbox}/changes",
            ),
            *(f"{mailbox}/mail", f"{mailbox}/mail?q=the", f"{mailbox}/mail?q=form:x", f"{mailbox}/mail?q=zzzzzz"),
            *(f"{mailbox}/mail/{newest}?view={view}" for view in ("html", "text", "headers", "raw", "json")),
            *(f"{mailbox}/threads", f"{mailbox}/threads/{thread}"),
            *("/webhooks", webhook, f"{webhook}/edit", f"{webhook}?state=parked", f"{webhook}?done=webhook_enabled"),
            *("/keys", f"/keys/{console.key.split('_')[1]}", "/audit", "/api?q=mailboxes"),
        ]
        seen = visit("look", **console.facts, paths=paths, opens=True)
        assert {size: found for size, found in seen.items() if found} == {}

    def test_are_used_with_keys_alone(self, visit: Visit, console: Console) -> None:
        console.fill()
        seen = visit("keyboard", **console.facts, query="the")
        assert seen["complaints"] == []
        skip, mailbox, found, title, key, signed_out = seen["reached"]
        assert (skip, mailbox, key) == ("Skip to content", _EMAIL, "by keyboard")
        assert found
        assert title
        assert "You are signed out" in signed_out

    def test_make_change_test_and_rotate_a_webhook_with_keys_alone(self, visit: Visit, console: Console) -> None:
        mailbox = console.fill()
        seen = visit("webhooks", **console.facts, mailbox=mailbox)
        assert seen["complaints"] == []
        changed, facts, tested = seen["reached"]
        assert "The webhook is changed." in changed
        assert mailbox in facts
        assert "message.created" in facts
        assert "A test is on its way." in tested
        assert [secret.startswith("whsec_") for secret in seen["secrets"]] == [True, True]
        assert seen["is_another"]

    def test_connect_a_mailbox_and_show_its_copy_grow(self, visit: Visit, console: Console) -> None:
        console.fill()
        seen = visit("connect", **{**console.facts, "email": _OTHER})
        assert seen["complaints"] == []
        assert "The newest 100 messages and new mail." in seen["shown"]

    def test_show_a_change_within_two_seconds(self, visit: Visit, console: Console) -> None:
        seen = visit("tail", **console.facts, mailbox=console.fill(), count=5)
        assert seen["complaints"] == []
        assert sorted(seen["seconds"])[2] < 2, seen["seconds"]


class TestPictures:
    def test_of_the_readme_are_taken_small_and_kept_if_wanted(
        self, visit: Visit, console: Console, tmp_path: Path
    ) -> None:
        """MAILROOM_PICTURES=keep replaces those of the documentation."""
        mailbox = f"/mailboxes/{console.fill()}"
        pictures = {
            "console-mailboxes-light.png": "/mailboxes",
            "console-message-dark.png": f"{mailbox}/mail/{_ids(console, query='the')[0]}?q=the",
        }
        folder = ROOT / "docs/pictures" if os.environ.get("MAILROOM_PICTURES") == "keep" else tmp_path
        assert visit("pictures", **console.facts, pictures=pictures, folder=str(folder))["taken"] == sorted(pictures)
        for name in pictures:
            assert (folder / name).stat().st_size < 200_000, name
            assert (ROOT / "docs/pictures" / name).exists()
            assert f"docs/pictures/{name}" in (ROOT / "README.md").read_text(encoding="utf-8")


class TestHostileMail:
    """The gateway of these tests does not sanitise: the console's own walls hold alone."""

    def test_runs_nothing_loads_nothing_and_leaves_no_page(self, visit: Visit, ports: Ports) -> None:
        with _canary() as (canary, requests):
            attacks = [attack.replace(EVIL, canary) for kind in ATTACKS.values() for attack in kind]
            words = f'<img src="{canary}/word" onerror="top.ran=1">'
            emails = [
                email(
                    id=f"attack-{number}",
                    html=attack,
                    text=attack,
                    subject=words,
                    snippet=words,
                    labels=[words],
                    **{"from": {"name": words, "email": words}},
                    highlight=f"<mark>{words}</mark>",
                    headers=[{"name": words, "value": words}],
                    attachments=[
                        {
                            "id": "a",
                            "filename": words,
                            "mime_type": words,
                            "size": 1,
                            "inline": False,
                            "content_id": None,
                        }
                    ],
                )
                for number, attack in enumerate(attacks)
            ]
            assert len(emails) >= 300
            mail = f"/mailboxes/{MAILBOX}/mail"
            views = [f"{mail}/attack-0?view={view}" for view in ("text", "headers", "json")]
            changes = [
                {"type": "created", "id": "attack-0", "email": emails[0], "label": None},
                {"type": "label_updated", "id": words, "email": None, "label": {"name": words}},
            ]
            paths = [
                *("/audit", "/keys", "/keys/AbC", mail, f"/mailboxes/{MAILBOX}", f"/mailboxes/{MAILBOX}/changes"),
                "/webhooks",
                "/webhooks/webhook-1?done=webhook_enabled",
                "/webhooks/webhook-1/edit",
                f"{mail}?q=x",
                *views,
                f"{mail}/attack-0?view=html",
            ]
            frames = [f"/messages/{each['id']}/frame" for each in emails]
            attempt = {"at": RECEIVED, "status": 500, "error": None, "duration_ms": 1, "body": "".join(attacks)[:1000]}
            hostile = FakeGateway(
                mailboxes=[mailbox(email=words, provider=words)],
                emails=emails,
                labels=[{"id": words, "name": words, "message_count": 1}],
                changes=changes,
                keys=[key(name=words, networks=[words])],
                events=[event(type=words, email=words, client=words, client_network=words)],
                webhooks=[webhook(url=words, description=words)],
                deliveries=[delivery(event=words, event_id=words, attempts=[attempt])],
            )
            with _served(hostile, port=ports.free()) as facts:
                seen = visit("attacks", **facts, canary=f"{canary}/alive", paths=paths, frames=frames)
        assert seen["complaints"] == []
        assert [path for path in requests if path != "/favicon.ico"] == ["/alive"]


@contextmanager
def _canary() -> Iterator[tuple[str, list[str]]]:
    """Serve an origin that messages must not reach. Yields it with the paths that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


@contextmanager
def _served(gateway: FakeGateway, *, port: int) -> Iterator[dict[str, str]]:
    """Serve a console over a gateway. Yields what a visit needs."""
    up, stop, loops = threading.Event(), asyncio.Event(), []
    origin = f"http://localhost:{port}"

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        settings = ConsoleSettings.model_validate({"console_public_url": origin})
        async with gateway.client() as client:
            app = create_app(settings, gateway=Gateway(client))
            async with serve_http(app, host="127.0.0.1", port=port):
                up.set()
                await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert up.wait(20)
    yield {"console": origin, "key": _KEY}
    loops[0].call_soon_threadsafe(stop.set)
    thread.join()


def _ids(console: Console, *, query: str = "") -> tuple[str, str]:
    """Return the ids of the newest message with HTML that a query finds, and of its thread."""
    headers = {"authorization": f"Bearer {console.key}"}
    with httpx.Client(base_url=console.stack.gateway_url, trust_env=False, timeout=60, headers=headers) as http:
        for each in http.get("/emails", params={"email": _EMAIL, **({"q": query} if query else {})}).json()["emails"]:
            if http.get(f"/emails/{each['id']}").json()["html"]:
                return each["id"], each["thread_id"]
    raise AssertionError("no message has HTML")
