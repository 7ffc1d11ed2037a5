"""Exports over real HTTP: the stream, its failures, and clients that leave."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest
from pydantic import TypeAdapter

from services.gateway.schemas.emails import Email
from services.kit.errors import AppError, Kind
from services.kit.scopes import Scope
from tests.gateway.conftest import Gateway
from tests.gateway.routes.test_messages import ADA, connect, full_message, message


async def until_end(pieces: AsyncIterator[bytes]) -> None:
    """Read what comes."""
    async for _ in pieces:
        pass


class TestExport:
    async def test_holds_a_whole_message_in_each_line(self, gateway: Gateway, over_http: httpx.AsyncClient) -> None:
        connect(gateway, full_message(), message(2))
        answer = await over_http.get(f"/emails/export?user_email={ADA}&q=from:grace&label=Work&unread=false")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
        lines = [json.loads(line) for line in answer.text.splitlines()]
        for line in lines:
            TypeAdapter(Email).validate_python(line)
        shown = (await over_http.get(f"/emails/{lines[0]['id']}")).json()
        assert lines[0] == shown
        assert [line["id"] for line in lines] == ["m1", "m2"]
        [request] = gateway.mail.exports
        assert (request.query, request.label, request.unread) == ("from:grace", "Work", False)

    async def test_of_nothing_is_empty(self, gateway: Gateway, over_http: httpx.AsyncClient) -> None:
        connect(gateway)
        answer = await over_http.get(f"/emails/export?user_email={ADA}")
        assert (answer.status_code, answer.content) == (200, b"")

    async def test_that_cannot_begin_is_a_problem(self, gateway: Gateway, over_http: httpx.AsyncClient) -> None:
        answer = await over_http.get(f"/emails/export?user_email={ADA}")
        assert (answer.status_code, answer.json()["code"]) == (404, "mailbox_not_found")
        connect(gateway)
        gateway.mail.failure = AppError(Kind.INVALID, "invalid_query", "At column 1: what?", {"column": "1"})
        answer = await over_http.get(f"/emails/export?user_email={ADA}&q=(")
        assert (answer.status_code, answer.json()["column"]) == (400, 1)

    async def test_that_breaks_off_says_why_and_ends_before_its_end(
        self, gateway: Gateway, over_http: httpx.AsyncClient
    ) -> None:
        connect(gateway, message(1), message(2))
        gateway.mail.export_failure = AppError(Kind.UNAVAILABLE, "service_unavailable", "The database has gone.")
        received: list[bytes] = []
        with pytest.raises(httpx.RemoteProtocolError):
            await self._receive(over_http, received)
        first, last = map(json.loads, b"".join(received).splitlines())
        assert first["id"] == "m1"
        assert (last["problem"]["code"], last["problem"]["status"]) == ("service_unavailable", 503)

    async def _receive(self, client: httpx.AsyncClient, received: list[bytes]) -> None:
        async with client.stream("GET", f"/emails/export?user_email={ADA}") as answer:
            async for piece in answer.aiter_bytes():
                received.append(piece)  # noqa: PERF401 - what came before the error is wanted, too

    async def test_is_refused_beyond_a_user_s_share(self, gateway: Gateway, over_http: httpx.AsyncClient) -> None:
        connect(gateway, message(1))
        gateway.mail.export_never_ends = True
        async with AsyncExitStack() as stack:
            for _ in range(2):
                unread = over_http.stream("GET", f"/emails/export?user_email={ADA}")
                assert (await stack.enter_async_context(unread)).status_code == 200
            refused = await over_http.get(f"/emails/export?user_email={ADA}")
            assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
            assert refused.headers["retry-after"] == "1"
        gateway.mail.export_never_ends = False
        async with asyncio.timeout(30):
            while (await over_http.get(f"/emails/export?user_email={ADA}")).status_code == 429:
                pass

    async def test_ends_with_the_key_also_where_nothing_is_sent(
        self, gateway: Gateway, over_http: httpx.AsyncClient
    ) -> None:
        connect(gateway, message(1))
        key = gateway.keys.add(Scope.MAIL_READ)
        gateway.mail.mailboxes[f"key:{gateway.keys.keys[key].key_id}"] = gateway.mail.mailboxes["ada"]
        gateway.mail.export_never_ends = True
        headers = {"Authorization": f"Bearer {key}"}
        async with over_http.stream("GET", f"/emails/export?user_email={ADA}", headers=headers) as answer:
            received = answer.aiter_raw()
            await anext(received)
            gateway.keys.revoked.add(gateway.keys.keys[key].key_id)
            await gateway.revocations.refresh()
            with pytest.raises(httpx.RemoteProtocolError):
                await asyncio.wait_for(until_end(received), 30)
        async with asyncio.timeout(30):
            await gateway.mail.exports_ended.wait()

    async def test_ends_everywhere_when_the_client_leaves(self, gateway: Gateway, over_http: httpx.AsyncClient) -> None:
        connect(gateway, message(1))
        gateway.mail.export_never_ends = True
        async with over_http.stream("GET", f"/emails/export?user_email={ADA}") as answer:
            await anext(answer.aiter_raw())
        async with asyncio.timeout(30):
            await gateway.mail.exports_ended.wait()
