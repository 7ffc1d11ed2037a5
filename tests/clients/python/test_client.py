"""The Python client: what it sends, repeats, refuses and gives back."""

import asyncio
import threading
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import httpx
import pytest
from mailroom_client import (
    ApiError,
    Mailroom,
    MailroomError,
    NotAuthorizedError,
    NotFoundError,
    ResyncRequiredError,
    Retries,
    TooManyRequestsError,
    UnexpectedResponseError,
    UnreachableError,
)
from mailroom_client._request import Request
from mailroom_client.models import Token
from mailroom_client.pkce import challenge_of, new_verifier

from tests.support.clients.gateways import Answer, Gateway, email, pages_of, problem, whole_email

MAILBOX = "0190b0a0-0000-7000-8000-000000000001"
LOST = httpx.ReadError("connection reset")
REFUSED = httpx.ConnectError("connection refused")
TOKENS = {"access_token": "new", "token_type": "Bearer", "expires_in": 900, "refresh_token": "next"}


def _page(*changes: dict[str, Any], after: str, more: bool = False) -> httpx.Response:
    return httpx.Response(200, json={"changes": list(changes), "next_since": after, "has_more": more})


def _deleted(id_: str) -> dict[str, Any]:
    return {"type": "deleted", "id": id_, "mailbox_id": MAILBOX, "email": None, "label": None}


SYNC = {
    "id": "s1",
    "mailbox_id": MAILBOX,
    "email": "ada@example.com",
    "state": "running",
    "count": 10,
    "created_at": "2026-01-31T10:00:00Z",
    **dict.fromkeys(("listed", "stored", "pending", "dead_letter_count", "units_spent"), 0),
    **dict.fromkeys(("units_per_message", "eta_seconds", "verification", "error", "last_error", "ended_at")),
    **dict.fromkeys(("access_denied_reason", "waiting_for", "waiting_until", "progress_at")),
}
ENDED = SYNC | {"state": "completed", "ended_at": "2026-01-31T10:00:05Z"}


class TestRequests:
    def test_bear_the_token_and_name_a_mailbox_by_address_or_id(self) -> None:
        gateway = Gateway([httpx.Response(200, json={"emails": [], "next_cursor": None})])
        with gateway.client() as client:
            list(client.emails.list("ada@example.com", "is:unread", unread=True, page_size=5))
            list(client.emails.list(MAILBOX))
        first, second = gateway.requests
        assert first.headers["Authorization"] == "Bearer t"
        assert dict(first.url.params) == {"email": "ada@example.com", "q": "is:unread", "unread": "true", "limit": "5"}
        assert dict(second.url.params) == {"mailbox_id": MAILBOX, "limit": "200"}

    def test_cannot_be_led_to_another_resource_by_an_id(self) -> None:
        gateway = Gateway([problem(404, "message_not_found")])
        with gateway.client() as client, pytest.raises(NotFoundError):
            client.emails.get("../auth/me?x=")
        assert gateway.requests[0].url.raw_path == b"/emails/..%2Fauth%2Fme%3Fx%3D"

    def test_refuse_a_time_without_a_zone(self) -> None:
        with Gateway([]).client() as client, pytest.raises(ValueError, match="no time zone"):
            client.emails.list(MAILBOX, after=datetime(2026, 1, 31))  # noqa: DTZ001 - what is refused

    @pytest.mark.parametrize("token", ["secret\n", "sec ret", "secr\u00e9t", ""])
    def test_are_not_made_with_a_token_that_can_be_none_and_quote_none(self, token: str) -> None:
        with pytest.raises(MailroomError) as raised:
            Mailroom("http://gateway", token=token)
        assert "sec" not in str(raised.value)

    @pytest.mark.parametrize("url", ["http://\u00e9..x", "http://gateway:port", "http://gate\nway"])
    def test_are_not_made_to_what_is_no_url(self, url: str) -> None:
        with pytest.raises(MailroomError, match="is no URL"):
            Mailroom(url)


class TestLists:
    def test_of_ten_thousand_messages_take_fifty_requests(self) -> None:
        answer, asked = pages_of([email(number) for number in range(10_000)], field="emails"), []

        def counted(request: httpx.Request) -> httpx.Response:
            asked.append(request)
            return answer(request)

        http = httpx.Client(transport=httpx.MockTransport(counted))
        with Mailroom("http://gateway", token="t", http=http) as client:
            found = [message.id for message in client.emails.list(MAILBOX)]
        assert found == [f"m{number}" for number in range(10_000)]
        assert len(asked) == 50

    def test_ask_for_no_more_pages_than_needed(self) -> None:
        gateway = Gateway([httpx.Response(200, json={"emails": [email(1), email(2)], "next_cursor": "c"})])
        with gateway.client() as client:
            assert [message.id for message in client.emails.list(MAILBOX).first(2)] == ["m1", "m2"]
        assert len(gateway.requests) == 1

    async def test_are_the_same_without_blocking(self) -> None:
        handler = pages_of([email(number) for number in range(7)], field="emails")
        gateway = Gateway([])
        async with gateway.async_client(http=httpx.AsyncClient(transport=httpx.MockTransport(handler))) as client:
            found = [message.id async for message in client.emails.list(MAILBOX, page_size=3)]
        assert found == [f"m{number}" for number in range(7)]

    def test_keep_fields_that_a_newer_server_adds(self) -> None:
        gateway = Gateway([httpx.Response(200, json={"emails": [email(1) | {"mood": "glad"}], "next_cursor": None})])
        with gateway.client() as client:
            [message] = client.emails.list(MAILBOX)
        assert message.model_extra is not None
        assert message.model_extra["mood"] == "glad"


class TestErrors:
    def test_tell_code_and_request(self) -> None:
        with Gateway([problem(400, "invalid_query")]).client() as client, pytest.raises(ApiError) as raised:
            client.emails.get("m1")
        assert (raised.value.code, raised.value.status, raised.value.request_id) == ("invalid_query", 400, "r-1")
        assert "invalid_query: why (request r-1)" in str(raised.value)

    def test_tell_each_field_once(self) -> None:
        errors = [{"field": "a", "message": "is short"}, {"field": "b", "message": "is long"}]
        body = problem(422, "invalid_request").json() | {"detail": "a: is short", "errors": errors}
        with Gateway([httpx.Response(422, json=body)]).client() as client, pytest.raises(ApiError) as raised:
            client.emails.get("m1")
        assert str(raised.value) == "invalid_request: a: is short; b: is long (request r-1)"

    def test_tell_an_answer_that_is_not_mailrooms(self) -> None:
        html = httpx.Response(404, text="<html>not here</html>")
        with Gateway([html]).client() as client, pytest.raises(UnexpectedResponseError, match="404"):
            client.emails.get("m1")
        with Gateway([httpx.Response(200, text="<html>")]).client() as client, pytest.raises(UnexpectedResponseError):
            client.emails.get("m1")

    def test_tell_that_nothing_answers(self) -> None:
        gateway = Gateway([REFUSED])
        with gateway.client() as client, pytest.raises(UnreachableError, match="connection refused"):
            client.emails.get("m1")
        assert len(gateway.requests) == 4

    def test_tell_a_wrong_address_at_once(self) -> None:
        with (
            Mailroom("gateway:8000", token="t") as client,
            pytest.raises(UnreachableError, match="UnsupportedProtocol"),
        ):
            client.emails.get("m1")

    @pytest.mark.parametrize("body", [b"<html>", b"[]"])
    def test_tell_of_an_answer_that_is_no_key_set(self, body: bytes) -> None:
        with Gateway([httpx.Response(200, content=body)]).client() as client, pytest.raises(UnexpectedResponseError):
            client.auth.signing_keys()


class TestRepeats:
    @pytest.mark.parametrize("trouble", [LOST, REFUSED, problem(503, "service_unavailable"), httpx.Response(502)])
    def test_reads_until_an_answer_comes(self, trouble: httpx.Response | Exception) -> None:
        gateway = Gateway([trouble, trouble, httpx.Response(200, json=whole_email(1))])
        with gateway.client() as client:
            assert client.emails.get("m1").text == "hello"
        assert len(gateway.requests) == 3

    def test_a_start_of_a_sync_under_one_key(self) -> None:
        gateway = Gateway([LOST, problem(503, "service_unavailable"), httpx.Response(202, json=SYNC)])
        with gateway.client() as client:
            client.syncs.start(MAILBOX, count="all")
        keys = {request.headers["Idempotency-Key"] for request in gateway.requests}
        assert (len(gateway.requests), len(keys)) == (3, 1)

    @pytest.mark.parametrize("trouble", [LOST, problem(503, "service_unavailable")])
    def test_nothing_that_may_have_happened(self, trouble: httpx.Response | Exception) -> None:
        gateway = Gateway([trouble])
        with gateway.client() as client, pytest.raises(MailroomError):
            client.auth.redeem("state", code_verifier="v")
        assert len(gateway.requests) == 1

    @pytest.mark.parametrize("trouble", [REFUSED, problem(429, "too_many_requests")])
    def test_what_did_not_happen(self, trouble: httpx.Response | Exception) -> None:
        gateway = Gateway([trouble, httpx.Response(202, json=SYNC)])
        with gateway.client() as client:
            client.syncs.verify(MAILBOX)
        assert len(gateway.requests) == 2

    def test_not_before_the_server_wants_it(self) -> None:
        retries = Retries(first=0.5, longest=30, chance=lambda: 1.0)
        refusal = httpx.Response(429, headers={"Retry-After": "7"})
        get = Request("GET", "/emails")
        pauses = [retries.pause_after_response(get, refusal, attempt=attempt) for attempt in (1, 3, 4)]
        assert pauses == [7, 7, None]
        assert [retries.pause(attempt) for attempt in (1, 2, 3, 20)] == [0.5, 1, 2, 30]

    def test_not_at_all_where_the_pause_would_be_long(self) -> None:
        gateway = Gateway([problem(429, "too_many_requests", **{"Retry-After": "31"})])
        with gateway.client() as client, pytest.raises(TooManyRequestsError) as raised:
            client.emails.get("m1")
        assert (raised.value.retry_after, len(gateway.requests)) == (31, 1)


class TestTokens:
    def test_are_replaced_once_and_handed_over(self) -> None:
        stored: list[Token] = []
        gateway = Gateway([
            problem(401, "invalid_token"), httpx.Response(200, json=TOKENS), httpx.Response(200, json=whole_email(1)),
        ])  # fmt: skip
        with gateway.client(refresh_token="first", on_refresh=stored.append) as client:
            assert client.emails.get("m1").id == "m1"
            client.emails.get("m1")
        assert [request.url.path for request in gateway.requests[:3]] == ["/emails/m1", "/auth/refresh", "/emails/m1"]
        assert [request.headers.get("Authorization") for request in gateway.requests] == [
            "Bearer t", None, "Bearer new", "Bearer new",
        ]  # fmt: skip
        assert [token.refresh_token for token in stored] == ["next"]

    def test_that_cannot_be_replaced_end_in_the_refusal(self) -> None:
        gateway = Gateway([problem(401, "invalid_token"), problem(401, "invalid_refresh_token")])
        with gateway.client(refresh_token="ended") as client, pytest.raises(NotAuthorizedError) as raised:
            client.emails.get("m1")
        assert raised.value.code == "invalid_token"
        assert len(gateway.requests) == 2

    def test_are_refreshed_once_for_concurrent_calls(self) -> None:
        refreshes, together = [], threading.Barrier(2)

        def answer(request: httpx.Request) -> httpx.Response:
            if request.url.path == "/auth/refresh":
                refreshes.append(request)
                return httpx.Response(200, json=TOKENS)
            if request.headers["Authorization"] == "Bearer t":
                together.wait(timeout=10)
                return problem(401, "invalid_token")
            return httpx.Response(200, json=whole_email(1))

        http = httpx.Client(transport=httpx.MockTransport(answer))
        with Mailroom("http://gateway", token="t", refresh_token="first", http=http) as client:
            callers = [threading.Thread(target=client.emails.get, args=("m1",)) for _ in range(2)]
            for caller in callers:
                caller.start()
            for caller in callers:
                caller.join(timeout=10)
        assert len(refreshes) == 1

    def test_are_not_needed_to_sign_in(self) -> None:
        gateway = Gateway([httpx.Response(200, json=TOKENS)])
        verifier = new_verifier()
        with gateway.client(token=None) as client:
            assert client.auth.redeem("code", code_verifier=verifier).access_token == "new"
        assert "Authorization" not in gateway.requests[0].headers
        assert len(challenge_of(verifier)) == 43


class TestExport:
    def test_gives_messages_as_they_arrive_however_they_are_cut(self) -> None:
        body = b"".join(httpx.Response(200, json=whole_email(number)).content + b"\n" for number in range(3))
        parts = [body[begin : begin + 7] for begin in range(0, len(body), 7)]
        gateway = Gateway([httpx.Response(200, content=_parts(*parts))])
        with gateway.client() as client:
            assert [message.id for message in client.emails.export(MAILBOX)] == ["m0", "m1", "m2"]

    def test_raises_the_failure_that_ends_it(self) -> None:
        failure = b'{"problem": ' + problem(503, "service_unavailable").content + b"}\n"
        line = httpx.Response(200, json=whole_email(1)).content + b"\n"
        with Gateway([httpx.Response(200, content=line + failure)]).client() as client:
            messages = client.emails.export(MAILBOX)
            assert next(messages).id == "m1"
            with pytest.raises(ApiError, match="service_unavailable"):
                next(messages)

    def test_raises_where_it_breaks_off(self) -> None:
        gateway = Gateway([httpx.Response(200, content=_parts(b'{"id"', LOST))])
        with gateway.client() as client, pytest.raises(UnreachableError, match="broke off"):
            list(client.emails.export(MAILBOX))


class TestSyncs:
    def test_are_waited_for(self) -> None:
        gateway = Gateway([httpx.Response(200, json=SYNC), httpx.Response(200, json=ENDED)])
        with gateway.client() as client:
            assert client.syncs.wait("s1").state == "completed"
        assert [request.headers["Prefer"] for request in gateway.requests] == ["wait=60", "wait=60"]

    def test_are_not_waited_for_longer_than_wanted(self) -> None:
        with Gateway([httpx.Response(200, json=SYNC)]).client() as client, pytest.raises(TimeoutError, match="running"):
            client.syncs.wait("s1", timeout=0)


class TestFollow:
    def test_hands_positions_over_and_survives_a_restart(self) -> None:
        restart: list[Answer] = [
            REFUSED,
            LOST,
            problem(503, "service_unavailable"),
            problem(500, "internal"),
            httpx.Response(502),
        ]
        gateway = Gateway([
            _page(after="p0"),
            _page(_deleted("m1"), after="p1", more=True),
            *restart,
            _page(_deleted("m2"), after="p2"),
            _page(after="p2"),
            problem(410, "resync_required"),
        ])  # fmt: skip
        troubles: list[MailroomError] = []
        with gateway.client(retries=Retries(attempts=1, first=0)) as client:
            pages = client.changes.follow(MAILBOX, on_trouble=troubles.append)
            for position, id_ in (("p1", "m1"), ("p2", "m2")):
                page = next(pages)
                assert (page.next_since, [change.id for change in page.changes]) == (position, [id_])
            with pytest.raises(ResyncRequiredError):
                next(pages)
        assert len(troubles) == len(restart)
        assert [request.url.params.get("since") for request in gateway.requests] == [
            None, "p0", *["p1"] * (len(restart) + 1), "p2", "p2",
        ]  # fmt: skip

    def test_logs_what_it_repeats_where_nobody_else_hears_of_it(self, caplog: pytest.LogCaptureFixture) -> None:
        gateway = Gateway([httpx.Response(404, text="<html>"), _page(_deleted("m1"), after="p1")])
        with gateway.client() as client:
            assert next(client.changes.follow(MAILBOX, "p0")).next_since == "p1"
        [told] = [record.getMessage() for record in caplog.records if record.name == "mailroom_client"]
        assert told.startswith("changes are asked for again: 404 Not Found from http://gateway/emails/changes?")

    def test_streams_pages_whatever_pieces_they_come_in(self) -> None:
        events = [
            b"event: changes\nid: %s\ndata: %s\n\n" % (after.encode(), _page(_deleted(name), after=after).content)
            for name, after in (("m1", "p1"), ("m2", "p2"))
        ]
        body = b":\n\n".join(events)
        pieces = [body[start : start + 7] for start in range(0, len(body), 7)]
        gateway = Gateway([httpx.Response(200, content=iter(pieces))])
        with gateway.client() as client:
            assert [page.next_since for page in client.changes.stream(MAILBOX, "p0")] == ["p1", "p2"]
        assert gateway.requests[0].url.params["since"] == "p0"

    def test_streams_until_a_problem(self) -> None:
        gone = b"event: problem\ndata: " + problem(410, "resync_required").content + b"\n\n"
        gateway = Gateway([httpx.Response(200, content=gone)])
        with gateway.client() as client, pytest.raises(ResyncRequiredError):
            next(client.changes.stream(MAILBOX, "p0"))

    def test_ends_with_a_refusal_that_no_time_heals(self) -> None:
        gateway = Gateway([problem(404, "mailbox_not_found")])
        with gateway.client() as client, pytest.raises(NotFoundError):
            next(client.changes.follow(MAILBOX, "p0"))

    async def test_is_the_same_without_blocking(self) -> None:
        gateway = Gateway([REFUSED, _page(_deleted("m1"), after="p1")])
        async with gateway.async_client() as client, asyncio.timeout(30):
            async for page in client.changes.follow(MAILBOX, "p0"):
                assert page.next_since == "p1"
                break


def _parts(*parts: bytes | Exception) -> Iterator[bytes]:
    for part in parts:
        if isinstance(part, Exception):
            raise part
        yield part
