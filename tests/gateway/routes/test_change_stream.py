"""Changes as server-sent events, over real HTTP."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, nullcontext, suppress

import httpx
import pytest
from mailroom.mail.v1 import mail_pb2
from starlette.types import Message

from services.gateway.caller import Caller
from services.gateway.http.event_stream import EventStream
from services.gateway.limits.shares import Shares
from services.gateway.routes.changes import follow
from services.gateway.schemas.changes import ChangePage
from services.kit.errors import AppError, Kind
from services.kit.scopes import Scope
from tests.gateway.conftest import Gateway
from tests.gateway.routes.test_messages import ADA, connect, exactly, message

URL = f"/emails/changes/stream?user_email={ADA}"
GONE = AppError(Kind.GONE, "resync_required", "Too old.")


def page(position: str, *ids: str, has_more: bool = False) -> mail_pb2.ListChangesResponse:
    """Return a page of created messages, after which the feed is at the position."""
    kind = mail_pb2.CHANGE_KIND_CREATED
    changes = [mail_pb2.Change(kind=kind, message_id=each, message=message(1).summary) for each in ids]
    return mail_pb2.ListChangesResponse(
        changes=changes, position=position, has_more=has_more, account_id=f"account-of-{ADA}"
    )


async def events(answer: httpx.Response) -> AsyncGenerator[dict[str, str]]:
    """Yield the fields of each event; a comment is an event with the field of no name."""
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        else:
            yield fields
            fields = {}


async def some(reading: AsyncIterator[dict[str, str]]) -> dict[str, str]:
    """Return the next event; fail if none comes."""
    return await asyncio.wait_for(anext(reading), 30)


async def rest(reading: AsyncIterator[dict[str, str]]) -> list[dict[str, str]]:
    """Return the events until the stream ends, as it should."""
    async with asyncio.timeout(30):
        return [each async for each in reading]


type Feed = asyncio.Queue[mail_pb2.ListChangesResponse | AppError]


@pytest.fixture
def feed(gateway: Gateway) -> Feed:
    """The pages of a connected mailbox's feed, as they come."""
    connect(gateway)
    gateway.mail.feed = asyncio.Queue()
    return gateway.mail.feed


class TestStream:
    async def test_tells_the_position_and_then_changes_as_they_happen(
        self, gateway: Gateway, feed: Feed, over_http: httpx.AsyncClient
    ) -> None:
        feed.put_nowait(page("p1"))
        async with over_http.stream("GET", URL) as answer, aclosing(events(answer)) as reading:
            assert answer.headers["content-type"] == "text/event-stream"
            assert answer.headers["cache-control"] == "no-store"
            # Proxies keep nothing back.
            assert answer.headers["x-accel-buffering"] == "no"
            first = await some(reading)
            assert (first["event"], first["id"]) == ("changes", "p1")
            assert json.loads(first["data"]) == {"changes": [], "next_since": "p1", "has_more": False}
            feed.put_nowait(page("p2", "m1", has_more=True))
            second = await some(reading)
            assert (second["id"], json.loads(second["data"])["changes"][0]["id"]) == ("p2", "m1")
            feed.put_nowait(page("p3", "m2"))
            assert (await some(reading))["id"] == "p3"
        asked = [(each.since, each.wait_seconds, each.include_labels) for each in gateway.mail.followed]
        assert asked[:3] == [("", 0, True), ("p1", 15, True), ("p2", 0, True)]

    async def test_shows_what_the_feed_shows(self, gateway: Gateway, feed: Feed, over_http: httpx.AsyncClient) -> None:
        feed.put_nowait(page("p2", "m1"))
        async with over_http.stream("GET", f"{URL}&since=p1") as answer, aclosing(events(answer)) as reading:
            streamed = json.loads((await some(reading))["data"])
        exactly(ChangePage, streamed)
        assert gateway.mail.followed[0].since == "p1"

    async def test_goes_on_from_the_last_event(
        self, gateway: Gateway, feed: Feed, over_http: httpx.AsyncClient
    ) -> None:
        feed.put_nowait(page("p2", "m1"))
        headers = {"Last-Event-ID": "p1"}
        async with over_http.stream("GET", f"{URL}&since=p0", headers=headers) as answer:
            assert answer.status_code == 200
        assert gateway.mail.followed[0].since == "p1"

    async def test_gives_a_sign_of_life_where_nothing_happens(
        self, gateway: Gateway, feed: Feed, over_http: httpx.AsyncClient
    ) -> None:
        feed.put_nowait(page("p1"))
        async with over_http.stream("GET", f"{URL}&since=p1") as answer, aclosing(events(answer)) as reading:
            assert await some(reading) == {"": ""}
            # An event of the mailbox itself moves the position and is not shown.
            feed.put_nowait(page("p2"))
            assert (await some(reading))["id"] == "p2"
        assert gateway.mail.followed[1].wait_seconds == 15


class TestEnd:
    async def test_before_the_first_event_is_a_problem(self, feed: Feed, over_http: httpx.AsyncClient) -> None:
        feed.put_nowait(GONE)
        refused = await over_http.get(f"{URL}&since=p1")
        assert (refused.status_code, refused.json()["code"]) == (410, "resync_required")

    async def test_with_an_error_is_told_by_the_last_event(self, feed: Feed, over_http: httpx.AsyncClient) -> None:
        for each in (page("p1"), GONE):
            feed.put_nowait(each)
        async with over_http.stream("GET", URL) as answer, aclosing(events(answer)) as reading:
            _, last = await rest(reading)
        assert last["event"] == "problem"
        assert "id" not in last
        problem = json.loads(last["data"])
        assert (problem["code"], problem["status"]) == ("resync_required", 410)

    async def test_comes_with_the_end_of_the_key(
        self, gateway: Gateway, feed: Feed, over_http: httpx.AsyncClient
    ) -> None:
        key = gateway.keys.add(Scope.MAIL_READ)
        gateway.mail.mailboxes[f"key:{gateway.keys.keys[key].key_id}"] = gateway.mail.mailboxes["ada"]
        feed.put_nowait(page("p1"))
        headers = {"Authorization": f"Bearer {key}"}
        async with over_http.stream("GET", URL, headers=headers) as answer, aclosing(events(answer)) as reading:
            assert (await some(reading))["id"] == "p1"
            gateway.keys.revoked.add(gateway.keys.keys[key].key_id)
            await gateway.revocations.refresh()
            told: list[dict[str, str]] = []
            # The connection can be cut before the last event is sent.
            with suppress(httpx.RemoteProtocolError):
                told = await rest(reading)
        assert [json.loads(each["data"])["code"] for each in told] in ([], ["invalid_api_key"])
        assert (await over_http.get(URL, headers=headers)).status_code == 401

    async def test_comes_with_that_of_the_process(
        self, gateway: Gateway, feed: Feed, over_http: httpx.AsyncClient
    ) -> None:
        feed.put_nowait(page("p1"))
        async with over_http.stream("GET", URL) as answer, aclosing(events(answer)) as reading:
            await some(reading)
            gateway.stop.set()
            # The feed may be asked once more, without waiting.
            assert [each["event"] for each in await rest(reading)] in ([], ["changes"])

    async def test_comes_with_that_of_the_access_token(self, gateway: Gateway, feed: Feed) -> None:
        state = gateway.app.state
        caller = Caller(user_id="ada", session_id="s1", expires_at=1000, token=gateway.auth.access_token("ada"))
        request = mail_pb2.ListChangesRequest(user_id="ada", mailbox=mail_pb2.MailboxSelector(email=ADA))
        for position in ("p1", "p2", "p3"):
            feed.put_nowait(page(position))
        times = iter((900.0, 995.5, 1000.0))
        events = follow(
            request, services=state.services, polls=state.long_polls, shares=Shares(), caller=caller,
            clock=lambda: next(times),
        )  # fmt: skip
        assert len([each async for each in events]) == 3
        assert [each.wait_seconds for each in gateway.mail.followed] == [0, 15, 4]

    async def test_comes_to_a_client_that_takes_nothing(self) -> None:
        made, closed = 0, asyncio.Event()

        async def endless() -> AsyncGenerator[bytes]:
            nonlocal made
            try:
                while True:
                    made += 1
                    yield b":\n\n"
            finally:
                closed.set()

        sent: list[Message] = []

        async def send(part: Message) -> None:
            sent.append(part)
            if len(sent) > 3:
                await asyncio.Event().wait()

        stream = EventStream(endless(), share=nullcontext(), patience=0.05)
        await asyncio.wait_for(stream.send_all(send), 30)
        # The body has no end: the server cuts the connection.
        assert sent[-1].get("more_body")
        assert (made, closed.is_set()) == (3, True)


class TestShare:
    @pytest.mark.usefixtures("feed")
    async def test_of_a_user_is_bounded(self, over_http: httpx.AsyncClient) -> None:
        async with AsyncExitStack() as stack:
            for _ in range(16):
                answer = await stack.enter_async_context(over_http.stream("GET", URL))
                assert answer.status_code == 200
            refused = await over_http.get(URL)
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
