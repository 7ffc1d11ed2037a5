"""Sessions and linked addresses, through the whole stack."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from tests.support.e2e.people import Person, Provider, consent, frontend_query, login_code


def token_answer(http: httpx.Client, provider: Provider) -> dict[str, Any]:
    """Return the response of POST /auth/token for a new user."""
    answer = http.post("/auth/token", json={"state": login_code(http, provider.new_user())})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def refresh(http: httpx.Client, token: str) -> httpx.Response:
    return http.post("/auth/refresh", json={"refresh_token": token})


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def start_link(http: httpx.Client, person: Person, email: str) -> str:
    """Start a link up to the point where the frontend has its `state`."""
    started = http.get("/auth/google/start", headers=bearer(person.token)).raise_for_status().json()
    answer = http.post(started["authorization_url"], data={"account": email, "decision": "allow"})
    query = frontend_query(http, answer.headers["location"])
    assert "state" in query, query
    return query["state"]


class TestSession:
    def test_is_prolonged_and_ended(self, http: httpx.Client, provider: Provider) -> None:
        first = token_answer(http, provider)
        second = refresh(http, first["refresh_token"]).json()
        assert http.get("/auth/me", headers=bearer(second["access_token"])).status_code == 200
        assert http.post("/auth/logout", headers=bearer(second["access_token"])).status_code == 204
        answer = refresh(http, second["refresh_token"])
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_refresh_token")

    def test_repeated_at_once_gives_the_same_refresh_token(self, http: httpx.Client, provider: Provider) -> None:
        token = token_answer(http, provider)["refresh_token"]
        assert len({refresh(http, token).json()["refresh_token"] for _ in range(3)}) == 1

    def test_events_are_recorded(self, new_person: Callable[..., Person]) -> None:
        events = new_person().get("/auth/events").json()["events"]
        assert [event["type"] for event in events] == ["signed_in", "account_connected"]


class TestLink:
    def test_adds_an_address_whose_mail_can_be_read(
        self, http: httpx.Client, provider: Provider, new_person: Callable[..., Person]
    ) -> None:
        ada, work = new_person(), provider.new_user(messages=2)
        state = start_link(http, ada, work)
        answer = http.post("/auth/token", json={"state": state}, headers=bearer(ada.token))
        assert answer.status_code == 200, answer.text
        assert answer.json()["access_token"] == ada.token
        addresses = ada.get("/emails/addresses").json()["addresses"]
        assert [address["email"] for address in addresses] == [ada.email, work]
        linked = Person(http=http, email=work, token=ada.token)
        linked.sync()
        assert len(linked.emails()) == 2

    def test_is_not_committed_for_another_user(
        self, http: httpx.Client, provider: Provider, new_person: Callable[..., Person]
    ) -> None:
        mallory, victim = new_person(), new_person()
        state = start_link(http, mallory, provider.new_user())
        answer = http.post("/auth/token", json={"state": state}, headers=bearer(victim.token))
        assert (answer.status_code, answer.json()["code"]) == (400, "link_of_another_user")
        assert "start again" in answer.json()["detail"]
        assert len(mallory.get("/emails/addresses").json()["addresses"]) == 1

    def test_bars_the_address_from_signing_in(
        self, http: httpx.Client, provider: Provider, new_person: Callable[..., Person]
    ) -> None:
        ada, work = new_person(), provider.new_user()
        http.post("/auth/token", json={"state": start_link(http, ada, work)}, headers=bearer(ada.token))
        assert frontend_query(http, consent(http, work)) == {"error": "account_is_linked"}


class TestTimeLimitedGrant:
    def test_tells_by_when_to_reconnect(self, provider: Provider, sign_in: Callable[[str], Person]) -> None:
        email = provider.new_user()
        provider.put(f"/users/{email}/settings", testing=True)
        left = datetime.fromisoformat(sign_in(email).address()["reconnect_by"]) - datetime.now(UTC)
        assert timedelta(days=7) - timedelta(minutes=5) < left <= timedelta(days=7)

    def test_is_the_only_one_that_tells(self, new_person: Callable[..., Person]) -> None:
        assert new_person().address()["reconnect_by"] is None
