"""Deliveries of webhooks as the client verifies and types them."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from mailroom_client import WebhookVerificationError, verify_webhook
from mailroom_client.events import (
    MessageEvent,
    UnknownEvent,
    parse_event,
)
from mailroom_client.signatures import new_secret, signed_headers
from standardwebhooks.webhooks import Webhook
from svix.webhooks import Webhook as SvixWebhook

from tests.support.gateway.document import openapi_document
from tests.support.gateway.samples import sample

SECRET, OTHER = new_secret(), new_secret()
NOW = 1_800_000_000
BODY = json.dumps({
    "type": "message.created",
    "timestamp": "2026-11-30T06:00:00.000Z",
    "data": sample("MessageData"),
}).encode()  # fmt: skip


def _headers(*secrets: str, at: int = NOW) -> dict[str, str]:
    """The headers as the reference library signs; with several secrets as while one is rotated."""
    moment = datetime.fromtimestamp(at, UTC)
    signatures = [Webhook(secret).sign("msg_1", moment, BODY.decode()) for secret in secrets]
    return {"webhook-id": "msg_1", "webhook-timestamp": str(at), "webhook-signature": " ".join(signatures)}


def _verified(headers: Mapping[str, str], *secrets: str, body: bytes = BODY) -> Any:
    return verify_webhook(body, headers, secrets, now=lambda: NOW)


def _schemas() -> dict[str, str]:
    """The names of the schemas of all events, by type."""
    mapping = openapi_document()["components"]["schemas"]["WebhookEvent"]["discriminator"]["mapping"]
    return {name: schema.rpartition("/")[2] for name, schema in mapping.items()}


class TestVerification:
    def test_returns_the_event(self) -> None:
        event = verify_webhook(BODY, _headers(SECRET), SECRET, now=lambda: NOW)
        assert isinstance(event, MessageEvent)
        assert event.data.email is not None
        assert event.data.email.mailbox_id == event.data.mailbox_id
        assert verify_webhook(BODY.decode(), _headers(SECRET), SECRET, now=lambda: NOW) == event

    def test_takes_either_secret_while_one_is_rotated(self) -> None:
        third = new_secret()
        for known in (SECRET, OTHER):
            _verified(_headers(SECRET, OTHER), known)
            _verified(_headers(known), SECRET, OTHER)
        with pytest.raises(WebhookVerificationError, match="no signature"):
            _verified(_headers(SECRET, OTHER), third)
        # A signature of another kind stands beside.
        headers = _headers(SECRET)
        _verified(headers | {"webhook-signature": f"v1a,a,b {headers['webhook-signature']}"}, SECRET)

    def test_takes_names_of_headers_in_any_case(self) -> None:
        _verified({name.title(): value for name, value in _headers(SECRET).items()}, SECRET)

    @pytest.mark.parametrize("at", [NOW - 301, NOW + 301])
    def test_refuses_what_was_signed_at_another_time(self, at: int) -> None:
        with pytest.raises(WebhookVerificationError, match="more than 300 seconds"):
            _verified(_headers(SECRET, at=at), SECRET)
        verify_webhook(BODY, _headers(SECRET, at=at), SECRET, tolerance=302, now=lambda: NOW)

    @pytest.mark.parametrize(
        ("change", "body"),
        [
            ({}, BODY + b" "),
            ({"webhook-id": "msg_2"}, BODY),
            ({"webhook-timestamp": str(NOW + 1)}, BODY),
            ({"webhook-timestamp": f"{NOW}.0"}, BODY),
            ({"webhook-timestamp": "\u0661"}, BODY),
            ({"webhook-signature": ""}, BODY),
            ({"webhook-signature": "v1,\ud800"}, BODY),
        ],
    )
    def test_refuses_whatever_was_not_signed(self, change: dict[str, str], body: bytes) -> None:
        with pytest.raises(WebhookVerificationError):
            _verified(_headers(SECRET) | change, SECRET, body=body)

    @pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
    def test_refuses_a_request_without_its_headers(self, name: str) -> None:
        headers = _headers(SECRET)
        del headers[name]
        with pytest.raises(WebhookVerificationError, match=f"'{name}' is missing"):
            _verified(headers, SECRET)

    @pytest.mark.parametrize("secret", ["", "whsec_", "whsec_c2hvcnQ=", "whsec_not base64"])
    def test_takes_no_secret_that_could_be_guessed(self, secret: str) -> None:
        with pytest.raises(ValueError, match="a secret of a webhook is whsec_"):
            _verified(_headers(SECRET), SECRET, secret)

    def test_refuses_a_body_that_is_no_event(self) -> None:
        with pytest.raises(WebhookVerificationError, match="no event"):
            verify_webhook(b"{}", signed_headers("msg_1", b"{}", at=NOW, secret=SECRET), SECRET, now=lambda: NOW)


@pytest.mark.parametrize("library", [Webhook, SvixWebhook])
def test_the_reference_libraries_verify_what_the_client_signs(library: Callable[[str], Any]) -> None:
    headers = signed_headers("msg_1", BODY, at=datetime.now(UTC).timestamp(), secret=SECRET)
    library(SECRET).verify(BODY, headers)
    assert verify_webhook(BODY, headers, SECRET).type == "message.created"


class TestEvents:
    @pytest.mark.parametrize(("name", "documented"), _schemas().items())
    def test_of_every_documented_type_have_its_fields(self, name: str, documented: str) -> None:
        event = parse_event(json.dumps(sample(documented) | {"type": name}))
        assert not isinstance(event, UnknownEvent)
        assert type(event).__name__ == documented
        assert type(event.data).model_fields.keys() == sample(documented)["data"].keys()

    def test_of_newer_servers_are_left_as_they_are(self) -> None:
        text = json.dumps({"type": "mail.sung", "timestamp": "2026-11-30T06:00:00Z", "data": {"notes": 7}})
        event = parse_event(text)
        assert isinstance(event, UnknownEvent)
        assert event.data == {"notes": 7}
