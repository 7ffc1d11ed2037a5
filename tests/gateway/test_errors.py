"""Errors as problem documents, without internals."""

import json
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from services.kit.errors import AppError, Kind
from services.kit.scopes import Scope
from tests.gateway.conftest import BODY_LIMIT, Gateway

JSON = {"Content-Type": "application/json"}


class TestKinds:
    @pytest.mark.parametrize("kind", list(Kind), ids=lambda kind: kind.name)
    async def test_are_problems_with_their_status_and_reason(self, gateway: Gateway, kind: Kind) -> None:
        gateway.mail.failure = AppError(kind, "some_reason", "A sentence.")
        headers = gateway.as_user("ada") | {"X-Request-Id": "abc-1"}
        answer = await gateway.http.get("/emails/addresses", headers=headers)
        assert answer.status_code == kind.http_status
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json() == {
            "type": "urn:mailroom:error:some_reason",
            "title": kind.http_status.phrase,
            "status": kind.http_status.value,
            "detail": "A sentence.",
            "code": "some_reason",
            "request_id": "abc-1",
        }

    @pytest.mark.parametrize(
        ("seconds", "header"), [("30", "30"), ("0.2", "1"), ("1.01", "2"), ("soon", None), ("inf", None)]
    )
    @pytest.mark.parametrize("kind", [Kind.RATE_LIMITED, Kind.UNAVAILABLE])
    async def test_say_when_to_try_again(self, gateway: Gateway, kind: Kind, seconds: str, header: str | None) -> None:
        gateway.mail.failure = AppError(kind, "some_reason", "A sentence.", {"retry_after": seconds})
        answer = await gateway.http.get("/emails/addresses", headers=gateway.as_user("ada"))
        assert answer.headers.get("retry-after") == header


class TestUnknownException:
    async def test_of_a_service_is_hidden(self, gateway: Gateway) -> None:
        gateway.mail.failure = RuntimeError("the password is hunter2")
        answer = await gateway.http.get("/emails/addresses", headers=gateway.as_user("ada"))
        assert (answer.status_code, answer.json()["code"]) == (500, "internal")
        assert "hunter2" not in answer.text

    async def test_of_the_gateway_is_hidden_and_logged(self, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
        def explode(_: object) -> None:
            raise RuntimeError("the password is hunter2")

        monkeypatch.setattr("services.gateway.conversions.address", explode)
        gateway.mail.connect("ada", "ada@example.com")
        headers = gateway.as_user("ada") | {"Origin": "https://app.example"}
        with capture_logs() as logs:
            answer = await gateway.http.get("/emails/addresses", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (500, "internal")
        assert "hunter2" not in answer.text
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        assert "request failed" in [entry["event"] for entry in logs]


class TestAddress:
    @pytest.mark.parametrize(
        "path", ["/nope", "/assets/none", "/email", "/auth/google", "/emails/a/b", "/auth/google/start/"]
    )
    async def test_that_is_unknown_is_a_problem(self, gateway: Gateway, path: str) -> None:
        answer = await gateway.http.get(path, headers=gateway.as_user("ada"))
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")

    async def test_with_a_wrong_method_names_the_right_one(self, gateway: Gateway) -> None:
        answer = await gateway.http.delete("/emails/sync")
        assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
        assert answer.headers["allow"] == "OPTIONS, POST"


class TestBody:
    @pytest.mark.parametrize(
        "content",
        [b"{", b"{]", b'{"state": "x"', b"\xff\xfe", b"[" * 2000, b'{"state":' + b"9" * 1900 + b"e", b'{"a":"\x01"}'],
    )
    async def test_that_is_no_json_is_malformed(self, gateway: Gateway, content: bytes) -> None:
        answer = await gateway.http.post("/auth/token", content=content, headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed_json")

    @pytest.mark.parametrize(
        "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/json5", ""]
    )
    async def test_of_another_type_is_refused(self, gateway: Gateway, content_type: str) -> None:
        headers = {"Content-Type": content_type}
        answer = await gateway.http.post("/auth/token", content=b'{"state": "x"}', headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")

    async def test_that_is_absent_is_named(self, gateway: Gateway) -> None:
        answer = await gateway.http.post("/auth/token")
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")

    async def test_of_json_with_a_charset_is_read(self, gateway: Gateway) -> None:
        headers = {"Content-Type": "application/json; charset=utf-8"}
        answer = await gateway.http.post("/auth/token", content=b'{"state": "x"}', headers=headers)
        assert answer.json()["code"] == "invalid_hand_off"

    async def test_that_declares_itself_too_large_is_refused(self, gateway: Gateway) -> None:
        answer = await gateway.http.post("/auth/token", content=b" " * (BODY_LIMIT + 1), headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (413, "request_too_large")

    async def test_that_becomes_too_large_is_refused(self, gateway: Gateway) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(BODY_LIMIT):
                yield b"    "

        answer = await gateway.http.post("/auth/token", content=chunks(), headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (413, "request_too_large")


_KEY = {"name": "key", "scopes": ["mail.read"]}
_REPLAY = "/webhooks/0d2f7c5e-93a1-4a7e-9d0c-5b7b2a1f3c11/replay"
_A_WRITTEN_TIME = "must be a string, such as 2026-11-30T06:00:00Z"


class TestWrongField:
    @pytest.mark.parametrize(
        ("path", "field", "message"),
        [
            ("/emails", "query", "give exactly one of mailbox_id and email"),
            ("/emails?user_email=a&limit=x", "limit", "must be a whole number"),
            ("/emails?user_email=a&limit=1.5", "limit", "must be a whole number"),
            ("/emails?user_email=a&limit=0", "limit", "must be at least 1"),
            ("/emails?user_email=a&limit=201", "limit", "must be at most 200"),
            ("/emails?user_email=a&unread=2", "unread", "must be true or false"),
            ("/emails?user_email=a&after=soon", "after", "must be a time (RFC 3339) or a day"),
            ("/emails?user_email=a&after=2026-02-30", "after", "must be a time (RFC 3339) or a day"),
            ("/emails?user_email=a&q=" + "x" * 1001, "q", "must have a length of at most 1000"),
            ("/emails?user_email=", "user_email", "must have a length of at least 1"),
            ("/emails?user_email=%00", "user_email", "has a character that is not allowed"),
        ],
    )
    async def test_of_a_query_is_named(self, gateway: Gateway, path: str, field: str, message: str) -> None:
        await self.refused(gateway, "GET", path, None, field, message)

    @pytest.mark.parametrize(
        ("body", "field", "message"),
        [
            ([], "body", "must be a JSON object"),
            (None, "body", "must be a JSON object"),
            ({"email": 1}, "email", "must be a string"),
            ({"email": "a", "count": True}, "count", 'must be a whole number from 1 to 1000000, or "all"'),
            ({"email": "a", "account_id": "b"}, "body", "give exactly one of mailbox_id and email"),
        ],
        ids=str,
    )
    async def test_of_a_body_is_named(self, gateway: Gateway, body: object, field: str, message: str) -> None:
        await self.refused(gateway, "POST", "/emails/sync", body, field, message)

    @pytest.mark.parametrize(
        ("path", "body", "field", "message"),
        [
            ("/webhooks", {"url": "u", "events": "x"}, "events", "must be a list"),
            ("/webhooks", {"url": "u", "mailbox_ids": []}, "mailbox_ids", "must have at least 1 items"),
            ("/webhooks", {"url": "u", "mailbox_ids": ["x"]}, "mailbox_ids.0", "must be a UUID"),
            ("/webhooks", {"url": "u", "mailbox_ids": [7]}, "mailbox_ids.0", "must be a UUID"),
            (_REPLAY, {"since": 7}, "since", _A_WRITTEN_TIME),
            (_REPLAY, {"since": "1764482400"}, "since", _A_WRITTEN_TIME),
            ("/keys", _KEY | {"expires_at": 1764482400}, "expires_at", _A_WRITTEN_TIME),
            (
                "/keys",
                _KEY | {"expires_at": "2030-01-01T00:00:00"},
                "expires_at",
                "must have an offset, as 2026-11-30T06:00:00Z has",
            ),
            ("/keys", _KEY | {"networks": ["n"] * 51}, "networks", "must have at most 50 items"),
        ],
        ids=str,
    )
    async def test_of_a_body_that_keys_send_is_named(
        self, gateway: Gateway, path: str, body: object, field: str, message: str
    ) -> None:
        await self.refused(gateway, "POST", path, body, field, message, by_key=True)

    async def test_of_an_enumeration_shows_its_values(self, gateway: Gateway) -> None:
        scopes = [f"'{scope}'" for scope in Scope]
        message = f"must be {', '.join(scopes[:-1])} or {scopes[-1]}"
        await self.refused(gateway, "POST", "/keys", _KEY | {"scopes": ["sing"]}, "scopes.0", message, by_key=True)

    async def test_that_is_missing_is_named(self, gateway: Gateway) -> None:
        await self.refused(gateway, "POST", "/auth/refresh", {}, "refresh_token", "is required")

    async def test_of_a_fixed_list_shows_the_list(self, gateway: Gateway) -> None:
        path = "/auth/google/start?code_challenge_method=plain"
        await self.refused(gateway, "GET", path, None, "code_challenge_method", "must be 'S256'")

    async def refused(
        self,
        gateway: Gateway,
        method: str,
        path: str,
        body: object,
        field: str,
        message: str,
        *,
        by_key: bool = False,
    ) -> None:
        content = None if method == "GET" else json.dumps(body)
        headers = (gateway.as_key(*Scope) if by_key else gateway.as_user("ada")) | JSON
        answer = await gateway.http.request(method, path, content=content, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
        assert answer.json()["errors"] == [{"field": field, "message": message}]
        assert answer.json()["detail"] == f"{field}: {message}"


class TestHeaders:
    @pytest.mark.parametrize("path", ["/healthz", "/nope", "/auth/google/start", "/emails/addresses", "/openapi.json"])
    async def test_keep_every_answer_out_of_caches_and_referrers(self, gateway: Gateway, path: str) -> None:
        answer = await gateway.http.get(path)
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-content-type-options"] == "nosniff"

    async def test_carry_the_request_id_that_was_given(self, gateway: Gateway) -> None:
        answer = await gateway.http.get("/healthz", headers={"X-Request-Id": "order-7.A_b"})
        assert answer.headers["x-request-id"] == "order-7.A_b"

    @pytest.mark.parametrize("given", ["", "a b", "x" * 65, "<script>"])
    async def test_carry_a_new_request_id_instead_of_a_bad_one(self, gateway: Gateway, given: str) -> None:
        answer = await gateway.http.get("/healthz", headers={"X-Request-Id": given})
        assert answer.headers["x-request-id"] != given
        assert len(answer.headers["x-request-id"]) == 32
