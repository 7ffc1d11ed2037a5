"""The events of a whole application."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from mailroom.auth.v1 import auth_pb2
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine

from services.auth.applications.api_keys import ApiKeys, KeyRules
from services.auth.applications.audit_events import AT_A_TIME, AuditEvents
from services.auth.cipher import Cipher
from services.auth.model import Client as Caller
from services.auth.model import EventType, KeyEventType, SecurityEvent
from services.auth.security_events import SecurityEvents
from services.auth.store.audit_events import AuditEvent, AuditFilter
from services.auth.store.tables import security_events
from services.auth.store.transaction import Store, Transaction
from services.kit.errors import AppError
from services.kit.rpc.client import call
from services.kit.scopes import Scope
from tests.support.auth.client import Client
from tests.support.auth.keys import READ, Keys, new_application
from tests.support.auth.stand_in import StandIn

MANAGES = READ | {Scope.KEYS_MANAGE}
NOW = datetime(2026, 11, 30, tzinfo=UTC)


class World:
    """An application in a database of its own, with a key that manages keys."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.store = Store(engine)
        self.keys = ApiKeys(store=self.store, clock=lambda: NOW, random=os.urandom)
        self.cipher = Cipher("s" * 32, previous=None)
        self.list = AuditEvents(store=self.store, api_keys=self.keys, cipher=self.cipher)
        self.events = SecurityEvents(
            store=self.store, cipher=self.cipher, retention=timedelta(days=365), clock=lambda: NOW
        )
        self.application_id = UUID(int=0)
        self.manager_id = ""

    async def open(self) -> "World":
        self.application_id = await new_application(self.store)
        rules = KeyRules(name="a key", scopes=MANAGES)
        self.manager_id = (await self.keys.create(rules, application_id=self.application_id))[0].key_id
        return self

    async def user(self) -> UUID:
        async with self.store.transaction() as transaction:
            user = await transaction.users.add_external(
                uuid4(), application_id=self.application_id, external_user_id=uuid4().hex
            )
            await transaction.commit()
        assert user is not None
        return user.user_id

    async def record(self, *events: SecurityEvent) -> None:
        """Record events of users, all at one time."""
        async with self.store.transaction() as transaction:
            for event in events:
                await transaction.events.add(event)
            await transaction.commit()

    async def page(self, token: str = "", *, size: int = 0, **wanted: Any) -> tuple[list[AuditEvent], str]:
        return await self.list.list_newest(
            AuditFilter(**wanted), manager_id=self.manager_id, page_size=size, page_token=token
        )

    async def types(self, **wanted: Any) -> list[str]:
        return [event.type for event in (await self.page(**wanted))[0]]


@pytest.fixture
async def world(fresh_engine: AsyncEngine) -> World:
    return await World(fresh_engine).open()


class TestList:
    async def test_has_events_of_users_and_of_keys(self, world: World) -> None:
        user_id, account_id = await world.user(), uuid4()
        caller = Caller("192.0.2.0/24", "Firefox on Linux")
        await world.record(
            SecurityEvent(user_id, EventType.ACCOUNT_CONNECTED, account_id, email="ada@example.com", client=caller)
        )
        found, token = await world.page()
        assert token == ""
        of_user, of_key = sorted(found, key=lambda event: event.type)
        assert (of_user.type, of_user.user_id, of_user.key_id) == ("account_connected", user_id, None)
        assert (of_user.account_id, of_user.email, of_user.client) == (account_id, "ada@example.com", caller)
        assert (of_key.type, of_key.user_id, of_key.key_id) == ("key_created", None, world.manager_id)

    async def test_shows_a_user_the_same_id(self, world: World) -> None:
        user_id = await world.user()
        await world.record(SecurityEvent(user_id, EventType.SIGNED_IN))
        [own], _ = await world.events.list_newest(user_id, page_size=0, page_token="")
        [audited], _ = await world.page(type="signed_in")
        assert audited.public_id == own.public_id
        [of_key], _ = await world.page(type="key_created")
        assert of_key.public_id != audited.public_id

    async def test_has_events_that_a_later_release_has_recorded(self, world: World) -> None:
        user_id, later = await world.user(), "seen_later"
        await world.record(SecurityEvent(user_id, later))
        async with world.store.transaction() as transaction:
            await transaction.api_keys.add_event(
                world.manager_id, cast("KeyEventType", later), now=datetime.now(UTC), client=Caller()
            )
            await transaction.commit()
        assert {later, f"key_{later}"} <= set(await world.types())
        own, _ = await world.events.list_newest(user_id, page_size=0, page_token="")
        async with world.store.transaction() as transaction:
            of_key = await transaction.api_keys.list_events(world.manager_id, limit=2)
        assert later in [each.event.type for each in own]
        assert later in [each.type for each in of_key]

    @pytest.mark.parametrize("size", [1, 2, 3, 50])
    async def test_goes_page_by_page_over_events_at_the_same_time(self, world: World, size: int) -> None:
        user_id = await world.user()
        await world.record(*(SecurityEvent(user_id, EventType.SIGNED_IN, session_id=uuid4()) for _ in range(5)))
        [newest], _ = await world.page(size=1)
        moment = newest.place.created_at
        async with world.store.transaction() as transaction:
            for _ in range(3):
                await transaction.api_keys.add_event(
                    world.manager_id, KeyEventType.REFUSED, now=moment, client=Caller()
                )
            await transaction.commit()
        everything, _ = await world.page()
        assert len(everything) == 9
        places = [(event.place.created_at, event.place.source, event.place.event_id) for event in everything]
        assert places == sorted(places, reverse=True)
        seen: list[AuditEvent] = []
        token = ""
        while True:
            page, token = await world.page(token, size=size)
            assert len(page) <= size
            seen += page
            if not token:
                break
        assert seen == everything

    async def test_is_limited_by_what_is_asked_for(self, world: World) -> None:
        ada, grace, account_id = await world.user(), await world.user(), uuid4()
        await world.record(
            SecurityEvent(ada, EventType.ACCOUNT_CONNECTED, account_id), SecurityEvent(grace, EventType.SIGNED_IN)
        )
        assert await world.types(user_id=ada) == ["account_connected"]
        assert await world.types(account_id=account_id) == ["account_connected"]
        assert await world.types(type="signed_in") == ["signed_in"]
        assert await world.types(key_id=world.manager_id) == ["key_created"]
        assert await world.types(key_id=world.manager_id, type="key_revoked") == []
        assert await world.types(key_id=world.manager_id, user_id=ada) == []
        # The clock of keys is NOW; the database's is later.
        assert await world.types(until=NOW + timedelta(microseconds=1), since=NOW) == ["key_created"]
        assert await world.types(until=NOW) == []

    async def test_shows_nothing_of_other_applications(self, world: World, fresh_engine: AsyncEngine) -> None:
        other = await World(fresh_engine).open()
        await other.record(SecurityEvent(await other.user(), EventType.SIGNED_IN))
        assert await world.types() == ["key_created"]
        _, token = await other.page(size=1)
        assert token
        with pytest.raises(AppError) as refused:
            await world.page(token)
        assert refused.value.reason == "invalid_page_token"

    @pytest.mark.parametrize("size", [-1, 201])
    async def test_refuses_a_page_size_out_of_range(self, world: World, size: int) -> None:
        with pytest.raises(AppError) as refused:
            await world.page(size=size)
        assert refused.value.reason == "invalid_page_size"


class HeldStore(Store):
    """A store whose transactions wait to be let go; `begun` counts them, and `is_full` tells of AT_A_TIME."""

    def __init__(self, engine: AsyncEngine) -> None:
        super().__init__(engine)
        self.begun = 0
        self.is_full, self.let_go = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        self.begun += 1
        if self.begun == AT_A_TIME:
            self.is_full.set()
        await self.let_go.wait()
        async with super().transaction() as transaction:
            yield transaction


class TestShares:
    async def test_leave_connections_to_other_requests_however_many_lists_are_asked_for(
        self, world: World, fresh_engine: AsyncEngine
    ) -> None:
        store = HeldStore(fresh_engine)
        shared = AuditEvents(store=store, api_keys=world.keys, cipher=world.cipher)
        owners = [world, *[await World(fresh_engine).open() for _ in range(2)]]
        asked = [owner for owner in owners for _ in range(4)]
        lists = [
            asyncio.create_task(
                shared.list_newest(AuditFilter(), manager_id=owner.manager_id, page_size=0, page_token="")
            )
            for owner in asked
        ]
        async with asyncio.timeout(60):
            await store.is_full.wait()
        # The others have been asked for as long, and their first transactions are no held ones.
        await world.page()
        assert store.begun == AT_A_TIME
        store.let_go.set()
        for owner, (events, _) in zip(asked, await asyncio.gather(*lists), strict=True):
            assert [event.key_id for event in events] == [owner.manager_id]


class TestFilling:
    async def test_sets_the_application_of_events_that_a_release_before_recorded(
        self, world: World, fresh_engine: AsyncEngine
    ) -> None:
        user_id, stranger = await world.user(), uuid4()
        await world.record(SecurityEvent(user_id, EventType.SIGNED_IN), SecurityEvent(stranger, EventType.SIGNED_IN))
        async with fresh_engine.begin() as connection:
            await connection.execute(update(security_events).values(application_id=None))
        assert await world.types(type="signed_in") == []
        await world.events.fill_applications()
        assert await world.types(type="signed_in") == ["signed_in"]


class TestRpc:
    async def test_lists_events_of_the_manager_s_application(self, keys: Keys, client: Client) -> None:
        application_id = await keys.application()
        key = await keys.made(application_id, scopes=MANAGES)
        answer = await self._listed(client, key.key_id)
        [event] = answer.events
        assert (event.event.type, event.key_id, event.user_id) == ("key_created", key.key_id, "")
        assert UUID(event.event.event_id)

    async def test_keeps_the_deletion_of_a_user_and_nothing_before(
        self, keys: Keys, client: Client, stand_in: StandIn
    ) -> None:
        key, user = await keys.made(scopes=MANAGES), await client.signed_in(stand_in.person())
        assert len((await self._listed(client, key.key_id, user_id=user.user_id)).events) == 2
        await client.disconnect(user.account_id, user.user_id)
        await client.delete_user(user.user_id)
        [deletion] = (await self._listed(client, key.key_id, user_id=user.user_id)).events
        assert deletion.event.type == "user_deleted"

    @pytest.mark.parametrize(
        ("wanted", "reason"),
        [({"user_id": "42"}, "invalid_user_id"), ({"account_id": "42"}, "invalid_account_id")],
    )
    async def test_refuses_ids_that_are_none(
        self, keys: Keys, client: Client, wanted: dict[str, Any], reason: str
    ) -> None:
        key = await keys.made(scopes=MANAGES)
        with pytest.raises(AppError) as refused:
            await self._listed(client, key.key_id, **wanted)
        assert refused.value.reason == reason

    async def test_is_refused_to_a_key_that_does_not_manage_keys(self, keys: Keys, client: Client) -> None:
        key = await keys.made()
        with pytest.raises(AppError) as refused:
            await self._listed(client, key.key_id)
        assert refused.value.reason == "invalid_api_key"

    async def _listed(self, client: Client, key_id: str, **wanted: Any) -> auth_pb2.ListAuditEventsResponse:
        return await call(
            client.api_keys.ListAuditEvents, auth_pb2.ListAuditEventsRequest(manager_key_id=key_id, **wanted)
        )
