"""Connect sessions over the whole stack, and the quick start of docs/applications.md as it is printed."""

import re
import subprocess
import time
from pathlib import Path

import httpx
import pytest
from mailroom_client import Mailroom

from deploy.local.announcement import announcement
from deploy.local.environment import Settings
from deploy.local.home import Home
from deploy.local.stack import ensure_first_key
from tests.e2e.test_disconnecting import database_of, until, until_erased
from tests.support.docs.documents import ROOT
from tests.support.docs.page_steps import steps_of
from tests.support.e2e.back_ends import RETURN, BackEnd, consented
from tests.support.e2e.people import Provider
from tests.support.e2e.running_stack import RunningStack

_SCOPES = "--scopes=mail.read,mailboxes.read,mailboxes.manage"
QUICK_START = ROOT / "docs/applications.md"
_LOCAL = "http://localhost:3000/connected"


@pytest.fixture(scope="module")
def shop(stack: RunningStack, http: httpx.Client) -> BackEnd:
    """The back end of an application of its own."""
    operator = {"Authorization": f"Bearer {stack.api_key('--operator')}"}
    made = http.post("/applications", json={"name": "shop", "redirect_urls": [RETURN]}, headers=operator)
    assert made.status_code == 201, made.text
    return BackEnd(http, stack.api_key("--application=shop", _SCOPES))


class TestConnection:
    def test_gives_the_application_a_mailbox_of_its_user(self, shop: BackEnd, provider: Provider) -> None:
        email = provider.new_user(messages=9)
        mailbox = shop.connected("42", email)
        assert (mailbox["email"], mailbox["external_user_id"]) == (email, "42")
        shop.sync(mailbox["mailbox_id"])
        listed_mail = shop.get("/emails", mailbox_id=mailbox["mailbox_id"]).json()["emails"]
        assert len(listed_mail) == len(provider.truth(email)) > 0
        [listed] = shop.get("/mailboxes", external_user_id="42").json()["mailboxes"]
        assert (listed["mailbox_id"], listed["user_id"]) == (mailbox["mailbox_id"], mailbox["user_id"])
        # Operations that a user may call without a mailbox.
        with Mailroom(str(shop.http.base_url), token=shop.key) as client:
            thread = client.emails.thread(listed_mail[0]["thread_id"], mailbox["mailbox_id"])
            assert listed_mail[0]["id"] in {message.id for message in thread.emails}
            assert [sync.stored for sync in client.syncs.list(mailbox["mailbox_id"])] == [len(listed_mail)]

    def test_again_keeps_ids_and_mail_and_ends_the_lack_of_access(self, shop: BackEnd, provider: Provider) -> None:
        email = provider.new_user(messages=9)
        mailbox = shop.connected("43", email)
        shop.sync(mailbox["mailbox_id"])
        ids = [item["id"] for item in shop.get("/emails", mailbox_id=mailbox["mailbox_id"]).json()["emails"]]
        provider.post(f"/users/{email}/revoke")
        failed = shop.post("/emails/sync", {"mailbox_id": mailbox["mailbox_id"]}, Prefer="wait=60").json()
        assert (failed["state"], _status(shop, mailbox["mailbox_id"])) == ("failed", "reauth_required")
        assert shop.connected("43", email) == mailbox
        assert _status(shop, mailbox["mailbox_id"]) == "active"
        assert [item["id"] for item in shop.get("/emails", mailbox_id=mailbox["mailbox_id"]).json()["emails"]] == ids
        provider.deliver(email)
        shop.sync(mailbox["mailbox_id"])
        assert len(shop.get("/emails", mailbox_id=mailbox["mailbox_id"]).json()["emails"]) == len(ids) + 1

    def test_beside_a_disconnection_ends_with_it_and_says_so(
        self, stack: RunningStack, shop: BackEnd, provider: Provider
    ) -> None:
        email = provider.new_user()
        mailbox = shop.connected("47", email)
        path = f"/mailboxes/{mailbox['mailbox_id']}"
        # While no worker ends the account, auth still has it.
        stack.stop("worker")
        try:
            assert shop.http.delete(path, headers=shop.headers).status_code == 202
            back = consented(shop.http, shop.start("47")["url"], email)
            refused = [shop.complete(back["session"], back["code"]) for _ in range(2)]
        finally:
            stack.start("worker")
        assert {(answer.status_code, answer.json()["code"]) for answer in refused} == {(400, "invalid_connect_code")}
        _await_erasure(shop, path)
        assert shop.get("/mailboxes", external_user_id="47").json()["mailboxes"] == []
        again = shop.connected("47", email)
        assert again["mailbox_id"] != mailbox["mailbox_id"]
        assert _status(shop, again["mailbox_id"]) == "active"

    def test_before_a_disconnection_ends_with_it(self, shop: BackEnd, provider: Provider) -> None:
        email = provider.new_user()
        mailbox = shop.connected("48", email)
        assert shop.connected("48", email) == mailbox
        _await_erasure(shop, f"/mailboxes/{mailbox['mailbox_id']}")
        assert shop.get("/mailboxes", external_user_id="48").json()["mailboxes"] == []

    def test_outlives_the_death_of_all_that_took_the_consent(
        self, stack: RunningStack, shop: BackEnd, provider: Provider
    ) -> None:
        back = consented(shop.http, shop.start("44")["url"], provider.new_user())
        for name in ("auth", "gateway"):
            stack.kill(name)
        for name in ("auth", "gateway"):
            stack.start(name)
        first, again = (shop.complete(back["session"], back["code"]) for _ in range(2))
        assert first.status_code == 200, first.text
        assert again.json() == first.json()

    def test_that_is_not_completed_connects_nothing(self, shop: BackEnd, provider: Provider) -> None:
        attackers = shop.start("attacker")
        back = consented(shop.http, attackers["url"], provider.new_user())
        # What the attacker knows: the session, and its URL.
        for known in (attackers["id"], attackers["url"], back["session"]):
            answer = shop.complete(back["session"], known)
            assert (answer.status_code, answer.json()["code"]) == (400, "invalid_connect_code")
        assert shop.get("/mailboxes", external_user_id="attacker").json()["mailboxes"] == []

    def test_of_another_users_account_is_refused(self, shop: BackEnd, provider: Provider) -> None:
        email = provider.new_user()
        mailbox = shop.connected("owner", email)
        back = consented(shop.http, shop.start("another")["url"], email)
        answer = shop.complete(back["session"], back["code"])
        assert (answer.status_code, answer.json()["code"]) == (409, "account_of_another_user")
        assert _status(shop, mailbox["mailbox_id"]) == "active"

    def test_that_the_user_refuses_comes_back_with_an_error(self, shop: BackEnd, provider: Provider) -> None:
        session = shop.start("45")
        back = consented(shop.http, session["url"], provider.new_user(), decision="deny")
        assert back == {"session": session["id"], "error": "access_denied"}

    def test_leaves_no_token_or_code_in_logs(self, stack: RunningStack, shop: BackEnd, provider: Provider) -> None:
        session = shop.start("46")
        back = consented(shop.http, session["url"], provider.new_user())
        shop.complete(back["session"], back["code"])
        for name in ("auth", "mail", "gateway", "worker"):
            log = stack.log_file(name).read_text(errors="replace")
            assert back["code"] not in log
            assert session["url"].partition("token=")[2] not in log


class TestDeletionOfAnApplication:
    async def test_erases_everything_in_spite_of_killed_processes(
        self, stack: RunningStack, http: httpx.Client, provider: Provider
    ) -> None:
        operator = BackEnd(http, stack.api_key("--operator"))
        made = operator.post("/applications", {"name": "closing", "redirect_urls": [RETURN]}).json()
        closing = BackEnd(http, stack.api_key("--application=closing", _SCOPES))
        email = provider.new_user(messages=20)
        mailbox = closing.connected("42", email)
        closing.sync(mailbox["mailbox_id"])
        path = f"/applications/{made['id']}"
        assert _deleted(operator, path).status_code == 202
        for name in ("auth", "worker"):
            stack.kill(name)
        for name in ("auth", "worker"):
            stack.start(name)
        async with database_of(stack, "auth") as database:
            await until(database, "SELECT NOT EXISTS (SELECT FROM users WHERE application_id = $1)", made["id"])
            await until_erased(stack, mailbox["user_id"])
            # Its keys are kept while gateways must hear of their revocation.
            await database.execute("UPDATE applications SET deleted_at = deleted_at - interval '1 hour'")
            await until(database, "SELECT NOT EXISTS (SELECT FROM applications WHERE application_id = $1)", made["id"])
        answer = _deleted(operator, path)
        assert (answer.status_code, answer.json()["code"]) == (404, "application_not_found")
        assert closing.get("/mailboxes").status_code == 401
        listed = operator.get("/applications").json()["applications"]
        assert made["id"] not in [item["id"] for item in listed]


def _await_erasure(shop: BackEnd, path: str) -> None:
    """Disconnect a mailbox, and ask until nothing of it is left."""
    deadline = time.monotonic() + 60
    while (status := shop.http.delete(path, headers=shop.headers).status_code) != 204:
        assert status == 202
        assert time.monotonic() < deadline, "the mailbox is not erased"
        time.sleep(0.1)


def _deleted(operator: BackEnd, path: str) -> httpx.Response:
    return operator.http.delete(path, headers=operator.headers)


def _status(shop: BackEnd, mailbox_id: str) -> str:
    return str(shop.get(f"/mailboxes/{mailbox_id}").json()["status"])


class TestFirstKey:
    def test_is_written_once_for_the_owner_alone_and_shown(
        self, stack: RunningStack, http: httpx.Client, tmp_path: Path
    ) -> None:
        home = Home(tmp_path)
        settings, written = Settings({"MAILROOM_HOME": str(tmp_path)}), list[str]()
        for _ in range(2):
            ensure_first_key(settings, stack.variables, home)
            written.append(home.api_key.read_text(encoding="utf-8").strip())
        assert written[0] == written[1]
        assert home.api_key.stat().st_mode & 0o777 == 0o600
        assert BackEnd(http, written[0]).get("/mailboxes").status_code == 200
        assert str(home.api_key) in announcement(stack.variables, home=home.path, sandbox=True, moved={})


class TestQuickStart:
    @pytest.mark.parametrize(
        "blocks",
        [
            [step.text for step in steps_of(QUICK_START.read_text(encoding="utf-8"), section="Quick start")],
            re.findall(r"^```sh\n(API=.*?KEY=.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)[
                :1
            ],
        ],
        ids=["docs/applications.md", "README.md"],
    )
    def test_works_as_it_is_printed(
        self, stack: RunningStack, provider: Provider, tmp_path: Path, blocks: list[str]
    ) -> None:
        email = provider.new_user(messages=5)
        (tmp_path / ".mailroom").mkdir()
        key = stack.api_key(_SCOPES, f"--redirect-url={_LOCAL}")
        (tmp_path / ".mailroom/api-key").write_text(f"{key}\n")
        script = "\n".join(blocks).replace("http://localhost:8000", stack.gateway_url)
        script = re.sub("ada@example.com|grace@example.org", email, script).replace('"42"', f'"{email}"')
        script = script.replace("external_user_id=42", f"external_user_id={email}")
        assert script.count(email) >= 2
        done = subprocess.run(
            ["bash", "-eu", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert '"state": "completed"' in done.stdout
        assert done.stdout.count('"received_at"') == len(provider.truth(email, all_labels=False)) > 0
