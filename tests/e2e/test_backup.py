"""A backup restores the state of its time, and syncs continue from it, however old it is."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx
import pytest

from deploy.local import placement
from tests.e2e.test_sync import same_as
from tests.e2e.test_verify import digest_at
from tests.support.e2e.people import Person, Provider
from tests.support.e2e.running_stack import RunningStack, running_stack

DEPLOY = Path(__file__).parents[2] / "deploy"
ADDED = 3
SERVICES = ("auth", "mail", "worker", "deliverer", "gateway")


@dataclass(frozen=True, slots=True)
class Site:
    """A separate stack with the scripts of its operator."""

    stack: RunningStack
    provider: Provider
    person: Person

    def backup(self, directory: Path) -> None:
        """Dump both databases while everything runs."""
        self._run("backup", str(directory))

    def restore(self, directory: Path, *service: str) -> None:
        """Restore a dump; the services must be stopped."""
        self._run("restore", str(directory), *service)

    def _run(self, script: str, *arguments: str) -> None:
        variables = self.stack.variables
        connection = {f"PG{name}": variables[f"POSTGRES_{name}"] for name in ("HOST", "PORT", "USER", "PASSWORD")}
        path = f"{placement.installed_program()}:{os.environ['PATH']}"
        environment = {"PATH": path, "POSTGRES_DB": variables["POSTGRES_DB"], **connection}
        done = subprocess.run(
            [DEPLOY / script, *arguments], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop all services while the block runs."""
        for name in reversed(SERVICES):
            self.stack.stop(name)
        yield
        for name in SERVICES:
            self.stack.start(name)

    async def wipe(self) -> None:
        """Drop both databases."""
        connection = await self.connect("POSTGRES_")
        for name in ("auth", "mail"):
            await connection.execute(f"DROP DATABASE {self.stack.variables['POSTGRES_DB']}_{name}")
        await connection.close()

    async def connect(self, role: str, *, database: str = "") -> "asyncpg.Connection[asyncpg.Record]":
        """Connect to the database of a service, or to that for administration, with the role of these variables."""
        variables = self.stack.variables
        return await asyncpg.connect(
            host=variables["POSTGRES_HOST"],
            port=int(variables["POSTGRES_PORT"]),
            user=variables[f"{role}USER"],
            password=variables[f"{role}PASSWORD"],
            database=f"{variables['POSTGRES_DB']}_{database}" if database else "postgres",
        )

    def change_mail(self) -> None:
        """Deliver, relabel and delete mail."""
        truth = self.provider.truth(self.person.email)
        self.provider.deliver(self.person.email, count=ADDED)
        self.provider.delete(self.person.email, truth[0].id)
        self.provider.relabel(self.person.email, truth[1].id, add=("STARRED",))

    def is_a_true_copy(self) -> None:
        """Compare the copy with the provider, and let Mailroom verify it."""
        same_as(self.provider, self.person)
        answer = self.person.post("/emails/verify", {"email": self.person.email}, Prefer="wait=60")
        found = {"missing": 0, "extra": 0, "drift": 0}
        digest = digest_at(self.provider, self.person)
        assert answer.json()["verification"] == {"done": True, **found, "digest": digest}


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A site whose one user has a copied mailbox."""
    home = Path(tempfile.mkdtemp(prefix="mailroom-backup-"))
    try:
        with running_stack(
            home, own_servers=True, SANDBOX_USERS="", SANDBOX_QUOTA_WINDOW="1", GMAIL_QUOTA_WINDOW="1"
        ) as stack:
            provider = Provider(stack.sandbox_url)
            with httpx.Client(base_url=stack.gateway_url, trust_env=False, timeout=90) as http:
                person = Person.sign_in(http, provider.new_user(messages=40))
                person.sync()
                yield Site(stack, provider, person)
            provider.close()
    finally:
        shutil.rmtree(home, ignore_errors=True)


class TestRestore:
    async def test_after_the_loss_of_everything_goes_on_from_the_cursor(self, site: Site, tmp_path: Path) -> None:
        site.backup(tmp_path)
        site.change_mail()
        site.person.sync()
        with site.stopped():
            await site.wipe()
            site.restore(tmp_path)
            site.provider.reset_calls()
        # With the session and the grant from before.
        site.person.sync()
        calls = site.provider.get("/calls")["methods"]
        assert "gmail.history.list" in calls
        # The dump can be from before the second look at the first page, which comes some seconds after a first sync.
        assert calls.get("gmail.messages.list", {"calls": 0})["calls"] <= 1
        assert calls["gmail.messages.get"]["calls"] == ADDED
        site.is_a_true_copy()
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await site.connect("MAIL_POSTGRES_", database="auth")

    @pytest.mark.long  # a second restore of a whole system
    async def test_of_mail_older_than_auth_and_than_the_providers_history_heals(
        self, site: Site, tmp_path: Path
    ) -> None:
        site.backup(tmp_path / "older")
        site.change_mail()
        site.person.sync()
        site.provider.post(f"/users/{site.person.email}/history/expire")
        site.backup(tmp_path / "newer")
        with site.stopped():
            await site.wipe()
            site.restore(tmp_path / "older", "mail")
            site.restore(tmp_path / "newer", "auth")
        site.person.sync()
        site.is_a_true_copy()
