"""Gmail's push notifications: the sender's tokens and the bodies."""

import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kit.errors import AppError, Kind
from services.kit.jwks import KeysUnavailableError
from services.kit.jwt import InvalidTokenError
from services.mail.providers.gmail.push import GmailPush
from services.mail.providers.notifications import HookAnswer, HookRequest, Notification
from tests.support.mail.push_sender import SENDER, PushSender, envelope


@pytest.fixture(scope="module")
def sender() -> PushSender:
    return PushSender()


@pytest.fixture(scope="module")
async def push(sender: PushSender) -> AsyncIterator[GmailPush]:
    async with sender.receiver() as push:
        yield push


def wrapped(data: object) -> bytes:
    """Return a push with this data."""
    return json.dumps({"message": {"data": data}}).encode()


class TestReceive:
    async def test_reads_a_push_of_the_service_account(self, push: GmailPush, sender: PushSender) -> None:
        body = envelope("ada@example.com", 7)
        answer = await push.receive(HookRequest(token=sender.token(), body=body))
        assert answer == HookAnswer(notifications=(Notification(email="ada@example.com", cursor=7, echo=1.1),))

    async def test_acknowledges_what_it_cannot_read(self, push: GmailPush, sender: PushSender) -> None:
        assert await push.receive(HookRequest(token=sender.token(), body=b"{}")) == HookAnswer()

    @pytest.mark.parametrize(("token", "reason"), [("", "missing_token"), ("x", "invalid_token")])
    async def test_refuses_a_push_without_a_valid_token(self, push: GmailPush, token: str, reason: str) -> None:
        with pytest.raises(AppError) as caught:
            await push.receive(HookRequest(token=token, body=envelope("ada@example.com")))
        assert (caught.value.kind, caught.value.reason) == (Kind.UNAUTHENTICATED, reason)


class TestVerify:
    async def test_accepts_a_token_of_the_service_account(self, push: GmailPush, sender: PushSender) -> None:
        await push.verify(sender.token())

    @pytest.mark.parametrize(
        ("changed", "reason"),
        [
            ({"iss": "https://accounts.example"}, "Issuer"),
            ({"aud": "https://other.example/hooks/google"}, "Audience"),
            ({"email": "other@p.iam"}, "another service account"),
            ({"email": None}, "MissingRequiredClaim"),
            ({"email_verified": False}, "another service account"),
            ({"email_verified": "true"}, "another service account"),
            ({"email_verified": None}, "another service account"),
            ({"exp": 0}, "expired"),
            ({"exp": None}, "MissingRequiredClaim"),
            ({"exp": "soon"}, "not a number"),
            # The year 2100: a time close to now could pass on a slow machine.
            ({"iat": 4_102_444_800}, "not valid yet"),
        ],
    )
    async def test_refuses_a_token_with_another_claim(
        self, push: GmailPush, sender: PushSender, changed: dict[str, object], reason: str
    ) -> None:
        with pytest.raises(InvalidTokenError, match=reason):
            await push.verify(sender.token(**changed))

    async def test_refuses_a_token_of_an_unknown_key(self, push: GmailPush) -> None:
        claims = {"iss": SENDER.issuer, "aud": SENDER.audience, "email": SENDER.service_account, "email_verified": True}
        times = {"iat": int(time.time()), "exp": int(time.time()) + 60}
        for token in (
            PushSender().token(sub="x"),
            jwt.encode(claims | times, "x" * 32, "HS256", {"kid": "key-0"}),
            jwt.encode(claims | times, None, "none"),  # type: ignore[arg-type]  # no key at all
        ):
            with pytest.raises(InvalidTokenError):
                await push.verify(token)

    @pytest.mark.parametrize("token", ["", "x", "a.b.c", "\0", "x" * 65_536, "a." * 4000])
    async def test_refuses_malformed_tokens(self, push: GmailPush, token: str) -> None:
        with pytest.raises(InvalidTokenError):
            await push.verify(token)

    async def test_accepts_a_token_until_it_expires(self, push: GmailPush, sender: PushSender) -> None:
        token = sender.token()
        for _ in range(3):
            await push.verify(token)
        async with sender.receiver(now=lambda: datetime.now(UTC) + timedelta(seconds=3700)) as later:
            with pytest.raises(InvalidTokenError, match="expired"):
                await later.verify(token)

    async def test_raises_keys_unavailable_without_the_keys(self) -> None:
        sender = PushSender()
        sender.is_down = True
        async with sender.receiver() as push:
            with pytest.raises(KeysUnavailableError, match="HTTP 503"):
                await push.verify(sender.token())


class TestParse:
    @pytest.mark.parametrize("history_id", [9876543210, "9876543210"])
    @pytest.mark.parametrize(
        "encode",
        [
            base64.b64encode,
            base64.urlsafe_b64encode,
            lambda data: base64.b64encode(data).rstrip(b"="),
            lambda data: base64.urlsafe_b64encode(data).rstrip(b"="),
        ],
    )
    def test_reads_every_format_of_google(
        self, push: GmailPush, history_id: object, encode: Callable[[bytes], bytes]
    ) -> None:
        # The base64 of this address has + and / in the standard alphabet.
        email = "ö~?>>>???@example.com"
        expected = Notification(email=email, cursor=9876543210, echo=1.1)
        assert push.parse(envelope(email, history_id, encode=encode)) == expected

    def test_reads_an_address_without_a_history_id(self, push: GmailPush) -> None:
        assert push.parse(envelope("ada@example.com")) == Notification(email="ada@example.com", cursor=None, echo=1.1)

    @given(body=st.binary(max_size=300) | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(wrapped))
    async def test_returns_none_for_malformed_bodies(self, push: GmailPush, body: bytes) -> None:
        assert push.parse(body) is None

    def test_returns_none_for_64_kb_of_garbage(self, push: GmailPush) -> None:
        assert push.parse(b"\xff" * 65_536) is None
        assert push.parse(b"[" * 65_536) is None
