"""Syncs: afterwards the stored messages are the provider's."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.e2e.people import Person, Provider, external_ids, ids
from tests.support.e2e.running_stack import RunningStack


def same_as(provider: Provider, person: Person) -> None:
    """Check that every message of the provider is stored once, with its labels, and no other."""
    truth = provider.truth(person.email)
    stored = person.emails()
    assert len(stored) == len(truth)
    assert sorted(external_ids(stored)) == sorted(ids(truth))
    names = label_names(person)
    expected = {item.id: item for item in truth}
    for email in stored:
        item = expected[email["external_id"]]
        assert sorted(email["labels"]) == sorted(names.get(label, label) for label in item.labels)
        assert email["is_read"] == ("UNREAD" not in item.labels)
        assert email["received_at"] == item.received.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def label_names(person: Person) -> dict[str, str]:
    """Return the names of the mailbox's labels by their ids."""
    labels = person.get(f"/emails/labels?user_email={person.email}").json()["labels"]
    return {label["id"]: label["name"] for label in labels}


class TestCoverage:
    def test_is_the_newest_ten_unless_said_otherwise(
        self, new_person: Callable[..., Person], provider: Provider
    ) -> None:
        ada = new_person(messages=30)
        started = ada.post("/emails/sync", {"email": ada.email})
        assert started.status_code == 202
        assert started.json()["count"] == 10
        assert ada.await_end(started.json())["stored"] == 10
        assert set(external_ids(ada.emails())) == set(ids(provider.truth(ada.email, all_labels=False))[:10])

    def test_only_grows(self, new_person: Callable[..., Person], provider: Provider) -> None:
        ada = new_person(messages=30)
        listed = ids(provider.truth(ada.email, all_labels=False))
        ada.sync(20)
        assert set(external_ids(ada.emails())) == set(listed[:20])
        ada.sync(5)
        assert set(external_ids(ada.emails())) == set(listed[:20])
        ada.sync()
        same_as(provider, ada)

    def test_of_all_holds_spam_and_trash_too(self, new_person: Callable[..., Person], provider: Provider) -> None:
        ada = new_person(messages=5)
        provider.deliver(ada.email, **{"from": "x@example.com"}, subject="Spam", labels=["SPAM"])
        provider.deliver(ada.email, **{"from": "x@example.com"}, subject="Old", labels=["TRASH"])
        ada.sync()
        same_as(provider, ada)
        assert ada.address()["message_count"] == 7

    def test_of_an_empty_mailbox_completes(self, new_person: Callable[..., Person]) -> None:
        ada = new_person()
        sync = ada.sync()
        assert (sync["listed"], sync["stored"], sync["pending"]) == (0, 0, 0)
        assert ada.address()["last_synced_at"] is not None

    def test_is_announced_with_a_place_to_look(self, new_person: Callable[..., Person]) -> None:
        ada = new_person(messages=3)
        answer = ada.post("/emails/sync", {"account_id": ada.address()["account_id"], "count": 3}, Prefer="wait=30")
        assert (answer.status_code, answer.json()["state"]) == (200, "completed")
        assert ada.get(answer.headers["location"]).json() == answer.json()


class TestIncremental:
    def test_brings_changes_since_the_last_sync(self, new_person: Callable[..., Person], provider: Provider) -> None:
        ada = new_person(messages=20)
        ada.sync()
        unread, starred, deleted, trashed, *_ = ids(provider.truth(ada.email, all_labels=False))
        provider.deliver(ada.email, count=5)
        provider.relabel(ada.email, unread, add=("UNREAD",))
        provider.relabel(ada.email, starred, add=("STARRED",), remove=("UNREAD",))
        provider.delete(ada.email, deleted)
        provider.relabel(ada.email, trashed, add=("TRASH",), remove=("INBOX",))
        sync = ada.sync()
        same_as(provider, ada)
        assert sync["units_spent"] < 20 * 20, "an incremental sync must not fetch everything again"

    def test_takes_new_mail_of_a_mailbox_that_is_covered_in_part(
        self, new_person: Callable[..., Person], provider: Provider
    ) -> None:
        ada = new_person(messages=20)
        ada.sync(5)
        [new] = provider.deliver(ada.email, **{"from": "Grace <grace@example.org>"}, subject="Привет", text="Как дела?")
        ada.sync(5)
        newest = ada.emails()[0]
        assert (newest["external_id"], newest["subject"]) == (new, "Привет")
        assert newest["from"] == {"name": "Grace", "email": "grace@example.org"}
        assert len(ada.emails()) in (5, 6)

    def test_of_nothing_new_costs_next_to_nothing(self, new_person: Callable[..., Person], provider: Provider) -> None:
        ada = new_person(messages=10)
        ada.sync()
        assert ada.sync()["units_spent"] <= 10
        same_as(provider, ada)

    def test_survives_the_loss_of_the_cursor(self, new_person: Callable[..., Person], provider: Provider) -> None:
        ada = new_person(messages=30)
        ada.sync()
        first, second, third, *_ = ids(provider.truth(ada.email, all_labels=False))
        provider.deliver(ada.email, count=5)
        provider.delete(ada.email, first)
        provider.relabel(ada.email, second, add=("STARRED",))
        provider.relabel(ada.email, third, add=("TRASH",), remove=("INBOX",))
        provider.post(f"/users/{ada.email}/history/expire")
        assert ada.emails(), "old data stays readable"
        ada.sync()
        same_as(provider, ada)


class TestRepeatedRequests:
    def test_join_the_running_sync(self, new_person: Callable[..., Person], provider: Provider) -> None:
        ada = new_person(messages=200)
        first = ada.start_sync(100)
        second = ada.start_sync("all")
        ended = ada.await_end(second)
        assert ended["state"] == "completed"
        assert ada.await_end(first)["state"] == "completed"
        same_as(provider, ada)


class TestKilledWorker:
    def test_leaves_work_that_the_next_one_finishes(
        self, stack: RunningStack, new_person: Callable[..., Person], provider: Provider
    ) -> None:
        ada = new_person(messages=600)
        sync = ada.start_sync()
        await_progress(ada, sync, stored=100)
        stack.kill("worker")
        stack.start("worker")
        ended = ada.await_end(sync)
        assert (ended["state"], ended["pending"]) == ("completed", 0)
        same_as(provider, ada)


def await_progress(person: Person, sync: dict[str, Any], *, stored: int) -> None:
    """Wait until at least this many messages are stored."""
    state = sync
    while state["stored"] < stored:
        assert state["state"] in ("queued", "running"), state
        state = person.get(f"/emails/syncs/{sync['id']}").json()


def wait_for(condition: Callable[[], bool], *, seconds: float) -> None:
    """Poll until the condition holds. Raises AssertionError after a time-out."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline


class TestOneServiceDown:
    @pytest.mark.parametrize("name", ["mail", "auth"])
    def test_is_a_problem_until_it_is_back(
        self, stack: RunningStack, new_person: Callable[..., Person], name: str
    ) -> None:
        ada = new_person(messages=3)
        path = "/emails/addresses" if name == "mail" else "/auth/google/start"
        stack.kill(name)
        try:
            answer = ada.get(path)
            assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable")
            assert ada.http.get("/readyz").status_code == 200
        finally:
            stack.start(name)
        wait_for(lambda: ada.get(path).status_code == 200, seconds=30)
        ada.sync()
