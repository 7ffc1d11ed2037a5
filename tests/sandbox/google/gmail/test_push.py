"""watch, and notifications as Pub/Sub delivers them: signed, wrapped, repeated until acknowledged, rate-limited."""

import asyncio
import json
from base64 import b64decode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import jwt
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.kit.http.server import serve_http
from tests.support.sandbox.harness import ISSUER
from tests.support.sandbox.mail_client import EMAIL, MailClient, open_mail, sign_in

ACCOUNT = "push@sandbox.iam.gserviceaccount.com"
TOPIC = {"topicName": "projects/p/topics/t"}


@dataclass
class Receiver:
    """A subscriber that refuses the first `refuse` notifications."""

    refuse: int = 0
    requests: list[tuple[dict[str, str], dict[str, Any]]] = field(default_factory=list)
    _arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def receive(self, request: Request) -> Response:
        async with self._arrived:
            self.requests.append((dict(request.headers), await request.json()))
            self._arrived.notify_all()
        return Response(status_code=503 if len(self.requests) <= self.refuse else 204)

    async def wait_for(self, count: int) -> list[dict[str, Any]]:
        """Return the decoded data of the first `count` notifications."""
        async with asyncio.timeout(30), self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= count)
        return [json.loads(b64decode(body["message"]["data"])) for _, body in self.requests[:count]]


@asynccontextmanager
async def _subscribed(*, refuse: int = 0) -> AsyncIterator[tuple[MailClient, Receiver]]:
    receiver = Receiver(refuse)
    app = Starlette(routes=[Route("/push", receiver.receive, methods=["POST"])])
    async with serve_http(app, host="127.0.0.1", port=0) as port:
        endpoint = f"http://127.0.0.1:{port}/push"
        async with open_mail(
            3, push_endpoint=endpoint, push_audience="https://me.example/hook", push_service_account=ACCOUNT
        ) as mail:
            yield mail, receiver


@pytest.fixture
async def subscribed() -> AsyncIterator[tuple[MailClient, Receiver]]:
    async with _subscribed() as both:
        yield both


async def _until(condition: Callable[[dict[str, Any]], bool], mail: MailClient) -> dict[str, Any]:
    async with asyncio.timeout(30):
        while True:
            report: dict[str, Any] = await mail.control("GET", "push")
            if condition(report):
                return report
            await asyncio.sleep(0)


class TestDelivery:
    async def test_a_watch_is_answered_by_a_first_notification(self, subscribed: tuple[MailClient, Receiver]) -> None:
        mail, receiver = subscribed
        answer = (await mail.post("watch", TOPIC)).json()
        assert int(answer["expiration"]) == pytest.approx((mail.clock.now() + 7 * 86_400) * 1000, abs=5000)
        assert await receiver.wait_for(1) == [{"emailAddress": EMAIL, "historyId": answer["historyId"]}]

    async def test_it_is_wrapped_and_signed(self, subscribed: tuple[MailClient, Receiver]) -> None:
        mail, receiver = subscribed
        await mail.post("watch", TOPIC)
        await receiver.wait_for(1)
        [(headers, body)] = receiver.requests
        assert body.keys() == {"message", "subscription"}
        message = body["message"]
        assert message["messageId"] == message["message_id"]
        assert message["publishTime"] == message["publish_time"]
        token = headers["authorization"].removeprefix("Bearer ")
        keys = jwt.PyJWKSet.from_dict((await mail.http.get("/oauth2/v3/certs")).json())
        key = keys[jwt.get_unverified_header(token)["kid"]]
        claims = jwt.decode(token, key, algorithms=["RS256"], audience="https://me.example/hook", issuer=ISSUER)
        assert (claims["email"], claims["email_verified"]) == (ACCOUNT, True)

    async def test_it_is_repeated_until_it_is_acknowledged(self) -> None:
        async with _subscribed(refuse=1) as (mail, receiver):
            await mail.post("watch", TOPIC)
            first, second = await receiver.wait_for(2)
            assert first == second
            report = await _until(lambda report: report["acknowledged"] == 1, mail)
            assert (report["sent"], report["refused"]) == (2, 1)

    async def test_events_within_a_second_are_dropped(self, subscribed: tuple[MailClient, Receiver]) -> None:
        mail, receiver = subscribed
        await mail.post("watch", TOPIC)
        for _ in range(3):
            await mail.deliver(subject="x")
        mail.clock.advance(1.5)
        await mail.deliver(subject="y")
        _, second = await receiver.wait_for(2)
        assert second["historyId"] == (await mail.json("profile"))["historyId"]
        assert (await mail.control("GET", "push"))["dropped"] == 3

    async def test_a_watch_ends_by_time_or_by_stop(self, subscribed: tuple[MailClient, Receiver]) -> None:
        mail, receiver = subscribed
        for end in ("time", "stop"):
            await mail.post("watch", TOPIC)
            if end == "stop":
                assert (await mail.post("stop")).status_code == 204
            mail.clock.advance(8 * 86_400 if end == "time" else 5)
            # Access tokens end before a watch does: the control API needs none.
            await mail.deliver(subject="unheard")
            if end == "time":
                mail = await _signed_in_again(mail)
        await mail.control("POST", f"users/{EMAIL}/push", {"history_id": "18446744073709551999"})
        heard = [data["historyId"] for data in await receiver.wait_for(3)]
        assert heard[-1] == "18446744073709551999"
        assert len(receiver.requests) == 3

    async def test_a_watch_ends_with_its_account(self, subscribed: tuple[MailClient, Receiver]) -> None:
        mail, _ = subscribed
        await mail.post("watch", TOPIC)
        await mail.control("DELETE", f"users/{EMAIL}")
        assert (await mail.control("GET", "push"))["watches"] == {}

    async def test_labels_select_the_notifications(self, subscribed: tuple[MailClient, Receiver]) -> None:
        mail, receiver = subscribed
        await mail.post("watch", TOPIC | {"labelIds": ["INBOX"]})
        mail.clock.advance(5)
        await mail.deliver(subject="archived", labels=["UNREAD"])
        await mail.deliver(subject="in", labels=["INBOX"])
        data = await receiver.wait_for(2)
        assert data[1]["historyId"] == (await mail.json("profile"))["historyId"]

    async def test_delivery_has_faults_of_its_own(self, subscribed: tuple[MailClient, Receiver]) -> None:
        mail, receiver = subscribed
        await mail.control("PUT", "push", {"duplicate": 100, "numeric_history_id": True})
        await mail.post("watch", TOPIC)
        first, second = await receiver.wait_for(2)
        assert first == second
        assert isinstance(first["historyId"], int)
        await mail.control("PUT", "push", {"drop": 100})
        mail.clock.advance(5)
        await mail.deliver(subject="lost")
        assert (await mail.control("GET", "push"))["dropped"] == 1


async def _signed_in_again(mail: MailClient) -> MailClient:
    return await sign_in(mail.http, mail.clock)


class TestRefusals:
    async def test_without_an_endpoint_watching_works_and_nothing_is_sent(self) -> None:
        async with open_mail(1) as mail:
            assert (await mail.post("watch", TOPIC)).status_code == 200
            assert (await mail.control("GET", "push"))["sent"] == 0

    async def test_a_label_that_does_not_exist_is_refused(self) -> None:
        async with open_mail(1) as mail:
            answer: httpx.Response = await mail.post("watch", TOPIC | {"labelIds": ["nope"]})
            assert answer.status_code == 404
