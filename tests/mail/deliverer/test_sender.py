"""Tries that end in a way for which there is no rule."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import override
from uuid import uuid4

from prometheus_client import CollectorRegistry

from services.kit.url_guard.client import GuardedClient, Reply
from services.kit.url_guard.destination import Destination
from services.mail.deliverer.metrics import DelivererMetrics
from services.mail.deliverer.sender import Sender
from services.mail.webhooks.model import Endpoint, EndpointRules, Event, EventType
from services.mail.webhooks.retries import Verdict, verdict_of

NOW = datetime(2026, 11, 30, tzinfo=UTC)
ENDPOINT = Endpoint(
    endpoint_id=uuid4(),
    application_id=uuid4(),
    rules=EndpointRules(url="https://shop.example/hook"),
    disabled_reason="",
    starts_at=NOW,
    failing_since=None,
    refused_in_row=0,
    created_at=NOW,
    disabled_at=None,
)
EVENT = Event(event_id="msg_1", event_type=EventType.WEBHOOK_TEST, timestamp=NOW, data={})


class BrokenClient(GuardedClient):
    """A client with a defect."""

    def __init__(self) -> None: ...

    @override
    async def post(self, to: Destination, *, body: bytes, headers: Mapping[str, str], timeout: float) -> Reply:
        raise RuntimeError


class TestDefect:
    async def test_is_a_failed_try_that_has_a_pause(self) -> None:
        sender = Sender(BrokenClient(), metrics=DelivererMetrics(CollectorRegistry()), seconds=5)
        attempt = await sender.send(ENDPOINT, EVENT, secrets=[])
        assert (attempt.error, verdict_of(attempt)) == ("internal", Verdict.DOWN)
