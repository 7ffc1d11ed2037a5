"""Notifications: who may send them, what they say, and what they set in motion."""

import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import httpx
import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kit.errors import AppError, Kind
from services.kit.http.jwks import KeySet
from services.kit.http.outbound import Egress
from services.mail.model import Lane
from services.mail.notifications import Notification, Push, Sender, parse
from services.mail.providers.base import ProviderUnavailableError
from services.mail.providers.gmail.limits import GMAIL_COSTS
from services.mail.store.control import watches
from services.sandbox.google.oauth.signing_keys import SigningKeys
from tests.mail.conftest import OpenStage
from tests.support.mail.servers import Servers
from tests.support.mail.stage import Stage
from tests.support.mail.waiting import eventually

TOPIC = "projects/p/topics/mail"
SENDER = Sender(
    issuer="https://accounts.google.com", audience="https://mail.example/hooks/google", service_account="push@p.iam"
)
UNKNOWN = b'{"message": {"data": "eyJlbWFpbEFkZHJlc3MiOiAibm9ib2R5QGV4YW1wbGUuY29tIn0="}}'


class Google:
    """Publishes keys, and signs tokens with them."""

    def __init__(self) -> None:
        numbers = count()
        self.keys = SigningKeys(lambda: f"key-{next(numbers)}")
        self.is_down = False

    def token(self, **changed: object) -> str:
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

    def answer(self, _: httpx.Request) -> httpx.Response:
        return httpx.Response(503) if self.is_down else httpx.Response(200, json=self.keys.public_set())


@pytest.fixture(scope="module")
def google() -> Google:
    return Google()


@pytest.fixture
async def push(servers: Servers, google: Google) -> AsyncIterator[Push]:
    google.is_down = False
    async with httpx.AsyncClient(transport=httpx.MockTransport(google.answer)) as http:
        egress = Egress(http, unavailable=ProviderUnavailableError)
        keys = KeySet(url="https://google.example/certs", egress=egress, monotonic=time.monotonic)
        yield Push(servers.pool, keys=keys, sender=SENDER)


def envelope(email: str, history_id: object = None, *, encode: Callable[[bytes], bytes] = base64.b64encode) -> bytes:
    """A push as Cloud Pub/Sub wraps it."""
    data = json.dumps({"emailAddress": email} | ({} if history_id is None else {"historyId": history_id}))
    message = {"data": encode(data.encode()).decode(), "messageId": "1", "message_id": "1"}
    return json.dumps({"message": message, "subscription": "projects/p/subscriptions/s"}).encode()


def wrapped(data: object) -> bytes:
    """Whatever in the place of a message's data."""
    return json.dumps({"message": {"data": data}}).encode()


class TestToken:
    async def test_of_the_service_account_is_accepted(self, push: Push, google: Google) -> None:
        await push.accept(google.token(), UNKNOWN)

    @pytest.mark.parametrize(
        "changed",
        [
            {"iss": "https://accounts.example"},
            {"aud": "https://other.example/hooks/google"},
            {"email": "other@p.iam"},
            {"email": None},
            {"email_verified": False},
            {"email_verified": "true"},
            {"email_verified": None},
            {"exp": 0},
            {"exp": None},
            {"exp": "soon"},
            # The year 2100: a time of today would have come by the time that a slow machine tries it.
            {"iat": 4_102_444_800},
        ],
    )
    async def test_with_another_claim_is_refused(self, push: Push, google: Google, changed: dict[str, object]) -> None:
        await self.refused(push, google.token(**changed))

    async def test_that_is_not_signed_by_a_published_key_is_refused(self, push: Push) -> None:
        await self.refused(push, Google().token(sub="x"))
        claims = {"iss": SENDER.issuer, "aud": SENDER.audience, "email": SENDER.service_account, "email_verified": True}
        times = {"iat": int(time.time()), "exp": int(time.time()) + 60}
        await self.refused(push, jwt.encode(claims | times, "x" * 32, "HS256", {"kid": "key-0"}))
        await self.refused(push, jwt.encode(claims | times, None, "none"))  # type: ignore[arg-type]  # no key at all

    @pytest.mark.parametrize("token", ["", "x", "a.b.c", "\0", "x" * 65_536, "a." * 4000])
    async def test_that_is_none_is_refused(self, push: Push, token: str) -> None:
        await self.refused(push, token)

    async def test_is_refused_where_nobody_may_push(self, servers: Servers, push: Push, google: Google) -> None:
        await self.refused(Push(servers.pool, keys=push._keys, sender=None), google.token())

    async def test_is_good_for_many_deliveries_until_it_expires(
        self, servers: Servers, push: Push, google: Google
    ) -> None:
        later = Push(
            servers.pool, keys=push._keys, sender=SENDER, now=lambda: datetime.now(UTC) + timedelta(seconds=3700)
        )
        token = google.token()
        for _ in range(3):
            await push.accept(token, UNKNOWN)
        await self.refused(later, token)

    async def test_that_cannot_be_checked_is_to_be_sent_again(self, push: Push, google: Google) -> None:
        google.is_down = True
        with pytest.raises(AppError) as caught:
            await push.accept(google.token(), UNKNOWN)
        assert (caught.value.kind, caught.value.reason) == (Kind.UNAVAILABLE, "provider_unavailable")

    async def refused(self, push: Push, token: str) -> None:
        with pytest.raises(AppError) as caught:
            await push.accept(token, UNKNOWN)
        assert (caught.value.kind, caught.value.reason) == (Kind.UNAUTHENTICATED, "invalid_token")


class TestBody:
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
    def test_is_read_in_every_form_that_google_uses(self, history_id: object, encode: Callable[[bytes], bytes]) -> None:
        # The address makes base64 of + and / in the standard alphabet.
        email = "ö~?>>>???@example.com"
        assert parse(envelope(email, history_id, encode=encode)) == Notification(email=email, cursor=9876543210)

    def test_without_a_history_id_still_names_its_address(self) -> None:
        assert parse(envelope("ada@example.com")) == Notification(email="ada@example.com", cursor=None)

    @given(st.binary(max_size=300) | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(wrapped))
    def test_that_is_garbage_is_nothing(self, body: bytes) -> None:
        parse(body)

    def test_of_64_kb_of_garbage_is_nothing(self) -> None:
        assert parse(b"\xff" * 65_536) is None
        assert parse(b"[" * 65_536) is None


class TestHint:
    async def due(self, s: Stage) -> tuple[int, bool, int]:
        row = await s.pool.fetchrow("SELECT hint_seq, due_at <= now() AS due, lane FROM mailbox_schedule")
        assert row is not None
        return row["hint_seq"], row["due"], row["lane"]

    async def test_makes_the_mailbox_due_whatever_the_case_of_its_address(
        self, stage: OpenStage, push: Push, google: Google
    ) -> None:
        async with stage(messages=3, workers=0) as s:
            await s.sync_with_worker()
            hints, due, lane = await self.due(s)
            assert (due, lane) == (False, Lane.IDLE)
            await push.accept(google.token(), envelope(s.account.email.upper(), str(2**60)))
            assert await self.due(s) == (hints + 1, True, Lane.LIVE)

    async def test_about_what_is_known_already_only_brings_a_look_a_second_later(
        self, stage: OpenStage, push: Push, google: Google
    ) -> None:
        async with stage(messages=3, workers=0) as s:
            await s.sync_with_worker()
            before = await self.due(s)
            cursor = await s.fetchval("SELECT cursor FROM sync_states")
            for history_id in (int(cursor), int(cursor) - 1, "1"):
                await push.accept(google.token(), envelope(s.account.email, history_id))
            assert await self.due(s) == before
            soon = "SELECT due_at - now() BETWEEN interval '0' AND interval '1.2 s' FROM mailbox_schedule"
            assert await s.fetchval(soon)

    async def test_about_nobody_or_a_mailbox_that_was_never_synced_does_nothing(
        self, stage: OpenStage, push: Push, google: Google
    ) -> None:
        async with stage(messages=1) as s:
            await s.mailbox()
            for email in ("nobody@example.com", s.account.email, "%", "'; --", "\0", "x" * 60_000):
                await push.accept(google.token(), envelope(email, 5))
            assert await s.fetchval("SELECT count(*) FROM mailbox_schedule") == 0

    async def test_brings_new_mail_however_often_and_in_whatever_order_it_comes(
        self, stage: OpenStage, push: Push, google: Google
    ) -> None:
        async with stage(messages=3) as s:
            await s.sync(count=None)
            new = await s.at_provider.deliver_many(3)
            known = int(await s.fetchval("SELECT cursor FROM sync_states"))
            for history_id in (known + 3, 1, known + 3, known + 2):
                await push.accept(google.token(), envelope(s.account.email, history_id))
            for external_id in new:
                await s.until_stored(external_id)
            await s.mirrors()


class TestWatch:
    async def watched(self, s: Stage) -> bool:
        report = await s.servers.sandbox.control("GET", "push")
        return s.account.email in report["watches"]

    async def kept(self, s: Stage) -> dict[str, Any] | None:
        row = await s.pool.fetchrow("SELECT expires_at, renew_at, renew_at - now() AS renewal FROM watches")
        return None if row is None else dict(row)

    async def until_kept(self, s: Stage) -> None:
        async def is_kept() -> bool:
            return await self.kept(s) is not None

        await eventually(is_kept)

    async def test_is_made_after_the_first_sync_and_renewed_daily(self, stage: OpenStage) -> None:
        async with stage(messages=3, push_topic=TOPIC) as s:
            assert not await self.watched(s)
            await s.sync()
            await self.until_kept(s)
            first = await self.kept(s)
            assert first is not None
            assert await self.watched(s)
            assert timedelta(hours=23) < first["renewal"] <= timedelta(days=1)
            assert timedelta(days=6) < first["expires_at"] - datetime.now(UTC) <= timedelta(days=7)
            await s.pool.execute("UPDATE watches SET renew_at = now()")
            await s.pool.execute("UPDATE mailbox_schedule SET due_at = now()")

            async def is_renewed() -> bool:
                kept = await self.kept(s)
                return kept is not None and kept["expires_at"] > first["expires_at"]

            await eventually(is_renewed)

    async def test_is_no_expense_of_a_sync_that_is_asked_for_meanwhile(self, stage: OpenStage) -> None:
        async with stage(messages=3, push_topic=TOPIC) as s:
            await s.at_provider.fail({"method": "gmail.watch", "kind": "slow", "seconds": 0.3, "count": 1})
            await s.sync()
            assert (await s.sync()).sync.units_spent < GMAIL_COSTS["2026-05"].watch
            assert await self.watched(s)

    async def test_that_is_new_is_followed_by_a_look_since_nothing_is_announced_for_a_second(
        self, stage: OpenStage
    ) -> None:
        # So little quota that the sync takes more than one turn, of which only the first one was asked for.
        async with stage(messages=12, push_topic=TOPIC, window=4.0) as s:
            await s.sync(count=None)
            await self.until_kept(s)
            await s.until_stored(await s.at_provider.deliver())

    async def test_is_not_asked_for_without_a_topic(self, stage: OpenStage) -> None:
        async with stage(messages=3) as s:
            await s.sync()
            await s.until_idle()
            assert await s.at_provider.calls("gmail.watch") == 0

    async def test_that_fails_harms_no_sync_and_is_tried_again(self, stage: OpenStage) -> None:
        async with stage(messages=3, push_topic=TOPIC) as s:
            await s.at_provider.fail({"method": "gmail.watch", "kind": "error", "status": 400, "count": 1})
            assert (await s.sync()).sync.error == ""
            await self.until_kept(s)
            kept = await self.kept(s)
            assert kept is not None
            assert kept["expires_at"] is None
            assert kept["renewal"] < timedelta(minutes=11)

    async def test_that_nears_its_end_is_counted(self, stage: OpenStage) -> None:
        async with stage(messages=3, push_topic=TOPIC) as s:
            await s.sync()
            await self.until_kept(s)
            async with s.pool.acquire() as connection:
                assert await watches.expiring(connection, within_seconds=2 * 86_400) == 0
                await connection.execute("UPDATE watches SET expires_at = now() + interval '1 day'")
                assert await watches.expiring(connection, within_seconds=2 * 86_400) == 1
                await connection.execute("UPDATE mailboxes SET status = 'reauth_required'")
                assert await watches.expiring(connection, within_seconds=2 * 86_400) == 0
