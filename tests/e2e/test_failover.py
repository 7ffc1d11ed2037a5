"""A failover that loses commits, while all services run: what clients hold names what it named, or nothing."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from deploy.local import placement
from deploy.local.postgres import EmbeddedPostgres
from tests.e2e.test_search_and_follow import follow
from tests.e2e.test_sync import same_as
from tests.support.e2e.people import Person, Provider
from tests.support.e2e.running_stack import RunningStack, running_stack

pytestmark = pytest.mark.long

STORED = 30
# Postgres writes sequences ahead by 32, so that of fewer lost numbers none is given out again.
LOST = 50


class Failover:
    """The stack's Postgres, and the state that a standby has which lags behind it."""

    def __init__(self, stack: RunningStack, home: Path) -> None:
        self._server = cast("EmbeddedPostgres", stack.servers["postgres"])
        self._data = placement.place(home, program=placement.installed_program()).data
        self._standby = self._data.with_name("data.standby")

    def lag(self) -> None:
        """Copy the present state; nothing later reaches the standby."""
        self._server.stop()
        subprocess.run(["cp", "-a", self._data, self._standby], check=True)
        self._server.start()

    def promote(self) -> None:
        """Go on from the standby's state, on a new timeline."""
        self._server.stop()
        shutil.rmtree(self._data)
        with (self._standby / "postgresql.auto.conf").open("a") as settings:
            settings.write("restore_command = 'false'\n")
        (self._standby / "recovery.signal").touch()
        shutil.chown(self._standby / "recovery.signal", *_owner(self._standby))
        self._standby.rename(self._data)
        self._server.start()


def _owner(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_uid, stat.st_gid


@pytest.fixture(scope="module")
def stack() -> Iterator[tuple[RunningStack, Failover]]:
    """A stack with servers of its own."""
    home = Path(tempfile.mkdtemp(prefix="mailroom-failover-"))
    try:
        with running_stack(
            home, own_servers=True, SANDBOX_USERS="", SANDBOX_QUOTA_WINDOW="1", GMAIL_QUOTA_WINDOW="1"
        ) as running:
            yield running, Failover(running, home)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def shown(person: Person) -> dict[str, dict[str, Any]]:
    """Return the messages that a client has listed, by id."""
    return {email["id"]: email for email in person.emails()}


def changed(person: Person, since: str) -> httpx.Response:
    """Ask for the changes after a position."""
    return person.get(f"/emails/changes?user_email={person.email}&since={since}")


class TestFailover:
    def test_gives_no_id_to_another_message_and_no_position_to_other_changes(
        self, stack: tuple[RunningStack, Failover]
    ) -> None:
        running, failover = stack
        with (
            closing(Provider(running.sandbox_url)) as provider,
            httpx.Client(base_url=running.gateway_url, trust_env=False, timeout=90) as http,
        ):
            ada = Person.sign_in(http, provider.new_user(messages=STORED))
            ada.sync()
            kept, behind = shown(ada), follow(ada)["next_since"]
            failover.lag()
            provider.deliver(ada.email, count=LOST)
            lost_sync = ada.sync()
            lost, ahead = shown(ada), follow(ada)["next_since"]
            assert len(lost) == STORED + LOST
            failover.promote()
            # They are stored before those that were lost, and in another order.
            provider.deliver(ada.email, count=LOST)
            new_sync = ada.sync()
            same_as(provider, ada)
            for id_, email in lost.items():
                answer = ada.get(f"/emails/{id_}")
                if answer.status_code == 200:
                    assert answer.json()["external_id"] == email["external_id"], email["subject"]
                else:
                    assert (answer.status_code, id_ in kept) == (404, False)
            assert lost_sync["id"] != new_sync["id"]
            assert (changed(ada, ahead).status_code, changed(ada, ahead).json()["code"]) == (410, "resync_required")
            later = follow(ada, behind)
            assert {change["id"] for change in later["changes"]} >= shown(ada).keys() - kept.keys()
