"""Signing in, from the start to a session, with all its failures."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.support.e2e.people import Person, Provider, consent, frontend_query, login_code

OPENID = "openid https://www.googleapis.com/auth/userinfo.email https://www.googleapis.com/auth/userinfo.profile"


class TestSignIn:
    def test_connects_the_address_and_fetches_nothing_yet(self, new_person: Callable[..., Person]) -> None:
        ada = new_person(messages=3)
        address = ada.address()
        assert address["email"] == ada.email
        assert (address["status"], address["message_count"], address["last_synced_at"]) == ("active", 0, None)
        assert ada.emails() == []

    def test_again_leads_to_the_same_account(
        self, new_person: Callable[..., Person], sign_in: Callable[[str], Person]
    ) -> None:
        ada = new_person()
        assert sign_in(ada.email).address() == ada.address()

    @pytest.mark.parametrize("email", ["Ada.Mixed-Case@Example.ORG", "дом+почта@пример.example"])
    def test_works_with_any_address(self, http: httpx.Client, provider: Provider, email: str) -> None:
        provider.new_user(email=email, messages=2)
        person = Person.sign_in(http, email)
        address = person.address()
        assert address["email"].lower() == email.lower()
        person.sync()
        for spelling in (email, email.lower(), email.upper()):
            page = http.get(
                "/emails", params={"user_email": spelling}, headers={"Authorization": f"Bearer {person.token}"}
            )
            assert len(page.json()["emails"]) == 2

    def test_is_accepted_and_its_public_keys_are_published(
        self, new_person: Callable[..., Person], http: httpx.Client
    ) -> None:
        keys = http.get("/.well-known/jwks.json").json()["keys"]
        assert {key["alg"] for key in keys} == {"ES256"}
        assert all("d" not in key for key in keys)
        assert new_person().get("/emails/addresses").status_code == 200


class TestLoginCode:
    def refused(self, http: httpx.Client, state: str) -> None:
        answer = http.post("/auth/token", json={"state": state})
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_hand_off")

    def test_works_once(self, http: httpx.Client, provider: Provider) -> None:
        state = login_code(http, provider.new_user())
        assert http.post("/auth/token", json={"state": state}).status_code == 200
        self.refused(http, state)

    def test_raced_by_eight_is_won_by_one(self, http: httpx.Client, provider: Provider) -> None:
        state = login_code(http, provider.new_user())
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda _: http.post("/auth/token", json={"state": state}), range(8)))
        assert sorted(answer.status_code for answer in answers) == [200] + [400] * 7

    def test_is_not_the_state_that_start_gave(self, http: httpx.Client, provider: Provider) -> None:
        location = consent(http, provider.new_user())
        [started] = parse_qs(urlsplit(location).query)["state"]
        self.refused(http, started)
        assert "state" in frontend_query(http, location)
        self.refused(http, started)

    def test_that_is_unknown_is_refused(self, http: httpx.Client) -> None:
        self.refused(http, "made-up")


class TestCallback:
    def test_with_a_state_that_was_never_issued_changes_nothing(self, http: httpx.Client, provider: Provider) -> None:
        location = urlsplit(consent(http, provider.new_user()))
        query = {name: value for name, [value] in parse_qs(location.query).items()} | {"state": "forged"}
        answer = http.get(location.path, params=query)
        assert parse_qs(urlsplit(answer.headers["location"]).query) == {"error": ["invalid_state"]}

    def test_that_comes_twice_signs_in_once(self, http: httpx.Client, provider: Provider) -> None:
        location = consent(http, provider.new_user())
        assert "state" in frontend_query(http, location)
        assert frontend_query(http, location) == {"error": "invalid_state"}

    def test_of_an_unknown_provider_is_a_problem(self, http: httpx.Client) -> None:
        for path in ("/auth/acme/start", "/auth/acme/callback?state=x"):
            answer = http.get(path)
            assert (answer.status_code, answer.json()["code"]) == (400, "unknown_provider")

    def test_of_a_denied_consent_says_so(self, http: httpx.Client, provider: Provider) -> None:
        location = consent(http, provider.new_user(), decision="deny")
        assert frontend_query(http, location) == {"error": "access_denied"}

    def test_without_access_to_mail_says_so(self, http: httpx.Client, provider: Provider) -> None:
        location = consent(http, provider.new_user(), scope=OPENID.split())
        assert frontend_query(http, location) == {"error": "missing_scope"}

    def test_of_an_unverified_address_is_refused(self, http: httpx.Client, provider: Provider) -> None:
        location = consent(http, provider.new_user(email_verified=False))
        assert frontend_query(http, location) == {"error": "email_not_verified"}

    @pytest.mark.parametrize(
        ("fault", "error"),
        [
            ({"kind": "error", "status": 400, "reason": "invalid_grant"}, "provider_error"),
            ({"kind": "error", "status": 503}, "provider_unavailable"),
            ({"kind": "html_503"}, "provider_unavailable"),
            ({"kind": "garbage"}, "provider_unavailable"),
            ({"kind": "truncate"}, "provider_unavailable"),
            ({"kind": "reset"}, "provider_unavailable"),
        ],
        ids=str,
    )
    def test_whose_code_cannot_be_exchanged_ends_at_the_frontend(
        self, http: httpx.Client, provider: Provider, fault: dict[str, object], error: str
    ) -> None:
        location = consent(http, provider.new_user())
        provider.plan_faults({"method": "oauth.token", **fault})
        query = frontend_query(http, location)
        [fired] = provider.end_faults()
        assert fired > 0
        assert query in (
            [{"error": error}] if error else [{"error": "provider_error"}, {"error": "provider_unavailable"}]
        )


class TestTwoUsers:
    def test_see_nothing_of_each_other(self, new_person: Callable[..., Person]) -> None:
        ada, grace = new_person(messages=2), new_person(messages=2)
        sync = ada.sync()
        message = ada.emails()[0]
        account_id = ada.address()["account_id"]
        assert [address["email"] for address in grace.get("/emails/addresses").json()["addresses"]] == [grace.email]
        for path, code in (
            (f"/emails?user_email={ada.email}", "mailbox_not_found"),
            (f"/emails?account_id={account_id}", "mailbox_not_found"),
            (f"/emails/labels?account_id={account_id}", "mailbox_not_found"),
            (f"/emails/{message['id']}", "message_not_found"),
            (f"/emails/syncs/{sync['id']}", "sync_not_found"),
        ):
            answer = grace.get(path)
            assert (answer.status_code, answer.json()["code"]) == (404, code), path
        for mailbox in ({"email": ada.email}, {"account_id": account_id}):
            answer = grace.post("/emails/sync", mailbox)
            assert (answer.status_code, answer.json()["code"]) == (404, "mailbox_not_found")

    def test_change_nothing_of_each_other(self, new_person: Callable[..., Person]) -> None:
        ada, grace = new_person(messages=2), new_person(messages=2)
        sync = ada.sync()
        account_id = ada.address()["account_id"]
        attempts = [
            (grace.delete(f"/emails/syncs/{sync['id']}"), "sync_not_found"),
            (grace.post(f"/emails/syncs/{sync['id']}/retry", None), "sync_not_found"),
            (grace.post("/emails/verify", {"account_id": account_id}), "mailbox_not_found"),
            (grace.delete(f"/emails/addresses/{account_id}"), "mailbox_not_found"),
        ]
        assert [(answer.status_code, answer.json()["code"]) for answer, _ in attempts] == [
            (404, code) for _, code in attempts
        ]
        assert len(ada.emails()) == 2

    def test_read_nothing_by_a_position_or_a_part_of_each_other(self, new_person: Callable[..., Person]) -> None:
        ada, grace = new_person(messages=3), new_person(messages=3)
        for person in (ada, grace):
            person.sync()
        account_id = ada.address()["account_id"]
        since = ada.get(f"/emails/changes?account_id={account_id}").json()["next_since"]
        message, own = ada.emails()[0], grace.emails()[0]
        for path, status, code in (
            (f"/emails/changes?user_email={grace.email}&since={since}", 410, "resync_required"),
            (f"/emails/changes?account_id={account_id}&since={since}", 404, "mailbox_not_found"),
            (f"/emails/export?account_id={account_id}", 404, "mailbox_not_found"),
            (f"/emails/threads?account_id={account_id}", 404, "mailbox_not_found"),
            (f"/emails/{message['id']}/raw", 404, "message_not_found"),
            (f"/emails/{message['id']}/attachments/1", 404, "message_not_found"),
            # Well-formed ids of another person's message.
            (f"/emails/syncs/{own['id']}", 404, "sync_not_found"),
        ):
            answer = grace.get(path)
            assert (answer.status_code, answer.json()["code"]) == (status, code), path
        listed = grace.get(f"/emails?user_email={grace.email}&thread_id={message['thread_id']}")
        assert listed.json()["emails"] == []
