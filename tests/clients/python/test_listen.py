"""`mailroom listen`: what it sends, when it tries again, and what it tells."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from mailroom_cli.failures import CommandError
from mailroom_cli.forwarding import Event, Forwarder, forward
from mailroom_cli.main import app
from mailroom_client import MailroomError, NotFoundError, verify_webhook
from mailroom_client.events import LabelEvent, MailboxEvent, MessageEvent, WebhookEvent
from mailroom_client.models import Delivery
from mailroom_client.signatures import new_secret
from standardwebhooks.webhooks import Webhook
from typer.testing import CliRunner

from tests.support.clients.gateways import AT_ONCE, Answer, Gateway, email, problem

MAILBOX = UUID("0190b0a0-0000-7000-8000-000000000001")
EVENT = Event("message.deleted", MAILBOX, "p1", b'{"type": "message.deleted"}')
LOST = httpx.ReadError("connection reset")


@dataclass
class Receiver:
    """A local receiver that answers in turn, the last answer again and again, and verifies what it takes."""

    answers: list[Answer]
    secret: str = field(default_factory=new_secret)
    requests: list[httpx.Request] = field(default_factory=list)
    told: list[Delivery] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        Webhook(self.secret).verify(request.read(), dict(request.headers))
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def forwarder(self) -> Forwarder:
        http = httpx.AsyncClient(transport=httpx.MockTransport(self))
        return Forwarder(http, "http://localhost/hook", self.secret, self.told.append, AT_ONCE)

    @property
    def events(self) -> list[WebhookEvent]:
        return [verify_webhook(request.content, request.headers, self.secret) for request in self.requests]


def _page(change: dict[str, Any] | None, *, after: str) -> httpx.Response:
    return httpx.Response(
        200, json={"changes": [change] if change is not None else [], "next_since": after, "has_more": False}
    )


def _change(type_: str, id_: str, **subject: object) -> dict[str, Any]:
    return {"type": type_, "id": id_, "mailbox_id": str(MAILBOX), "email": None, "label": None, **subject}


def _fail(error: MailroomError) -> None:
    raise error


async def _forwarded(receiver: Receiver, *answers: Answer, since: str = "p0", events: Sequence[str] = ()) -> Gateway:
    """Forward what a gateway answers, up to a refusal that ends it."""
    gateway = Gateway([*answers, problem(404, "mailbox_not_found")])
    async with gateway.async_client() as client:
        with pytest.raises(NotFoundError):
            await forward(client, MAILBOX, receiver.forwarder, since=since, events=events, on_trouble=_fail)
    return gateway


class TestEvents:
    async def test_are_those_of_the_feed_in_one_chain(self) -> None:
        receiver = Receiver([httpx.Response(204)])
        label = {"id": "L1", "name": "Work", "type": "user", "role": "none"}
        gateway = await _forwarded(
            receiver,
            _page(_change("created", "m1", email=email(1)), after="p1"),
            _page(_change("label_updated", "L1", label=label), after="p2"),
            _page(_change("sung", "m1"), after="p3"),
            _page(_change("deleted", "m1"), after="p4"),
        )
        created, labelled, deleted = receiver.events
        assert isinstance(created, MessageEvent)
        assert isinstance(labelled, LabelEvent)
        assert (created.type, created.data.email and created.data.email.subject) == ("message.created", "number 1")
        assert json.loads(receiver.requests[0].content)["data"]["email"] == email(1)
        assert (labelled.type, labelled.data.label and labelled.data.label.name) == ("label.updated", "Work")
        assert isinstance(deleted, MessageEvent)
        assert (deleted.type, deleted.data.email_id, deleted.data.email) == ("message.deleted", "m1", None)
        chain = [(event.data.previous_position, event.data.position) for event in (created, labelled, deleted)]
        assert chain == [("p0", "p1"), ("p1", "p2"), ("p2", "p4")]
        assert [event.data.chain_start for event in (created, labelled, deleted)] == [True, False, False]
        assert {request.url.params.get("limit") for request in gateway.requests} == {"1"}

    async def test_are_of_the_types_that_are_asked_for(self) -> None:
        receiver = Receiver([httpx.Response(204)])
        created, deleted = _page(_change("created", "m1"), after="p1"), _page(_change("deleted", "m1"), after="p2")
        await _forwarded(receiver, created, deleted, events=["message.deleted"])
        [event] = receiver.events
        assert isinstance(event, MessageEvent)
        assert (event.type, event.data.previous_position) == ("message.deleted", "p0")

    async def test_tell_that_changes_are_no_longer_known_and_go_on(self) -> None:
        receiver = Receiver([httpx.Response(204)])
        lost, now = problem(410, "resync_required"), _page(None, after="p8")
        deletion = _page(_change("deleted", "m1"), after="p9")
        await _forwarded(receiver, lost, now, deletion, events=["message.deleted"])
        gap, deleted = receiver.events
        assert isinstance(gap, MailboxEvent)
        assert isinstance(deleted, MessageEvent)
        assert (gap.type, gap.data.position) == ("mailbox.resync_required", "p8")
        assert (deleted.data.previous_position, deleted.data.position) == ("p8", "p9")


class TestDeliveries:
    @pytest.mark.parametrize(
        "trouble", [LOST, httpx.Response(500), httpx.Response(302), httpx.Response(429), httpx.ConnectTimeout("")]
    )
    async def test_wait_for_a_receiver_that_is_down(self, trouble: Answer) -> None:
        receiver = Receiver([*[trouble] * 4, httpx.Response(200, text="taken")])
        await receiver.forwarder.deliver(EVENT)
        assert {request.headers["webhook-id"] for request in receiver.requests} == {EVENT.id}
        assert [told.state for told in receiver.told] == [*["failing"] * 4, "delivered"]
        last = receiver.told[-1]
        assert (last.tries, last.attempts[-1].status, last.attempts[-1].body) == (5, 200, "taken")
        assert last.ended_at is not None
        first = receiver.told[0]
        assert (first.attempts[0].status is None) == isinstance(trouble, Exception)
        assert (first.attempts[0].error is None) != isinstance(trouble, Exception)

    async def test_of_a_refused_event_are_tried_three_times(self) -> None:
        receiver = Receiver([httpx.Response(400)])
        await receiver.forwarder.deliver(EVENT)
        assert [told.state for told in receiver.told] == ["failing", "failing", "parked"]

    async def test_end_where_nothing_more_is_wanted(self) -> None:
        receiver = Receiver([httpx.Response(410)])
        with pytest.raises(CommandError, match="wants nothing more"):
            await receiver.forwarder.deliver(EVENT)
        assert [told.state for told in receiver.told] == ["abandoned"]


class TestArguments:
    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (["--forward-to", "localhost:3000"], "--forward-to"),
            (
                ["--forward-to", "http://localhost", "--event", "message.sung"],
                "message.sung is none of message.created",
            ),
            (["--forward-to", "http://localhost", "--secret", "whsec_c2hvcnQ="], "a secret of a webhook is whsec_"),
        ],
    )
    def test_that_are_wrong_are_told_before_anything_is_sent(
        self, tmp_path: Path, arguments: list[str], told: str
    ) -> None:
        environment = {"MAILROOM_CONFIG": str(tmp_path / "c"), "MAILROOM_URL": "http://127.0.0.1:9", "COLUMNS": "200"}
        done = CliRunner().invoke(app, ["listen", *arguments], env=environment)
        assert (done.exit_code, told in done.stderr) == (2, True), done.stderr
