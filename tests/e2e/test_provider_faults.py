"""Faults of the provider, and another provider than Google: no message is lost and no response is a 500."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.test_sync import same_as
from tests.support.e2e.people import Person, Provider, Truth, external_ids, ids
from tests.support.e2e.running_stack import RunningStack

TRANSIENT: dict[str, dict[str, Any]] = {
    "429": {"kind": "error", "status": 429, "reason": "rateLimitExceeded", "retry_after": 0.5},
    "403 rate limit": {"kind": "error", "status": 403, "reason": "userRateLimitExceeded", "retry_after": 0.5},
    "500": {"kind": "error", "status": 500, "reason": "backendError"},
    "503": {"kind": "error", "status": 503, "reason": "backendError"},
    "an HTML page": {"kind": "html_503"},
    "a reset": {"kind": "reset"},
    "half an answer": {"kind": "truncate"},
    "half of the JSON": {"kind": "garbage"},
    "a lost answer": {"kind": "lost_response"},
    "a slow answer": {"kind": "slow", "seconds": 0.3},
}


class TestTransientFault:
    @pytest.mark.parametrize("name", list(TRANSIENT))
    def test_is_overcome(self, new_person: Callable[..., Person], provider: Provider, name: str) -> None:
        ada = new_person(messages=60)
        fault = {**TRANSIENT[name], "user": ada.email, "count": 1}
        provider.plan_faults(*({**fault, "method": method} for method in ("gmail.messages.list", "gmail.messages.get")))
        ada.sync()
        assert provider.end_faults() == [1, 1]
        same_as(provider, ada)
        provider.plan_faults({**fault, "method": "gmail.history.list"})
        provider.deliver(ada.email, count=3)
        ada.sync()
        assert provider.end_faults() == [1]
        same_as(provider, ada)


class TestAccessToken:
    def test_refused_once_is_replaced(self, new_person: Callable[..., Person], provider: Provider) -> None:
        ada = new_person(messages=10)
        ada.sync(5)
        provider.post(f"/users/{ada.email}/tokens/expire")
        ada.sync()
        same_as(provider, ada)
        assert ada.address()["status"] == "active"

    def test_whose_refresh_fails_for_a_while_is_no_reason_to_sign_in_again(
        self, new_person: Callable[..., Person], provider: Provider
    ) -> None:
        ada = new_person(messages=10)
        provider.post(f"/users/{ada.email}/tokens/expire")
        provider.plan_faults({"method": "oauth.token", "kind": "html_503", "count": 2})
        ada.sync()
        same_as(provider, ada)
        assert ada.address()["status"] == "active"


class TestRevokedGrant:
    def test_asks_for_a_new_sign_in_and_goes_on_after_it(
        self, new_person: Callable[..., Person], sign_in: Callable[[str], Person], provider: Provider
    ) -> None:
        ada = new_person(messages=10)
        ada.sync(5)
        before = ada.address()
        provider.post(f"/users/{ada.email}/revoke")
        ended = ada.await_end(ada.start_sync())
        assert (ended["state"], ended["error"]) == ("failed", "reauth_required")
        assert ada.address()["status"] == "reauth_required"
        assert len(ada.emails()) == 5
        answer = ada.post("/emails/sync", {"email": ada.email})
        assert (answer.status_code, answer.json()["code"]) == (409, "reauth_required")
        [new] = provider.deliver(ada.email)
        changes = f"/emails/changes?user_email={ada.email}"
        since = ada.get(changes).json()["next_since"]
        again = sign_in(ada.email)
        # Nothing but the sign-in makes the mailbox due.
        news = again.get(f"{changes}&since={since}", Prefer="wait=20").json()["changes"]
        assert [change["email"]["external_id"] for change in news] == [new]
        assert (again.address()["status"], again.address()["account_id"]) == ("active", before["account_id"])
        again.sync()
        same_as(provider, again)


def plan_for_message(provider: Provider, message: Truth, *, status: int, reason: str) -> None:
    """Plan that the message can be fetched neither alone nor with its thread."""
    fault = {"kind": "error", "status": status, "reason": reason}
    provider.plan_faults(
        {"method": "gmail.messages.get", "path": message.id, **fault},
        {"method": "gmail.threads.get", "path": message.thread, **fault},
    )


class TestOneMessage:
    def test_that_is_gone_does_not_stop_the_rest(self, new_person: Callable[..., Person], provider: Provider) -> None:
        ada = new_person(messages=30)
        truth = provider.truth(ada.email)
        listed, gone = ids(truth), truth[7].id
        plan_for_message(provider, truth[7], status=404, reason="notFound")
        ada.sync()
        assert sum(provider.end_faults()) > 0
        assert sorted(external_ids(ada.emails())) == sorted(set(listed) - {gone})

    def test_that_can_never_be_fetched_becomes_a_visible_dead_letter(
        self, new_person: Callable[..., Person], provider: Provider
    ) -> None:
        ada = new_person(messages=30)
        truth = provider.truth(ada.email)
        listed, poison = ids(truth), truth[7].id
        plan_for_message(provider, truth[7], status=400, reason="invalidArgument")
        sync = ada.sync()
        assert sync["dead_letter_count"] == 1
        [letter] = sync["dead_letters"]
        assert letter["external_id"] == poison
        assert sorted(external_ids(ada.emails())) == sorted(set(listed) - {poison})


class TestUglyMail:
    def test_is_stored_and_readable_all_of_it(self, new_person: Callable[..., Person], provider: Provider) -> None:
        ada = new_person(messages=80, ugly=True)
        sync = ada.sync()
        assert sync["dead_letters"] == []
        same_as(provider, ada)
        for email in ada.emails():
            assert ada.get(f"/emails/{email['id']}").status_code == 200

    def test_made_by_hand_is_stored_and_readable(self, new_person: Callable[..., Person], provider: Provider) -> None:
        ada = new_person()
        strange: list[dict[str, Any]] = [
            {"subject": None},
            {"headers": [["Subject", ""]], "date": ""},
            {"from": "", "subject": "x" * 700},
            {"subject": "1970", "internal_date": 0},
            {"subject": "2040", "internal_date": 2_208_988_800_000},
            {"subject": "nul \u0000 and more", "text": "nul \u0000 too"},
            {"subject": "=?x-unknown?Q?=C0=C1?=", "text": "ok"},
            {"subject": "surrogate", "extra": {"snippet": "half \ud83d of one"}},
            {"subject": "Привет", "encoded_headers": True},
            {"subject": "no date", "omit": ["internalDate"]},
            {"subject": "no snippet", "omit": ["snippet"]},
            {"subject": "no labels", "omit": ["labelIds"]},
            {"subject": "no size", "omit": ["sizeEstimate"]},
            {"subject": "no history", "omit": ["historyId"]},
            {"subject": "no payload", "omit": ["payload"]},
            {"subject": "more fields", "extra": {"unknown": {"a": [1, None]}}},
            {"subject": "an id of its own", "id": "not-hex_AND.long:" + "z" * 40},
        ]
        for fields in strange:
            given = {name: value for name, value in {"from": "x@example.com", **fields}.items() if value is not None}
            provider.deliver(ada.email, **given)
        sync = ada.sync()
        assert sync["dead_letters"] == []
        stored = ada.emails()
        assert sorted(external_ids(stored)) == sorted(ids(provider.truth(ada.email)))
        for email in stored:
            assert ada.get(f"/emails/{email['id']}").status_code == 200
        by_subject = {email["subject"]: email for email in stored}
        assert by_subject["1970"]["received_at"] == "1970-01-01T00:00:00.000Z"
        assert by_subject["2040"]["received_at"] == "2040-01-01T00:00:00.000Z"
        assert "Привет" in by_subject
        assert "x" * 700 in by_subject
        assert {None, ""} <= by_subject.keys()


class TestProviderUnlikeGoogle:
    @pytest.fixture
    def worker_without_batch(self, stack: RunningStack) -> Iterator[None]:
        stack.stop("worker")
        stack.start("worker", GMAIL_BATCH_URL="")
        yield
        stack.stop("worker")
        stack.start("worker")

    @pytest.mark.usefixtures("worker_without_batch")
    def test_without_a_batch_endpoint_is_read_by_single_gets(
        self, new_person: Callable[..., Person], provider: Provider
    ) -> None:
        ada = new_person(messages=40)
        provider.plan_faults({"method": "batch", "kind": "error", "status": 404})
        ada.sync()
        assert provider.end_faults() == [0]
        same_as(provider, ada)

    @pytest.fixture
    def worker_of_its_own(self, stack: RunningStack) -> Iterator[None]:
        # A worker remembers that there is no batch endpoint.
        yield
        stack.stop("worker")
        stack.start("worker")

    @pytest.mark.usefixtures("worker_of_its_own")
    def test_whose_batch_endpoint_does_not_exist_is_read_by_single_gets(
        self, new_person: Callable[..., Person], provider: Provider
    ) -> None:
        ada = new_person(messages=40)
        provider.plan_faults({"method": "batch", "kind": "error", "status": 405, "user": ada.email})
        ada.sync()
        [fired] = provider.end_faults()
        assert fired > 0
        same_as(provider, ada)

    def test_with_more_fields_and_empty_arrays_is_understood(
        self, new_person: Callable[..., Person], provider: Provider
    ) -> None:
        ada = new_person(messages=20)
        provider.put(f"/users/{ada.email}/settings", extra_fields=True, empty_arrays=True, iss=False)
        ada.sync()
        provider.deliver(ada.email, count=2)
        ada.sync()
        same_as(provider, ada)
        empty = new_person()
        provider.put(f"/users/{empty.email}/settings", extra_fields=True, empty_arrays=True)
        empty.sync()
        empty.sync()
        assert empty.emails() == []

    def test_with_history_ids_above_64_bits_is_followed(
        self, new_person: Callable[..., Person], provider: Provider
    ) -> None:
        ada = new_person(messages=5)
        provider.put(f"/users/{ada.email}/mailbox", history_id=str(2**70), empty_page_every=3)
        ada.sync()
        provider.deliver(ada.email, count=2)
        provider.relabel(ada.email, ids(provider.truth(ada.email))[0], add=("STARRED",))
        ada.sync()
        same_as(provider, ada)

    def test_without_a_profile_is_followed(self, new_person: Callable[..., Person], provider: Provider) -> None:
        ada = new_person(messages=5)
        provider.plan_faults(
            {"method": "gmail.profile.get", "kind": "error", "status": 404, "reason": "notFound", "user": ada.email}
        )
        ada.sync()
        provider.deliver(ada.email, count=2)
        ada.sync()
        same_as(provider, ada)
