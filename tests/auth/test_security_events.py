"""Security events of users, and their retention."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from mailroom.auth.v1 import auth_pb2
from sqlalchemy.ext.asyncio import AsyncEngine

from services.auth.cipher import Cipher
from services.auth.model import EventType, RecordedEvent, SecurityEvent
from services.auth.security_events import SecurityEvents
from services.auth.store.transaction import Store
from tests.auth.sign_in.test_sign_in import reason_of
from tests.support.auth.client import Client, SignedIn
from tests.support.auth.clock import Time
from tests.support.auth.stand_in import StandIn

USER = UUID("0b6f3b0e-6f4f-4a44-8a57-000000000001")


async def page(
    client: Client, user: SignedIn, *, page_size: int = 0, page_token: str = ""
) -> auth_pb2.ListSecurityEventsResponse:
    request = auth_pb2.ListSecurityEventsRequest(user_id=user.user_id, page_size=page_size, page_token=page_token)
    return await client.users.ListSecurityEvents(request)


class TestList:
    async def test_lists_the_events_of_a_user(self, client: Client, stand_in: StandIn) -> None:
        user = await client.signed_in(stand_in.person())
        old = (await client.provider_token(user)).access_token
        stand_in.revoke_everything(user.person)
        await reason_of(client.provider_token(user, refused_token=old))
        await client.signed_in(user.person)
        await client.revoke_session(refresh_token=user.refresh_token)
        await client.revoke_session(user_id=user.user_id, all_sessions=True)
        assert await client.events(user.user_id) == [
            "signed_out_everywhere",
            "signed_out",
            "signed_in",
            "account_reconnected",
            "reauth_required",
            "signed_in",
            "account_connected",
        ]

    async def test_names_account_address_and_session(self, client: Client, stand_in: StandIn) -> None:
        user = await client.signed_in(stand_in.person(email="ada@example.com"))
        signed_in, connected = (await page(client, user)).events
        assert UUID(signed_in.session_id)
        assert (connected.account_id, connected.email) == (user.account_id, "ada@example.com")

    async def test_names_the_client(self, client: Client, stand_in: StandIn) -> None:
        info = auth_pb2.ClientInfo(address="192.0.2.0/24", user_agent="Firefox on Linux")
        started = await client.start()
        redirect = stand_in.consent(started.authorization_url, stand_in.person())
        completed = await client.sign_in.CompleteSignIn(
            auth_pb2.CompleteSignInRequest(
                provider="google", state=redirect["state"], code=redirect["code"], client=info
            )
        )
        redeemed = await client.sign_in.RedeemSignIn(
            auth_pb2.RedeemSignInRequest(login_code=completed.login_code, client=info)
        )
        end = auth_pb2.RevokeSessionRequest(refresh_token=redeemed.refresh_token, client=info)
        await client.sessions.RevokeSession(end)
        request = auth_pb2.ListSecurityEventsRequest(user_id=redeemed.user_id)
        events = (await client.users.ListSecurityEvents(request)).events
        assert [event.type for event in events] == ["signed_out", "signed_in", "account_connected"]
        assert [event.client for event in events] == [info] * 3

    async def test_goes_page_by_page(self, client: Client, stand_in: StandIn) -> None:
        user = await client.signed_in(stand_in.person())
        for _ in range(2):
            await client.signed_in(user.person)
        everything = list((await page(client, user)).events)
        seen, token = [], ""
        for _ in range(len(everything)):
            answer = await page(client, user, page_size=1, page_token=token)
            [event] = answer.events
            seen.append(event)
            token = answer.next_page_token
        assert seen == everything
        assert token == ""

    async def test_shows_nothing_of_others(self, client: Client, stand_in: StandIn) -> None:
        user, stranger = await client.signed_in(stand_in.person()), await client.signed_in(stand_in.person())
        first = await page(client, user, page_size=1)
        assert await reason_of(page(client, stranger, page_token=first.next_page_token)) == "invalid_page_token"
        theirs = await page(client, stranger)
        assert {event.email for event in theirs.events} <= {"", stranger.person.email}

    async def test_shows_no_number_that_counts_the_events_of_all(self, client: Client, stand_in: StandIn) -> None:
        user = await client.signed_in(stand_in.person())
        first = await page(client, user, page_size=1)
        assert UUID(first.events[0].event_id).version == 5
        # Another token for the same place: none is the number alone.
        assert (await page(client, user, page_size=1)).next_page_token != first.next_page_token

    @pytest.mark.parametrize("token", ["x", "!", "A" * 400, "_" * 11, "é", "AAAAAAAAAAAA"])
    async def test_refuses_a_malformed_page_token(self, client: Client, stand_in: StandIn, token: str) -> None:
        user = await client.signed_in(stand_in.person())
        assert await reason_of(page(client, user, page_token=token)) == "invalid_page_token"

    @pytest.mark.parametrize("size", [-1, 201])
    async def test_refuses_a_page_size_out_of_range(self, client: Client, stand_in: StandIn, size: int) -> None:
        user = await client.signed_in(stand_in.person())
        assert await reason_of(page(client, user, page_size=size)) == "invalid_page_size"


class TestId:
    def test_is_made_of_what_the_user_knows(self) -> None:
        moment = datetime(2026, 11, 30, tzinfo=UTC)
        signed_in = SecurityEvent(USER, EventType.SIGNED_IN, session_id=USER)
        ids = {RecordedEvent(number, moment, signed_in).public_id for number in range(3)}
        assert len(ids) == 1
        others = [
            RecordedEvent(0, moment + timedelta(microseconds=1), signed_in),
            RecordedEvent(0, moment, replace(signed_in, type=EventType.SIGNED_OUT)),
            RecordedEvent(0, moment, replace(signed_in, session_id=None)),
            RecordedEvent(0, moment, replace(signed_in, user_id=UUID(int=1))),
        ]
        assert len(ids | {other.public_id for other in others}) == 5


class TestRetention:
    async def test_deletes_events_older_than_the_retention(self, fresh_engine: AsyncEngine) -> None:
        time, store = Time(), Store(fresh_engine)
        events = SecurityEvents(
            store=store, cipher=Cipher("s" * 32, previous=None), retention=timedelta(days=365), clock=time.now
        )
        async with store.transaction() as transaction:
            await transaction.events.add(SecurityEvent(USER, EventType.SIGNED_IN))
            await transaction.commit()
        time.advance(timedelta(days=364).total_seconds())
        await events.forget_old()
        assert len((await events.list_newest(USER, page_size=0, page_token=""))[0]) == 1
        time.advance(timedelta(days=2).total_seconds())
        await events.forget_old()
        assert (await events.list_newest(USER, page_size=0, page_token=""))[0] == []


class TestUser:
    async def test_is_described_with_their_accounts(self, client: Client, stand_in: StandIn) -> None:
        stand_in.deviations.extra = {"refresh_token_expires_in": 604799}
        user = await client.signed_in(stand_in.person())
        answer = await client.users.GetUser(auth_pb2.GetUserRequest(user_id=user.user_id))
        [account] = answer.accounts
        assert (answer.user_id, account.account_id) == (user.user_id, user.account_id)
        lifetime = account.reconnect_by_time.seconds - account.create_time.seconds
        assert abs(lifetime - 604799) < 60

    async def test_has_no_time_limit_where_the_provider_sets_none(self, client: Client, stand_in: StandIn) -> None:
        user = await client.signed_in(stand_in.person())
        [account] = await client.list_accounts(user.user_id)
        assert not account.HasField("reconnect_by_time")

    async def test_that_is_unknown_is_not_found(self, client: Client) -> None:
        request = auth_pb2.GetUserRequest(user_id=str(USER))
        assert await reason_of(client.users.GetUser(request)) == "user_not_found"
