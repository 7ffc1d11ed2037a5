"""The Python client against the whole system."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import jsonschema_rs
import pytest
from mailroom_client import NO_RETRIES, Mailroom, MailroomError, NotFoundError, Retries
from mailroom_client.models import ChangePage
from standardwebhooks.webhooks import Webhook

from tests.support.clients.listening import listening, local_receiver
from tests.support.docs.documents import ROOT
from tests.support.e2e.back_ends import RETURN, BackEnd, consented
from tests.support.e2e.people import Person, Provider
from tests.support.e2e.running_stack import RunningStack
from tests.support.gateway.samples import schema_of

NewPerson = Callable[..., Person]


def _client(stack: RunningStack, person: Person, *, retries: Retries | None = None) -> Mailroom:
    return Mailroom(stack.gateway_url, token=person.token, retries=retries)


class TestCommandLine:
    def test_syncs_finds_and_shows_mail(
        self, stack: RunningStack, new_person: NewPerson, provider: Provider, tmp_path: Path
    ) -> None:
        ada = new_person(messages=12)
        provider.deliver(ada.email, subject="Okapi 42", text="An animal", to=ada.email)
        environment = {
            "PATH": os.environ["PATH"],
            "MAILROOM_CONFIG": str(tmp_path / "profiles.json"),
            "MAILROOM_URL": stack.gateway_url,
            "MAILROOM_TOKEN": ada.token,
        }

        def command(*arguments: str) -> list[dict[str, Any]]:
            done = subprocess.run(
                [sys.executable, "-m", "mailroom_cli", *arguments, "--json"],
                env=environment, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert (done.returncode, done.stderr) == (0, "")
            lines = [done.stdout] if arguments[0] in ("sync", "get") else done.stdout.splitlines()
            return [json.loads(line) for line in lines]

        [sync] = command("sync", "--count", "all", "--watch")
        assert (sync["state"], sync["stored"]) == ("completed", 13)
        [found] = command("search", "subject:okapi")
        [shown] = command("get", found["id"])
        assert shown == ada.get(f"/emails/{found['id']}").json()
        assert len(command("export")) == 13
        # Mailroom looks at the mailbox meanwhile.
        [listed], [shown] = command("mailboxes"), ada.get("/mailboxes").json()["mailboxes"]
        assert listed | {"last_synced_at": None} == shown | {"last_synced_at": None}


class TestQuickStart:
    @pytest.mark.long
    def test_works_as_it_is_printed(
        self, stack: RunningStack, http: httpx.Client, provider: Provider, tmp_path: Path
    ) -> None:
        page = (ROOT / "docs/command-line.md").read_text(encoding="utf-8")
        install, login, connect, *others = page.partition("```sh\n")[2].partition("```")[0].splitlines()
        assert install.startswith("pip install")
        operator = BackEnd(http, stack.api_key("--operator"))
        assert operator.post("/applications", {"name": "cli", "redirect_urls": [RETURN]}).status_code == 201
        back_end = BackEnd(
            http, stack.api_key("--application=cli", "--scopes=mail.read,mailboxes.read,mailboxes.manage")
        )
        (tmp_path / ".mailroom").mkdir()
        (tmp_path / ".mailroom/api-key").write_text(f"{back_end.key}\n")
        mailroom = f'mailroom() {{ "{sys.executable}" -m mailroom_cli "$@"; }}\n'
        environment = {
            "PATH": os.environ["PATH"],
            "MAILROOM_CONFIG": str(tmp_path / "profiles.json"),
            "MAILROOM_URL": stack.gateway_url,
        }

        def run(*lines: str, typed: str = "") -> str:
            script = mailroom + "\n".join(lines)
            done = subprocess.run(
                ["bash", "-eu", "-c", script],
                cwd=tmp_path, env=environment, input=typed, capture_output=True, text=True, check=False, timeout=60,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            return done.stdout

        run(login)
        email = provider.new_user(messages=5)
        provider.deliver(email, subject="Okapi 42", text="An animal", to=email)
        connecting = subprocess.Popen(
            ["bash", "-c", f"{mailroom}{connect.partition('#')[0]} --no-browser --redirect-url {RETURN}"],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert connecting.stderr is not None
        url = next(line.strip() for line in connecting.stderr if line.startswith("  http"))
        back = consented(http, url, email)
        shown, told = connecting.communicate(f"{RETURN}?{urlencode(back)}\n", timeout=60)
        assert (connecting.returncode, email in shown) == (0, True), told
        sync, search, get = others
        assert "completed" in run(sync)
        [line] = [line for line in run(search).splitlines() if "Okapi 42" in line]
        assert "An animal" in run(get.replace("ID", line.split()[-1]))


class TestListen:
    def test_delivers_what_the_reference_library_verifies(
        self, stack: RunningStack, new_person: NewPerson, provider: Provider, tmp_path: Path
    ) -> None:
        ada = new_person()
        ada.sync()
        with local_receiver(first=[500]) as receiver, listening(stack, ada, receiver.url, config=tmp_path) as command:
            secret = command.told(r"secret (whsec_\S+)")
            provider.deliver(ada.email, subject="Now", text="It is there", to=ada.email)
            failed, delivered = command.printed(), command.printed()
        assert (failed["state"], delivered["state"], delivered["tries"]) == ("failing", "delivered", 2)
        jsonschema_rs.validator_for(schema_of("Delivery")).validate(delivered)
        first, again = receiver.requests
        for body, headers in (first, again):
            event = Webhook(secret).verify(body, headers)
            jsonschema_rs.validator_for(schema_of("WebhookEvent")).validate(event)
            assert (event["type"], event["data"]["email"]["subject"]) == ("message.created", "Now")
        assert first[1]["webhook-id"] == again[1]["webhook-id"] == delivered["event_id"]
        position = json.loads(again[0])["data"]["position"]
        assert ada.get(f"/emails/changes?email={ada.email}&since={position}").json()["changes"] == []


class TestClient:
    def test_reads_a_mailbox_in_every_way(self, stack: RunningStack, new_person: NewPerson, provider: Provider) -> None:
        ada = new_person(messages=30)
        with _client(stack, ada) as client:
            sync = client.syncs.wait(client.syncs.start(ada.email, count="all").id, timeout=60)
            assert (sync.state, sync.stored) == ("completed", 30)
            [mailbox] = client.mailboxes.list()
            listed = {email.id for email in client.emails.list(mailbox.mailbox_id, page_size=7)}
            exported = {email.id: email for email in client.emails.export(ada.email)}
            assert listed == exported.keys()
            assert len(listed) == 30
            some = client.emails.get(min(listed))
            assert some == exported[some.id]
            with client.emails.raw(some.id) as chunks:
                assert b"".join(chunks) == provider.raw(ada.email, some.external_id)
            assert client.emails.thread(some.thread_id).message_count >= 1
            assert {label.name for label in client.emails.labels(ada.email)} >= {"INBOX"}
            with pytest.raises(NotFoundError):
                client.emails.get("nothing")

    def test_follows_new_mail(self, stack: RunningStack, new_person: NewPerson, provider: Provider) -> None:
        ada = new_person()
        ada.sync()
        with _client(stack, ada) as client:
            pages = client.changes.follow(ada.email, client.changes.position(ada.email))
            provider.deliver(ada.email, subject="Now", text="It is there", to=ada.email)
            [change] = next(pages).changes
        assert (change.type, change.email and change.email.subject) == ("created", "Now")

    @pytest.mark.long
    def test_follows_through_restarts_of_every_service(
        self, stack: RunningStack, new_person: NewPerson, provider: Provider
    ) -> None:
        ada = new_person()
        ada.sync()
        sent: list[str] = []

        def deliver(subject: str) -> None:
            provider.deliver(ada.email, subject=subject, text="It is there", to=ada.email)
            sent.append(subject)

        troubles: list[MailroomError] = []
        # Repeats of single calls would bridge restarts of a fast machine.
        with _client(stack, ada, retries=NO_RETRIES) as client, ThreadPoolExecutor(1) as pool:
            pages = client.changes.follow(ada.email, client.changes.position(ada.email), on_trouble=troubles.append)
            following = pool.submit(_created, pages, last="the last one")
            for name in ("auth", "mail", "worker", "gateway"):
                stack.kill(name)
                deliver(f"without {name}")
                stack.start(name)
                deliver(f"with {name} again")
            deliver("the last one")
            assert sorted(following.result(timeout=300)) == sorted(sent)
        assert troubles


def _created(pages: Iterator[ChangePage], *, last: str) -> list[str]:
    """Return the subjects of messages that pages tell of, up to one of them."""
    subjects: list[str] = []
    for page in pages:
        subjects += [change.email.subject or "" for change in page.changes if change.type == "created" and change.email]
        if last in subjects:
            break
    return subjects
