"""API keys at the gateway: what is remembered of them, and when they are refused."""

import asyncio

import httpx

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
        await asyncio.wait_for(gateway.mail.watched.wait(), 10)
        gateway.keys.revoked.add(gateway.keys.keys[key].key_id)
        await gateway.revocations.refresh()
        assert code(await asyncio.wait_for(polling, 10)) == (401, "invalid_api_key")
