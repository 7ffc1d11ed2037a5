"""API keys at the gateway: what is remembered of them, and when they are refused."""

import asyncio
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from services.gateway.requests.form_body import FORM_TYPE
from services.gateway.revocations import NEWS_SECONDS
from services.kit.errors import AppError, Kind, service_unavailable
from services.kit.scopes import Scope
from tests.gateway.conftest import Gateway, bearer

SOME = (Scope.MAIL_READ, Scope.MAILBOXES_READ)


async def mailboxes(gateway: Gateway, key: str) -> httpx.Response:
    """List the mailboxes of the application."""
    return await gateway.http.get("/mailboxes", headers=bearer(key))


def code(answer: httpx.Response) -> tuple[int, str]:
    """Return the status and code of a problem."""
    return answer.status_code, answer.json()["code"]


class TestVerification:
    async def test_is_remembered_for_the_principals_life(self, gateway: Gateway) -> None:
        key = gateway.keys.add(*SOME)
        gateway.mail.connect(gateway.keys.subject(key), "ada@example.com")
        for _ in range(3):
            answer = await mailboxes(gateway, key)
            assert [mailbox["email"] for mailbox in answer.json()["mailboxes"]] == ["ada@example.com"]
        [lookup] = gateway.keys.lookups
        assert lookup.client_address == "192.0.2.1"

    async def test_is_asked_for_once_by_requests_at_the_same_time(self, gateway: Gateway) -> None:
        key = gateway.keys.add(*SOME)
        answers = await asyncio.gather(*(mailboxes(gateway, key) for _ in range(10)))
        assert {answer.status_code for answer in answers} == {200}
        assert len(gateway.keys.lookups) == 1

    async def test_of_a_failure_is_not_remembered(self, gateway: Gateway) -> None:
        key = gateway.keys.add(*SOME)
        await gateway.revocations.refresh()
        gateway.keys.failure = service_unavailable()
        assert code(await mailboxes(gateway, key)) == (503, "service_unavailable")
        gateway.keys.failure = None
        assert (await mailboxes(gateway, key)).status_code == 200

    async def test_does_not_ask_about_a_typo(self, gateway: Gateway) -> None:
        key = gateway.keys.add(*SOME)
        answer = await mailboxes(gateway, key[:-1] + ("0" if key[-1] != "0" else "1"))
        assert code(answer) == (401, "malformed_api_key")
        assert gateway.keys.lookups == []

    async def test_shows_no_key_in_a_representation(self, gateway: Gateway) -> None:
        key = gateway.keys.add(*SOME)
        answer = await mailboxes(gateway, key)
        assert key not in answer.text
        assert key not in repr(gateway.revocations.__dict__)

    async def test_passes_the_principal_on(self, gateway: Gateway) -> None:
        key = gateway.keys.add(*SOME)
        await mailboxes(gateway, key)
        assert gateway.mail.principals[-1] == f"principal of {gateway.keys.keys[key].key_id}"
        await gateway.http.get("/mailboxes", headers=gateway.as_user("ada"))
        assert gateway.mail.principals[-1].count(".") == 2


class TestScopes:
    async def test_that_are_missing_are_named(self, gateway: Gateway) -> None:
        answer = await gateway.http.get("/emails?email=a@example.com", headers=gateway.as_key(Scope.MAILBOXES_READ))
        assert code(answer) == (403, "insufficient_scope")
        assert answer.headers["www-authenticate"] == (
            'Bearer realm="mailroom", error="insufficient_scope", scope="mail.read"'
        )


class TestRevocations:
    async def test_are_heard_of_by_the_next_question(self, gateway: Gateway) -> None:
        key = gateway.keys.add(*SOME)
        assert (await mailboxes(gateway, key)).status_code == 200
        gateway.keys.revoked.add(gateway.keys.keys[key].key_id)
        await gateway.revocations.refresh()
        assert code(await mailboxes(gateway, key)) == (401, "invalid_api_key")

    async def test_of_which_nothing_is_heard_close_the_doors(self, gateway: Gateway) -> None:
        key = gateway.keys.add(*SOME)
        assert (await mailboxes(gateway, key)).status_code == 200
        gateway.keys.failure = AppError(Kind.UNAVAILABLE, "service_unavailable", "Auth is away.")
        gateway.clock.now += NEWS_SECONDS
        assert (await mailboxes(gateway, key)).status_code == 200
        gateway.clock.now += 0.1
        assert code(await mailboxes(gateway, key)) == (503, "service_unavailable")
        # Users' tokens go on until they expire.
        assert (await gateway.http.get("/mailboxes", headers=gateway.as_user("ada"))).status_code == 200
        gateway.keys.failure = None
        assert (await mailboxes(gateway, key)).status_code == 200

    async def test_of_a_session_refuse_its_access_tokens(self, gateway: Gateway) -> None:
        headers = bearer(gateway.auth.access_token("ada", sid="session"))
        assert (await gateway.http.get("/mailboxes", headers=headers)).status_code == 200
        gateway.keys.ended_sessions.add("session")
        await gateway.revocations.refresh()
        assert code(await gateway.http.get("/mailboxes", headers=headers)) == (401, "invalid_token")
        assert (await gateway.http.get("/mailboxes", headers=gateway.as_user("ada"))).status_code == 200

    async def test_end_long_polls(self, gateway: Gateway) -> None:
        key = gateway.keys.add(*SOME)
        gateway.mail.never_ends_when_watched = True
        polling = asyncio.create_task(
            gateway.http.get("/emails/syncs/s1", headers={**bearer(key), "Prefer": "wait=60"})
        )
        await asyncio.wait_for(gateway.mail.watched.wait(), 30)
        gateway.keys.revoked.add(gateway.keys.keys[key].key_id)
        await gateway.revocations.refresh()
        assert code(await asyncio.wait_for(polling, 30)) == (401, "invalid_api_key")


def exchanged(gateway: Gateway, key: str, *scopes: Scope, **claims: Any) -> dict[str, str]:
    """Return the headers of a request with an access token that was exchanged for a key."""
    actor = {"act": {"sub": gateway.keys.subject(key)}, "scope": " ".join(scopes)}
    return bearer(gateway.auth.access_token("ada", **{**actor, **claims}))


EXCHANGE = {
    "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
    "subject_token": "ada",
    "subject_token_type": "urn:mailroom:token-type:user-id",
    "scope": "mail.read mail.read",
}


class TestExchangedTokens:
    @pytest.mark.parametrize("kind", ["data", "json"])
    async def test_are_made_for_the_key_that_asks(self, gateway: Gateway, kind: str) -> None:
        key = gateway.keys.add(*SOME)
        body: dict[str, Any] = {kind: EXCHANGE}
        answer = await gateway.http.post("/auth/token/exchange", headers=bearer(key), **body)
        assert answer.json() == {
            "access_token": "token of ada",
            "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "token_type": "Bearer",
            "expires_in": answer.json()["expires_in"],
            "scope": "mail.read",
        }
        assert answer.headers["cache-control"] == "no-store"
        [request] = gateway.keys.exchanges
        assert (request.acting_key_id, request.user_id) == (gateway.keys.keys[key].key_id, "ada")

    @pytest.mark.parametrize(
        ("form", "error"),
        [
            ("&no_such=1", {"field": "no_such", "message": "is not known here"}),
            ("&subject_token=grace", {"field": "subject_token", "message": "must be given once"}),
            ("&scope=%ff", {"field": "scope", "message": "must be UTF-8"}),
            ("&scope=%00", {"field": "scope", "message": "has a character that is not allowed"}),
        ],
    )
    async def test_are_refused_for_a_wrong_form(self, gateway: Gateway, form: str, error: dict[str, str]) -> None:
        headers = {**bearer(gateway.keys.add(*SOME)), "Content-Type": f"{FORM_TYPE}; charset=utf-8"}
        rest = {name: value for name, value in EXCHANGE.items() if name != "scope"}
        answer = await gateway.http.post("/auth/token/exchange", content=urlencode(rest) + form, headers=headers)
        assert (code(answer), answer.json()["errors"]) == ((400, "invalid_request"), [error])

    async def test_alone_are_asked_for_by_forms(self, gateway: Gateway) -> None:
        headers = bearer(gateway.keys.add(*SOME, Scope.MAILBOXES_MANAGE))
        answer = await gateway.http.post("/users", data={"external_user_id": "42"}, headers=headers)
        assert code(answer) == (415, "unsupported_media_type")

    async def test_do_what_their_scopes_say(self, gateway: Gateway) -> None:
        headers = exchanged(gateway, gateway.keys.add(*SOME), Scope.MAILBOXES_READ)
        gateway.mail.connect("ada", "ada@example.com")
        assert (await gateway.http.get("/mailboxes", headers=headers)).status_code == 200
        refused = await gateway.http.get("/emails?email=ada@example.com", headers=headers)
        assert code(refused) == (403, "insufficient_scope")
        assert code(await gateway.http.get("/auth/me", headers=headers)) == (403, "wrong_credential")
        assert code(await gateway.http.get("/users", headers=headers)) == (403, "wrong_credential")

    @pytest.mark.parametrize("act", [None, "key:k1", {}, {"sub": "key:"}, {"sub": "ada"}, {"sub": 1}, []])
    async def test_with_another_actor_than_a_key_are_invalid(self, gateway: Gateway, act: object) -> None:
        headers = exchanged(gateway, gateway.keys.add(*SOME), *SOME, act=act)
        assert code(await gateway.http.get("/mailboxes", headers=headers)) == (401, "invalid_token")

    async def test_end_with_their_key_and_wait_for_its_news(self, gateway: Gateway) -> None:
        key = gateway.keys.add(*SOME)
        headers = exchanged(gateway, key, *SOME)
        assert (await gateway.http.get("/mailboxes", headers=headers)).status_code == 200
        gateway.keys.failure = AppError(Kind.UNAVAILABLE, "service_unavailable", "Auth is away.")
        gateway.clock.now += NEWS_SECONDS + 0.1
        assert code(await gateway.http.get("/mailboxes", headers=headers)) == (503, "service_unavailable")
        gateway.keys.failure = None
        gateway.keys.revoked.add(gateway.keys.keys[key].key_id)
        await gateway.revocations.refresh()
        assert code(await gateway.http.get("/mailboxes", headers=headers)) == (401, "invalid_token")

    async def test_end_long_polls_with_their_key(self, gateway: Gateway) -> None:
        key = gateway.keys.add(*SOME)
        gateway.mail.never_ends_when_watched = True
        polling = asyncio.create_task(
            gateway.http.get("/emails/syncs/s1", headers={**exchanged(gateway, key, *SOME), "Prefer": "wait=60"})
        )
        await asyncio.wait_for(gateway.mail.watched.wait(), 30)
        gateway.keys.revoked.add(gateway.keys.keys[key].key_id)
        await gateway.revocations.refresh()
        assert code(await asyncio.wait_for(polling, 30)) == (401, "invalid_token")
