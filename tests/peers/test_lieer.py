"""lieer copies a mailbox of the sandbox as it does one of Gmail, and pushes changes back."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.e2e.people import Provider
from tests.support.peers.lieer import Lieer, expected_copy

pytestmark = pytest.mark.peers
MESSAGES = 60


@dataclass(frozen=True)
class Pulled:
    """A user whose mailbox lieer has copied once."""

    email: str
    lieer: Lieer
    provider: Provider

    def is_a_true_copy(self) -> bool:
        """Return whether bytes and tags of all messages are the provider's."""
        expected = {
            message.id: expected_copy(self.provider.raw(self.email, message.id), message.labels)
            for message in self.provider.truth(self.email)
        }
        assert self.lieer.copies() == expected
        return True

    def labels(self, message_id: str) -> frozenset[str]:
        """Return a message's labels at the provider."""
        return next(message.labels for message in self.provider.truth(self.email) if message.id == message_id)


@pytest.fixture
def pulled(sandbox_url: str, provider: Provider, tmp_path: Path) -> Pulled:
    email = provider.new_user(messages=MESSAGES)
    lieer = Lieer(tmp_path, sandbox_url=sandbox_url, email=email)
    lieer.init()
    lieer.gmi("pull")
    return Pulled(email, lieer, provider)


def test_a_full_pull_equals_the_log(pulled: Pulled) -> None:
    assert pulled.is_a_true_copy()
    assert len(pulled.lieer.copies()) == MESSAGES


def test_a_partial_pull_brings_changes(pulled: Pulled) -> None:
    first, second, third, *_ = pulled.provider.truth(pulled.email, all_labels=False)
    new = pulled.provider.deliver(pulled.email, count=3)
    pulled.provider.relabel(pulled.email, first.id, add=("STARRED", "Label_1"), remove=("UNREAD",))
    pulled.provider.relabel(pulled.email, second.id, add=("TRASH",), remove=("INBOX",))
    pulled.provider.delete(pulled.email, third.id)
    pulled.provider.reset_calls()
    pulled.lieer.gmi("pull")
    assert pulled.is_a_true_copy()
    methods = pulled.provider.get("/calls")["methods"]
    assert methods["gmail.messages.get"]["calls"] == len(new)
    assert "gmail.messages.list" not in methods


def test_a_lost_cursor_leads_to_a_full_pull(pulled: Pulled) -> None:
    pulled.provider.deliver(pulled.email, count=2)
    pulled.provider.post(f"/users/{pulled.email}/history/expire")
    assert "full sync required" in pulled.lieer.gmi("pull")
    assert pulled.is_a_true_copy()


def test_a_push_changes_labels_at_the_provider(pulled: Pulled) -> None:
    first, second, *_ = pulled.provider.truth(pulled.email, all_labels=False)
    pulled.lieer.notmuch("tag", "+flagged", "-inbox", "--", pulled.lieer.message_id(first.id))
    pulled.lieer.notmuch("tag", "+important", "--", pulled.lieer.message_id(second.id))
    pulled.lieer.gmi("push")
    assert pulled.labels(first.id) == (first.labels | {"STARRED"}) - {"INBOX"}
    assert pulled.labels(second.id) == second.labels | {"IMPORTANT"}
    pulled.lieer.gmi("pull")
    assert pulled.is_a_true_copy()


def test_a_push_creates_a_label_for_a_new_tag(pulled: Pulled) -> None:
    [message, *_] = pulled.provider.truth(pulled.email, all_labels=False)
    pulled.lieer.notmuch("tag", "+peers/new", "--", pulled.lieer.message_id(message.id))
    pulled.lieer.gmi("push")
    [added] = pulled.labels(message.id) - message.labels
    assert added.startswith("Label_")
