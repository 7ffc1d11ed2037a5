"""Calls of the gateway, and how they fail."""

import random

import httpx
import pytest
from structlog.testing import capture_logs

from services.console.gateway import calls
from services.console.gateway.client import Gateway, create_http_client
from services.console.gateway.errors import GatewayError, RefusedError, UnreachableError
from services.kit.api_key import generate

KEY = generate(random.Random(3).randbytes)


def gateway(answer: httpx.Response | Exception) -> Gateway:
    """Return a gateway that answers every call alike."""

    def respond(request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        answer.request = request
        return answer

    return Gateway(httpx.AsyncClient(base_url="http://gateway", transport=httpx.MockTransport(respond)))


class TestSend:
    async def test_logs_the_id_of_the_key_and_never_the_key_or_a_search(self) -> None:
        with capture_logs() as logs:
            call = calls.list_emails("m", query="secret words", limit=1, cursor="")
            await gateway(httpx.Response(200, json={"emails": []})).send(call, key=KEY)
        [line] = logs
        assert (line["key_id"], line["path"], line["mailbox_id"], line["status"]) == (KEY.key_id, "/emails", "m", 200)
        assert KEY.value not in str(line)
        assert "secret" not in str(line)

    @pytest.mark.parametrize(
        "answer",
        [
            httpx.ConnectError("no"),
            httpx.ReadTimeout("late"),
            httpx.Response(200, text="<html>"),
            httpx.Response(200, json=[]),
            httpx.Response(502, text="<html>"),
            httpx.Response(302, headers={"location": "http://elsewhere"}),
        ],
        ids=str,
    )
    async def test_finds_no_answer_of_mailroom(self, answer: httpx.Response | Exception) -> None:
        with pytest.raises(UnreachableError) as caught:
            await gateway(answer).send(calls.list_keys(), key=KEY)
        assert caught.value.code == "gateway_unreachable"
        assert KEY.value not in str(caught.value)

    async def test_passes_a_problem_on(self) -> None:
        problem = {
            "code": "invalid_request",
            "detail": "Wrong.",
            "request_id": "r",
            "errors": [{"field": "q", "message": "too long"}],
        }
        with pytest.raises(RefusedError) as caught:
            await gateway(httpx.Response(400, json=problem, headers={"retry-after": "7"})).send(
                calls.list_keys(), key=KEY
            )
        error: GatewayError = caught.value
        assert (error.status, error.code, error.detail, error.request_id, error.retry_after) == (
            400, "invalid_request", "Wrong.; q: too long", "r", 7,
        )  # fmt: skip

    async def test_of_an_answer_without_a_body_is_empty(self) -> None:
        assert await gateway(httpx.Response(202)).send(calls.revoke_key("k"), key=KEY) == {}


async def test_the_client_follows_no_redirect_and_no_proxy() -> None:
    async with create_http_client("http://gateway") as http:
        assert not http.follow_redirects
        assert not http.trust_env
