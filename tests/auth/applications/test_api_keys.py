"""API keys: their list, their number, and the record of refusals."""

import asyncio
import os
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.auth.applications.api_keys import COARSE, ApiKeys, KeyRules
from services.auth.model import ApiKey
from services.auth.model import Client as Caller
from services.auth.store.transaction import Store
from services.kit.errors import AppError
from services.kit.scopes import Scope
from tests.support.auth.keys import new_application

CALLER = Caller("192.0.2.0/24", "curl")
# Live keys of an application, the one that manages them included.
MOST = 4
MANAGES = frozenset({Scope.KEYS_MANAGE})


class World:
    """An application with a key that manages keys, and a clock that the test sets."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.store = Store(engine)
        self.now = datetime(2026, 11, 30, tzinfo=UTC)
        self.keys = ApiKeys(store=self.store, clock=lambda: self.now, random=os.urandom, most=MOST)
        self.application_id = UUID(int=0)
        self.manager_id = ""

    async def open(self) -> "World":
        self.application_id = await new_application(self.store)
        rules = KeyRules(name="manages", scopes=MANAGES)
        self.manager_id = (await self.keys.create(rules, application_id=self.application_id))[0].key_id
        return self

    async def make(self, *, expires_at: datetime | None = None) -> tuple[ApiKey, str]:
        """Make a key by the one that manages keys; return it with its text."""
        rules = KeyRules(name="made", scopes=MANAGES, expires_at=expires_at)
        key, text = await self.keys.create_by_key(rules, creator_id=self.manager_id, client=CALLER)
        return key, text.value

    async def revoke(self, key: ApiKey) -> None:
        await self.keys.revoke_by_key(key.key_id, manager_id=self.manager_id, client=CALLER)

    async def refuse(self, text: str) -> None:
        """Present a key that is refused."""
        with pytest.raises(AppError) as refused:
            await self.keys.verify(text, address="192.0.2.1", client=CALLER)
        assert refused.value.reason == "invalid_api_key"

    async def events(self, key: ApiKey) -> list[str]:
        found = await self.keys.list_events(key.key_id, manager_id=self.manager_id)
        return [event.type for event in found]

    async def listed(self) -> list[str]:
        return [key.key_id for key in await self.keys.list_of(self.manager_id)]


@pytest.fixture
async def world(engine: AsyncEngine) -> World:
    return await World(engine).open()


class TestRefusals:
    async def test_are_recorded_as_one_event_in_a_while(self, world: World) -> None:
        key, text = await world.make()
        await world.revoke(key)
        for _ in range(3):
            await world.refuse(text)
        assert await world.events(key) == ["refused", "revoked", "created"]
        world.now += COARSE
        await world.refuse(text)
        assert await world.events(key) == ["refused", "refused", "revoked", "created"]


class TestCreate:
    async def test_makes_no_key_that_has_ended(self, world: World) -> None:
        with pytest.raises(AppError) as refused:
            await world.make(expires_at=world.now)
        assert (refused.value.reason, await world.listed()) == ("invalid_key_rules", [world.manager_id])


class TestList:
    async def test_has_the_live_keys_however_many_have_ended_since(self, world: World) -> None:
        world.now += timedelta(seconds=1)
        lasting, _ = await world.make()
        for _ in range(MOST):
            world.now += timedelta(seconds=1)
            revoked, _ = await world.make()
            await world.revoke(revoked)
            expired, _ = await world.make(expires_at=world.now + timedelta(seconds=1))
        world.now += timedelta(seconds=1)
        listed = await world.listed()
        assert len(listed) == 2 * MOST
        assert listed[0] in (revoked.key_id, expired.key_id)
        assert listed[-2:] == [lasting.key_id, world.manager_id]


class TestNumber:
    async def test_of_live_keys_is_bounded_however_many_have_ended_since(self, world: World) -> None:
        for _ in range(MOST - 1):
            await world.make()
        world.now += timedelta(seconds=1)
        with pytest.raises(AppError) as refused:
            await world.make()
        assert refused.value.reason == "invalid_key_rules"

    async def test_is_kept_when_several_are_made_at_once(self, world: World) -> None:
        made = await asyncio.gather(*(world.make() for _ in range(2 * MOST)), return_exceptions=True)
        assert sum(isinstance(each, tuple) for each in made) == MOST - 1
        assert {each.reason for each in made if isinstance(each, AppError)} == {"invalid_key_rules"}
        assert len(await world.listed()) == MOST
