"""The sender of Gmail's pushes: it signs tokens, and publishes the keys that verify them."""

import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import count

import httpx

from services.kit.http.jwks import RETRY_INTERVAL, keys_at
from services.kit.http.outbound import Egress
from services.kit.jwks import KeySet
from services.mail.providers.errors import ProviderUnavailableError
from services.mail.providers.gmail.push import GmailPush
from services.mail.providers.gmail.push_sender import Sender
from services.mail.providers.notifications import HookRequest
from services.sandbox.google.oauth.signing_keys import SigningKeys

SENDER = Sender(
    issuer="https://accounts.google.com", audience="https://mail.example/hooks/google", service_account="push@p.iam"
)


class PushSender:
    """Signs tokens of the service account; `is_down` takes its published keys off the network."""

    def __init__(self) -> None:
        numbers = count()
        self.keys = SigningKeys(lambda: f"key-{next(numbers)}")
        self.is_down = False

    def token(self, **changed: object) -> str:
        """A token that expires in an hour. A claim that is None is left out."""
        now = int(time.time())
        claims = {
            "iss": SENDER.issuer,
            "aud": SENDER.audience,
            "email": SENDER.service_account,
            "email_verified": True,
            "sub": "1",
            "iat": now,
            "exp": now + 3600,
        }
        return self.keys.sign({name: value for name, value in (claims | changed).items() if value is not None})

    @asynccontextmanager
    async def key_set(self) -> AsyncIterator[KeySet]:
        """The published keys, as mail fetches them."""
        async with httpx.AsyncClient(transport=httpx.MockTransport(self._answer)) as http:
            fetch = keys_at("https://google.example/certs", egress=Egress(http, unavailable=ProviderUnavailableError))
            yield KeySet(fetch, algorithm="RS256", retry_interval=RETRY_INTERVAL, monotonic=time.monotonic)

    @asynccontextmanager
    async def receiver(self, **options: Callable[[], datetime]) -> AsyncIterator[GmailPush]:
        """What verifies and parses pushes of this sender; `now` is its clock."""
        async with self.key_set() as keys:
            yield GmailPush(SENDER, keys=keys, **options)

    def _answer(self, _: httpx.Request) -> httpx.Response:
        return httpx.Response(503) if self.is_down else httpx.Response(200, json=self.keys.public_set())


def pushed(token: str, body: bytes) -> HookRequest:
    """The request of a push."""
    return HookRequest(token=token, body=body)


def envelope(email: str, history_id: object = None, *, encode: Callable[[bytes], bytes] = base64.b64encode) -> bytes:
    """A push as Cloud Pub/Sub wraps it."""
    data = json.dumps({"emailAddress": email} | ({} if history_id is None else {"historyId": history_id}))
    message = {"data": encode(data.encode()).decode(), "messageId": "1", "message_id": "1"}
    return json.dumps({"message": message, "subscription": "projects/p/subscriptions/s"}).encode()
