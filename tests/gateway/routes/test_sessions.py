"""The routes of sessions, of the user and of security events."""

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from mailroom.auth.v1 import auth_pb2

from tests.gateway.conftest import Gateway, bearer


async def sign_in(gateway: Gateway, user_id: str) -> dict[str, str]:
    """Return the response of POST /auth/token."""
    answer = await gateway.http.post("/auth/token", json={"state": gateway.auth.login_code(user_id)})
    return dict(answer.json())


class TestRefresh:
    async def test_gives_tokens_that_work(self, gateway: Gateway) -> None:
        first = await sign_in(gateway, "ada")
        answer = await gateway.http.post("/auth/refresh", json={"refresh_token": first["refresh_token"]})
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        second = answer.json()
        assert second.keys() == {"access_token", "token_type", "expires_in", "refresh_token"}
        assert second["refresh_token"] != first["refresh_token"]
        headers = bearer(second["access_token"])
        assert (await gateway.http.get("/emails/addresses", headers=headers)).status_code == 200

    async def test_of_a_token_that_is_not_valid_is_unauthenticated(self, gateway: Gateway) -> None:
        answer = await gateway.http.post("/auth/refresh", json={"refresh_token": "made-up"})
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_refresh_token")
        assert answer.headers["www-authenticate"].startswith("Bearer ")

    @pytest.mark.parametrize("body", [{}, {"refresh_token": ""}, {"refresh_token": 5}, {"refresh_token": None}, [], 7])
    async def test_refuses_a_body_of_wrong_types(self, gateway: Gateway, body: object) -> None:
        answer = await gateway.http.post("/auth/refresh", json=body)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


class TestLogout:
    async def test_ends_the_session_of_the_access_token(self, gateway: Gateway) -> None:
        headers = bearer(gateway.auth.access_token("ada", sid="this-session"))
        answer = await gateway.http.post("/auth/logout", headers=headers)
        assert (answer.status_code, answer.content) == (204, b"")
        [revocation] = gateway.auth.revocations
        assert (revocation.user_id, revocation.session_id, revocation.all) == ("ada", "this-session", False)

    async def test_ends_all_sessions(self, gateway: Gateway) -> None:
        answer = await gateway.http.post("/auth/logout", json={"all": True}, headers=gateway.as_user("ada"))
        assert answer.status_code == 204
        [revocation] = gateway.auth.revocations
        assert revocation.all
        assert revocation.user_id == "ada"

    async def test_works_with_the_refresh_token_alone(self, gateway: Gateway) -> None:
        answer = await gateway.http.post("/auth/logout", json={"refresh_token": "mine"})
        assert answer.status_code == 204
        [revocation] = gateway.auth.revocations
        assert (revocation.refresh_token, revocation.user_id, revocation.all) == ("mine", "", False)

    async def test_needs_one_of_the_tokens(self, gateway: Gateway) -> None:
        answer = await gateway.http.post("/auth/logout", json={"all": True})
        assert (answer.status_code, answer.json()["code"]) == (401, "missing_token")
        assert gateway.auth.revocations == []

    @pytest.mark.parametrize("body", [{"all": "yes"}, {"all": 1}, {"refresh_token": 5}, []])
    async def test_refuses_a_body_of_wrong_types(self, gateway: Gateway, body: object) -> None:
        answer = await gateway.http.post("/auth/logout", json=body, headers=gateway.as_user("ada"))
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


class TestSessions:
    async def test_are_listed_and_the_current_one_is_marked(self, gateway: Gateway) -> None:
        client = auth_pb2.ClientInfo(address="192.0.2.0/24", user_agent="Firefox on Linux")
        gateway.auth.sessions = [
            auth_pb2.Session(
                session_id=name, create_time=Timestamp(seconds=1), use_time=Timestamp(seconds=2), client=known
            )
            for name, known in (("mine", client), ("other", None))
        ]
        headers = bearer(gateway.auth.access_token("ada", sid="mine"))
        answer = await gateway.http.get("/auth/sessions", headers=headers)
        times = {"created_at": "1970-01-01T00:00:01.000Z", "last_used_at": "1970-01-01T00:00:02.000Z"}
        assert answer.json() == {
            "sessions": [
                {
                    "id": "mine",
                    "is_current": True,
                    "client_network": "192.0.2.0/24",
                    "client": "Firefox on Linux",
                    **times,
                },
                {"id": "other", "is_current": False, "client_network": None, "client": None, **times},
            ]
        }

    async def test_end_one_by_one(self, gateway: Gateway) -> None:
        gateway.auth.sessions = [auth_pb2.Session(session_id="lost"), auth_pb2.Session(session_id="mine")]
        answers = [await gateway.http.delete("/auth/sessions/lost", headers=gateway.as_user("ada")) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [204, 404]
        assert answers[1].json()["code"] == "session_not_found"
        assert [session.session_id for session in gateway.auth.sessions] == ["mine"]
        assert {ended.user_id for ended in gateway.auth.revocations} == {"ada"}

    async def test_need_a_token(self, gateway: Gateway) -> None:
        assert (await gateway.http.get("/auth/sessions")).status_code == 401
        assert (await gateway.http.delete("/auth/sessions/lost")).status_code == 401

    async def test_know_the_network_and_the_program_of_the_client(self, gateway: Gateway) -> None:
        headers = {"User-Agent": "curl/8.5.0", "X-Forwarded-For": "203.0.113.7"}
        await gateway.http.post("/auth/refresh", json={"refresh_token": "made-up"}, headers=headers)
        await gateway.http.post("/auth/logout", json={"refresh_token": "made-up"}, headers=headers)
        await gateway.http.get("/auth/google/callback?state=1", headers=headers)
        await gateway.http.post("/auth/token", json={"state": gateway.auth.login_code("ada")}, headers=headers)
        auth = gateway.auth
        clients = [request.client for request in auth.refreshes]
        clients += [request.client for request in auth.revocations]
        clients += [request.client for request in auth.completions]
        clients += [request.client for request in auth.redemptions]
        assert clients == [auth_pb2.ClientInfo(address="192.0.2.0/24", user_agent="curl")] * 4


class TestMe:
    async def test_shows_the_user_with_their_accounts(self, gateway: Gateway) -> None:
        account = auth_pb2.Account(
            account_id="account",
            user_id="ada",
            provider="google",
            email="ada@example.com",
            status=auth_pb2.ACCOUNT_STATUS_REAUTH_REQUIRED,
            create_time=Timestamp(seconds=2),
            reconnect_by_time=Timestamp(seconds=3),
        )
        gateway.auth.users["ada"] = auth_pb2.GetUserResponse(
            user_id="ada", create_time=Timestamp(seconds=1), accounts=[account]
        )
        answer = await gateway.http.get("/auth/me", headers=gateway.as_user("ada"))
        assert answer.json() == {
            "user_id": "ada",
            "created_at": "1970-01-01T00:00:01.000Z",
            "accounts": [
                {
                    "mailbox_id": "account",
                    "account_id": "account",
                    "provider": "google",
                    "email": "ada@example.com",
                    "status": "reauth_required",
                    "access_denied_reason": None,
                    "connected_at": "1970-01-01T00:00:02.000Z",
                    "reconnect_by": "1970-01-01T00:00:03.000Z",
                }
            ],
        }

    async def test_shows_why_an_account_is_denied_access(self, gateway: Gateway) -> None:
        account = auth_pb2.Account(status=auth_pb2.ACCOUNT_STATUS_ACTIVE, access_denied_reason="admin_policy")
        gateway.auth.users["ada"] = auth_pb2.GetUserResponse(user_id="ada", accounts=[account])
        answer = await gateway.http.get("/auth/me", headers=gateway.as_user("ada"))
        [shown] = answer.json()["accounts"]
        assert (shown["status"], shown["access_denied_reason"]) == ("access_denied", "admin_policy")

    async def test_of_a_deleted_user_does_not_exist(self, gateway: Gateway) -> None:
        answer = await gateway.http.get("/auth/me", headers=gateway.as_user("gone"))
        assert (answer.status_code, answer.json()["code"]) == (404, "user_not_found")

    async def test_needs_an_access_token(self, gateway: Gateway) -> None:
        assert (await gateway.http.get("/auth/me")).status_code == 401


class TestEvents:
    async def test_are_listed_page_by_page(self, gateway: Gateway) -> None:
        gateway.auth.events = [
            auth_pb2.SecurityEvent(event_id=str(n), type="signed_in", create_time=Timestamp(seconds=n))
            for n in range(3)
        ]
        headers = gateway.as_user("ada")
        first = (await gateway.http.get("/auth/events?limit=2", headers=headers)).json()
        assert first["events"][0] == {
            "id": "0",
            "type": "signed_in",
            "created_at": "1970-01-01T00:00:00.000Z",
            "mailbox_id": None,
            "account_id": None,
            "session_id": None,
            "email": None,
            "client_network": None,
            "client": None,
        }
        last = (await gateway.http.get(f"/auth/events?limit=2&cursor={first['next_cursor']}", headers=headers)).json()
        assert [event["id"] for event in last["events"]] == ["2"]
        assert last["next_cursor"] is None

    @pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "cursor=%00"])
    async def test_refuse_wrong_parameters(self, gateway: Gateway, query: str) -> None:
        answer = await gateway.http.get(f"/auth/events?{query}", headers=gateway.as_user("ada"))
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")

    async def test_need_an_access_token(self, gateway: Gateway) -> None:
        assert (await gateway.http.get("/auth/events")).status_code == 401
