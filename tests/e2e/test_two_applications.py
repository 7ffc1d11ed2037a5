"""One account of a provider that two applications have connected, over the whole stack."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.support.e2e.back_ends import RETURN, BackEnd
from tests.support.e2e.people import Provider, ids
from tests.support.e2e.running_stack import RunningStack

# Well below the interval of polls.
SOON = 20.0
_SCOPES = "--scopes=mail.read,mailboxes.read,mailboxes.manage"


@dataclass
class Connected:
    """An application with its mailbox on the account."""

    back_end: BackEnd
    mailbox_id: str

    def sync(self) -> None:
        """Copy the mailbox."""
        self.back_end.sync(self.mailbox_id)

    def external_ids(self) -> list[str]:
        """Return the messages of the mailbox, newest first."""
        answer = self.back_end.get("/emails", mailbox_id=self.mailbox_id, limit=200)
        assert answer.status_code == 200, answer.text
        return [item["external_id"] for item in answer.json()["emails"]]

    def disconnect(self) -> None:
        """Disconnect the mailbox, and wait until it is erased."""

        def is_erased() -> bool:
            path = f"/mailboxes/{self.mailbox_id}"
            return self.back_end.http.delete(path, headers=self.back_end.headers).status_code == 204

        _soon(is_erased)


def _soon(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON
    while not holds():
        assert time.monotonic() < deadline


def _calls(provider: Provider, email: str) -> dict[str, Any]:
    """Return what the provider has counted of an account: units, refused calls, and calls by method."""
    counted = provider.get("/calls")
    return {**counted["quota"]["users"].get(email, {}), **counted["users"].get(email, {})}


@pytest.fixture(scope="module")
def back_ends(stack: RunningStack, http: httpx.Client) -> tuple[BackEnd, BackEnd]:
    operator = {"Authorization": f"Bearer {stack.api_key('--operator')}"}

    def made(name: str) -> BackEnd:
        http.post("/applications", json={"name": name, "redirect_urls": [RETURN]}, headers=operator).raise_for_status()
        return BackEnd(http, stack.api_key(f"--application={name}", _SCOPES))

    return made("first"), made("second")


def test_share_its_quota_and_watch_and_leave_one_by_one(back_ends: tuple[BackEnd, BackEnd], provider: Provider) -> None:
    email = provider.new_user(messages=150)
    both = [Connected(one, one.connected("42", email)["mailbox_id"]) for one in back_ends]
    first, second = both
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(Connected.sync, both))
    truth = sorted(ids(provider.truth(email)))
    assert [sorted(one.external_ids()) for one in both] == [truth, truth]
    for one, other in ((first, second), (second, first)):
        listed = one.back_end.get("/mailboxes").json()["mailboxes"]
        assert [mailbox["mailbox_id"] for mailbox in listed] == [one.mailbox_id]
        assert one.back_end.get("/emails", mailbox_id=other.mailbox_id).status_code == 404
    # The tokens are kept with the first account that was connected.
    first.disconnect()
    [delivered] = provider.deliver(email, subject="for the second one")
    _soon(lambda: delivered in second.external_ids())
    calls = _calls(provider, email)
    assert (calls["rejected"], calls.get("gmail.stop", 0), calls.get("oauth.revoke", 0)) == (0, 0, 0)
    second.disconnect()
    calls = _calls(provider, email)
    assert (calls["rejected"], calls["gmail.stop"], calls["oauth.revoke"]) == (0, 1, 1)
