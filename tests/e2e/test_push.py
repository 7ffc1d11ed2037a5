"""New mail is readable soon after the provider's notification, without a request for it."""

import time
from collections.abc import Callable

import httpx

from tests.support.e2e.people import Person, Provider, external_ids

# Well below the interval of polls.
SOON = 20.0


def test_new_mail_can_be_read_without_asking_for_a_sync(provider: Provider, new_person: Callable[..., Person]) -> None:
    person = new_person(messages=5)
    person.sync()
    # Google drops the notification of mail that follows at once; it is found nevertheless.
    delivered = [provider.deliver(person.email, subject=f"Number {number}")[0] for number in range(3)]
    deadline = time.monotonic() + SOON
    while not set(delivered) <= set(external_ids(person.emails())):
        assert time.monotonic() < deadline, "new mail did not come by itself"


def test_a_notification_that_google_did_not_sign_is_refused(http: httpx.Client) -> None:
    answer = http.post("/hooks/google", content=b"\xff" * 65_536, headers={"Authorization": "Bearer a.b.c"})
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")
