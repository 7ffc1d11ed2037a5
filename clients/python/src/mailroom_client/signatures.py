"""Signatures of webhooks (Standard Webhooks 1.0.0): https://github.com/standard-webhooks/standard-webhooks."""

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Mapping, Sequence

from pydantic import ValidationError

from mailroom_client.errors import MailroomError
from mailroom_client.events import WebhookEvent, parse_event

_PREFIX = "whsec_"
# Bytes of a key. A shorter one could be guessed: an empty one is known to all.
_NEW, _SHORTEST = 32, 24


class WebhookVerificationError(MailroomError):
    """A request is no delivery of this webhook: answer 400, and do nothing with it."""


def verify_webhook(
    body: bytes | str,
    headers: Mapping[str, str],
    secret: str | Sequence[str],
    *,
    tolerance: float = 300,
    now: Callable[[], float] = time.time,
) -> WebhookEvent:
    """Return the event of a delivery that one of the secrets has signed. Raises WebhookVerificationError.

    `body` is as it arrived: JSON that was parsed and written again does not verify. Names in `headers` may be in any
    case. Give the old and the new secret while a secret is rotated. Deliveries that were signed more than `tolerance`
    seconds ago, or as far in the future, are refused. Raises ValueError for a secret that is none.
    """
    given = {name.lower(): value for name, value in headers.items()}
    try:
        event_id, sent, signatures = (given[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
    except KeyError as error:
        raise WebhookVerificationError(f"the header {error} is missing") from None
    if not (f"{event_id}{signatures}".isascii() and sent.isascii() and sent.isdigit()):
        raise WebhookVerificationError("the headers are not those of a delivery")
    text = body.encode() if isinstance(body, str) else body
    keys = [_key_of(each) for each in ([secret] if isinstance(secret, str) else secret)]
    expected = [_signature(key, event_id, sent, text) for key in keys]
    if not any(_same(one, other) for one in expected for other in signatures.split(" ")):
        raise WebhookVerificationError("no signature is of a secret of this webhook")
    if abs(now() - int(sent)) > tolerance:
        raise WebhookVerificationError(f"it was signed more than {tolerance:g} seconds ago or ahead")
    try:
        return parse_event(text)
    except ValidationError as error:
        raise WebhookVerificationError(f"the body is no event: {error}") from error


def signed_headers(event_id: str, body: bytes, *, at: float, secret: str) -> dict[str, str]:
    """Return the headers of a delivery at this time, in Unix seconds."""
    sent = str(int(at))
    signature = _signature(_key_of(secret), event_id, sent, body)
    return {"webhook-id": event_id, "webhook-timestamp": sent, "webhook-signature": signature}


def new_secret() -> str:
    """Return a secret at random."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_NEW)).decode()


def _key_of(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) < _SHORTEST:
        raise ValueError(f"a secret of a webhook is {_PREFIX} and base64 of {_SHORTEST} bytes or more")
    return key


def _signature(key: bytes, event_id: str, sent: str, body: bytes) -> str:
    signed = f"{event_id}.{sent}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
