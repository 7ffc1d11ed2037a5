"""The receivers of docs/webhooks.md, and the npm libraries that it names, take deliveries as Mailroom signs them."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from mailroom.mail.v1 import mail_pb2
from prometheus_client import CollectorRegistry

from deploy.local.ports import Ports
from deploy.local.postgres import Database
from services.kit.errors import AppError, Kind
from services.kit.http.server import serve_http
from services.kit.scopes import Scope
from services.kit.url_guard.client import open_client
from services.mail.deliverer.metrics import DelivererMetrics
from services.mail.deliverer.sender import Sender
from services.mail.webhooks.events import body_of
from services.mail.webhooks.model import Endpoint, EndpointRules, Event, EventType
from tests.gateway.conftest import (  # noqa: F401 - fixtures
    Gateway,
    auth,
    connections,
    gateway,
    keys,
    mail,
    open_gateway,
    services,
)
from tests.gateway.routes.test_messages import ADA, message
from tests.support.mail.running_deliverer import LOOPBACK, endpoint_secrets
from tests.support.mail.webhook_receiver import Received, receiving
from tests.support.peers.node import run_script
from tests.support.peers.webhook_recipes import Recipe, RunningReceiver, express_recipe, fastapi_recipe, running

pytestmark = pytest.mark.peers
type Prepare = Callable[[str], Recipe]
SECRET, OTHER_SECRET = endpoint_secrets().make(), endpoint_secrets().make()
MAILBOX = f"account-of-{ADA}"
# Beyond the tolerance of Standard Webhooks.
LATE = timedelta(minutes=5, seconds=1)
FORGOTTEN = AppError(Kind.GONE, "resync_required", "Too old.")
REFUSED = AppError(Kind.RATE_LIMITED, "rate_limited", "Too many requests.")


def event(kind: EventType = EventType.MESSAGE_CREATED, **data: Any) -> bytes:
    """Return the body of an event of the mailbox, the first of its chain unless `data` says otherwise."""
    chain = {"mailbox_id": MAILBOX, "position": "p1", "previous_position": "p0", "chain_start": True, "replayed": False}
    return body_of(Event(event_id="", event_type=kind, timestamp=datetime.now(UTC), data=chain | data))


def created(email_id: str, **data: Any) -> bytes:
    """Return the body of an event that tells a new message, whose subject is not ASCII."""
    return event(email_id=email_id, email={"id": email_id, "subject": "Grüße 📬"}, **data)


@pytest.fixture(scope="module", params=["fastapi", "express"])
def prepare(
    request: pytest.FixtureRequest,
    ports: Ports,
    tmp_path_factory: pytest.TempPathFactory,
    create_database: Callable[[str], Database],
) -> Prepare:
    """Each receiver in turn: call it for one with an empty store."""

    def prepared(name: str) -> Recipe:
        folder, port = tmp_path_factory.mktemp(name), ports.free()
        if request.param == "fastapi":
            return fastapi_recipe(folder, port=port)
        return express_recipe(folder, port=port, database=create_database(name))

    return prepared


@pytest.fixture(scope="module")
async def receiver(prepare: Prepare) -> AsyncIterator[RunningReceiver]:
    """A receiver that has no need of Mailroom's API."""
    async with running(prepare("verify"), secret=SECRET, mailroom="http://127.0.0.1:9", api_key="none") as receiver:
        yield receiver


@pytest.fixture
async def copying(prepare: Prepare, gateway: Gateway) -> AsyncIterator[RunningReceiver]:  # noqa: F811
    """A receiver beside the gateway, which knows one mailbox of the receiver's application."""
    api_key = gateway.keys.add(Scope.MAIL_READ)
    gateway.mail.connect(gateway.keys.subject(api_key), ADA)
    gateway.mail.feed = asyncio.Queue()
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(serve_http(gateway.app, host="127.0.0.1", port=0))
        url = f"http://127.0.0.1:{port}"
        yield await stack.enter_async_context(running(prepare("copy"), secret=SECRET, mailroom=url, api_key=api_key))


class TestSignature:
    @pytest.mark.parametrize("secrets", [(SECRET,), (SECRET, OTHER_SECRET), (OTHER_SECRET, SECRET)])
    async def test_is_accepted_with_either_secret_of_a_rotation(
        self, receiver: RunningReceiver, secrets: tuple[str, ...]
    ) -> None:
        event_id = f"msg_{uuid4().hex}"
        assert await receiver.deliver(event_id, created("m1"), secrets=secrets) == 204
        assert await receiver.stored(event_id) == 1

    async def test_is_refused_with_other_secrets_only(self, receiver: RunningReceiver) -> None:
        assert await receiver.deliver("msg_other", created("m1"), secrets=[OTHER_SECRET]) == 400
        assert await receiver.stored("msg_other") == 0

    async def test_is_refused_after_one_changed_byte(self, receiver: RunningReceiver) -> None:
        body = created("m1")
        assert await receiver.deliver("msg_byte", body, sent=body.replace(b"m1", b"m2", 1)) == 400
        assert await receiver.stored("msg_byte") == 0

    async def test_is_refused_for_json_written_anew(self, receiver: RunningReceiver) -> None:
        body = created("m1")
        assert await receiver.deliver("msg_json", body, sent=json.dumps(json.loads(body)).encode()) == 400

    async def test_is_refused_after_five_minutes(self, receiver: RunningReceiver) -> None:
        assert await receiver.deliver("msg_late", created("m1"), age=LATE) == 400
        assert await receiver.stored("msg_late") == 0
        assert await receiver.deliver("msg_late", created("m1"), age=timedelta(minutes=4)) == 204

    @pytest.mark.parametrize("signature", ["", "v1", "v1,a,b", "v1,ü"])
    async def test_of_another_form_is_refused(self, receiver: RunningReceiver, signature: str) -> None:
        headers = [(b"webhook-id", b"msg_form"), (b"webhook-timestamp", b"%d" % time.time())]
        raw = httpx.Headers([*headers, (b"webhook-signature", signature.encode())])
        assert await receiver.post(created("m1"), raw) == 400

    async def test_is_wanted(self, receiver: RunningReceiver) -> None:
        for body in (created("m1"), b""):
            assert await receiver.post(body, httpx.Headers()) == 400


class TestAnswer:
    async def test_comes_after_the_event_is_stored(self, receiver: RunningReceiver) -> None:
        await receiver.store.query("ALTER TABLE events RENAME TO moved")
        try:
            assert await receiver.deliver("msg_kept", created("m1")) == 500
        finally:
            await receiver.store.query("ALTER TABLE moved RENAME TO events")
        assert await receiver.deliver("msg_kept", created("m1")) == 204
        assert await receiver.stored("msg_kept") == 1

    async def test_to_a_repeated_event_is_given_and_the_event_taken_once(self, receiver: RunningReceiver) -> None:
        for body in (created("m1"), created("m1", replayed=True)):
            assert await receiver.deliver("msg_twice", body) == 204
        assert await receiver.stored("msg_twice") == 1

    async def test_to_a_test_is_given(self, receiver: RunningReceiver) -> None:
        test = Event(
            event_id="", event_type=EventType.WEBHOOK_TEST, timestamp=datetime.now(UTC), data={"webhook_id": "1"}
        )
        assert await receiver.deliver("msg_test", body_of(test)) == 204
        await receiver.until_applied()


def page(position: str, *changes: mail_pb2.Change, has_more: bool = False) -> mail_pb2.ListChangesResponse:
    """Return a page of the feed."""
    return mail_pb2.ListChangesResponse(changes=changes, position=position, has_more=has_more, account_id=MAILBOX)


def change(number: int, **fields: Any) -> mail_pb2.Change:
    """Return a change that created a message, or deleted it."""
    kind = mail_pb2.CHANGE_KIND_CREATED if not fields else fields["kind"]
    found = message(number).summary if kind == mail_pb2.CHANGE_KIND_CREATED else None
    return mail_pb2.Change(kind=kind, message_id=f"m{number}", message=found)


async def copied(receiver: RunningReceiver) -> tuple[list[str], str]:
    """Return the emails that a receiver has, and the position of its mailbox, once all events are applied."""
    await receiver.until_applied()
    emails = await receiver.store.query("SELECT id FROM emails ORDER BY id")
    [(position,)] = await receiver.store.query(f"SELECT position FROM mailboxes WHERE id = '{MAILBOX}'")  # noqa: S608
    return [email_id for (email_id,) in emails], position


class TestGap:
    async def test_is_closed_from_the_feed(self, copying: RunningReceiver, gateway: Gateway) -> None:  # noqa: F811
        feed = gateway.mail.feed
        assert feed is not None
        await copying.deliver("msg_1", created("m1"))
        await copying.deliver("msg_2", created("m2", position="p2", previous_position="p1", chain_start=False))
        assert await copied(copying) == (["m1", "m2"], "p2")
        assert gateway.mail.followed == []
        feed.put_nowait(page("p4", change(3), change(1, kind=mail_pb2.CHANGE_KIND_DELETED), has_more=True))
        feed.put_nowait(page("p9", change(4), change(5)))
        # That of p3 and p4 is missed.
        await copying.deliver("msg_5", created("m5", position="p5", previous_position="p4", chain_start=False))
        assert await copied(copying) == (["m2", "m3", "m4", "m5"], "p5")
        assert [(each.mailbox.account_id, each.since) for each in gateway.mail.followed] == [
            (MAILBOX, "p2"),
            (MAILBOX, "p4"),
        ]
        # The chain goes on; an event that was asked for again stands apart from it.
        await copying.deliver("msg_6", created("m6", position="p6", previous_position="p5", chain_start=False))
        await copying.deliver("msg_3", created("m3", position="p3", previous_position=None, chain_start=False))
        assert await copied(copying) == (["m2", "m3", "m4", "m5", "m6"], "p6")
        assert len(gateway.mail.followed) == 2

    async def test_that_cannot_be_closed_keeps_back_its_mailbox_only(
        self,
        copying: RunningReceiver,
        gateway: Gateway,  # noqa: F811
    ) -> None:
        feed = gateway.mail.feed
        assert feed is not None
        gateway.mail.failure = REFUSED
        await copying.deliver("msg_1", created("m1"))
        await copying.deliver("msg_3", created("m3", position="p3", previous_position="p2", chain_start=False))
        await copying.deliver("msg_4", created("m4", position="p4", previous_position="p3", chain_start=False))
        await copying.deliver("msg_other", created("m0", mailbox_id="another"))
        await copying.until_kept_back("msg_3", "msg_4")
        assert await copying.store.query("SELECT id FROM emails ORDER BY id") == [("m0",), ("m1",)]
        # Refused once more, which keeps back the second one, too.
        feed.put_nowait(REFUSED)
        feed.put_nowait(page("p4", change(2), change(3), change(4)))
        gateway.mail.failure = None
        assert await copied(copying) == (["m0", "m1", "m2", "m3", "m4"], "p4")
        assert [each.since for each in gateway.mail.followed] == ["p1", "p1"]

    async def test_beyond_the_feed_is_closed_by_a_new_copy(
        self,
        copying: RunningReceiver,
        gateway: Gateway,  # noqa: F811
    ) -> None:
        feed = gateway.mail.feed
        assert feed is not None
        gateway.mail.messages[MAILBOX] = [message(number) for number in range(1000, 1201)]
        listed = [f"m{number}" for number in range(1000, 1201)]
        await copying.deliver("msg_1", created("m1"))
        feed.put_nowait(FORGOTTEN)
        await copying.deliver("msg_5", created("m1000", position="p5", previous_position="p4", chain_start=False))
        assert await copied(copying) == (listed, "p5")
        del gateway.mail.messages[MAILBOX][0]
        resync = event(EventType.RESYNC_REQUIRED, position="p7", previous_position="p5", chain_start=False)
        await copying.deliver("msg_7", resync)
        assert await copied(copying) == (listed[1:], "p7")
        end = event(EventType.DISCONNECTED, position="p8", previous_position="p7", chain_start=False)
        await copying.deliver("msg_8", end)
        await copying.until_applied()
        assert await copying.store.query("SELECT id FROM emails UNION ALL SELECT id FROM mailboxes") == []


async def sent(secrets: list[str], *, age: timedelta = timedelta(0)) -> Received:
    """Return what a receiver got of a delivery by the deliverer's sender."""
    told = Event(
        event_id=f"msg_{uuid4().hex}",
        event_type=EventType.MESSAGE_CREATED,
        timestamp=datetime.now(UTC),
        data={"email_id": "m1", "email": {"subject": "Grüße 📬"}},
    )
    async with receiving() as receiver, open_client(LOOPBACK, connections=1) as client:
        endpoint = Endpoint(
            endpoint_id=uuid4(),
            application_id=uuid4(),
            rules=EndpointRules(url=receiver.url),
            disabled_reason="",
            starts_at=told.timestamp,
            failing_since=None,
            refused_in_row=0,
            created_at=told.timestamp,
            disabled_at=None,
        )
        sender = Sender(
            client,
            metrics=DelivererMetrics(CollectorRegistry()),
            seconds=30,
            allow_http=True,
            now=lambda: datetime.now(UTC) - age,
        )
        attempt = await sender.send(endpoint, told, secrets=secrets)
    assert attempt.status == 200
    [received] = receiver.received
    return received


class TestLibrariesOfNpm:
    async def test_verify_what_the_deliverer_sends(self) -> None:
        rotated, late = await sent([SECRET, OTHER_SECRET]), await sent([SECRET], age=LATE)
        third = endpoint_secrets().make()
        changed = bytes([rotated.body[0] ^ 1]) + rotated.body[1:]
        cases = [
            (SECRET, rotated, rotated.body),
            (OTHER_SECRET, rotated, rotated.body),
            (third, rotated, rotated.body),
            (SECRET, rotated, changed),
            (SECRET, late, late.body),
        ]
        given = [
            {"secret": secret, "headers": delivery.headers, "body": base64.b64encode(body).decode()}
            for secret, delivery, body in cases
        ]
        unmatched = "No matching signature found"
        verdicts = ["verified", "verified", unmatched, unmatched, "Message timestamp too old"]
        assert run_script("webhooks", given) == {"standardwebhooks": verdicts, "svix": verdicts}
