"""Deletion of applications with all that they own."""

import os
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from mailroom.auth.v1 import auth_pb2
from redis.asyncio import Redis
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine

from services.auth.applications.api_keys import ApiKeys, KeyRules
from services.auth.applications.deletions import USERS_AT_A_TIME
from services.auth.applications.revoked import KEPT
from services.auth.model import DEFAULT_APPLICATION, EventType, KeyEventType
from services.auth.model import Client as KeyClient
from services.auth.store.tables import applications
from services.auth.store.transaction import Store
from services.kit.errors import AppError
from services.kit.principals import PRINCIPAL_HEADER
from services.kit.scopes import OPERATOR_SCOPES, Scope
from tests.auth.applications.test_connect_sessions import new_shop
from tests.auth.sign_in.test_linking import is_granted
from tests.auth.sign_in.test_sign_in import reason_of
from tests.support.auth.client import Client
from tests.support.auth.connections import Shop
from tests.support.auth.stand_in import StandIn

OPERATORS_CLIENT = auth_pb2.ClientInfo(address="192.0.2.0/24", user_agent="curl")


class Operator:
    """The holder of an operator key, and mail, which erases for them."""

    def __init__(self, client: Client, engine: AsyncEngine) -> None:
        self.client = client
        self.engine = engine
        self.store = Store(engine)
        self.keys = ApiKeys(store=self.store, clock=lambda: datetime.now(UTC), random=os.urandom)

    async def delete(self, application_id: str) -> None:
        """Request the deletion."""
        key, text = await self.keys.create(KeyRules(name="op", scopes=OPERATOR_SCOPES), application_id=None)
        verified = await self.client.api_keys.VerifyApiKey(auth_pb2.VerifyApiKeyRequest(api_key=text.value))
        await self.client.applications.DeleteApplication(
            auth_pb2.DeleteApplicationRequest(
                operator_key_id=key.key_id, application_id=application_id, client=OPERATORS_CLIENT
            ),
            metadata=((PRINCIPAL_HEADER, verified.principal),),
        )

    async def requested(self) -> list[str]:
        """List the requested deletions, as mail does."""
        answer = await self.client.accounts.ListDeletedApplications(auth_pb2.ListDeletedApplicationsRequest())
        return list(answer.application_ids)

    async def erase(self, application_id: str, *, timeout: float | None = None) -> bool:
        """Take a step of the erasure, as mail does."""
        request = auth_pb2.EraseApplicationRequest(application_id=application_id)
        return (await self.client.accounts.EraseApplication(request, timeout=timeout)).erased

    async def be_past_revocations(self) -> None:
        """Let the requests be so old that no gateway need hear of the keys any more."""
        async with self.engine.begin() as connection:
            await connection.execute(update(applications).values(deleted_at=applications.c.deleted_at - KEPT))

    async def new_key(self, application_id: str) -> str:
        """Make a key by the command line; return it."""
        rules = KeyRules(name="key", scopes=frozenset({Scope.MAIL_READ}))
        return (await self.keys.create(rules, application_id=UUID(application_id)))[1].value


@pytest.fixture
def operator(client: Client, engine: AsyncEngine) -> Operator:
    return Operator(client, engine)


@pytest.fixture
async def shop(client: Client, stand_in: StandIn, engine: AsyncEngine) -> Shop:
    return await new_shop(client, stand_in, engine)


class TestRequest:
    async def test_revokes_the_keys_at_once_and_makes_no_others(self, operator: Operator, shop: Shop) -> None:
        key = await operator.new_key(shop.application_id)
        await operator.delete(shop.application_id)
        verification = operator.client.api_keys.VerifyApiKey(auth_pb2.VerifyApiKeyRequest(api_key=key))
        assert await reason_of(verification) == "invalid_api_key"
        ended = await operator.client.api_keys.ListRevocations(auth_pb2.ListRevocationsRequest())
        assert key.split("_")[1] in ended.key_ids
        with pytest.raises(AppError, match="invalid_key_rules"):
            await operator.new_key(shop.application_id)

    async def test_shows_by_which_client_keys_were_revoked(self, operator: Operator, shop: Shop) -> None:
        key_id = (await operator.new_key(shop.application_id)).split("_")[1]
        for _ in range(2):
            await operator.delete(shop.application_id)
        async with operator.store.transaction() as transaction:
            revoked, created = await transaction.api_keys.list_events(key_id, limit=3)
        assert (created.type, revoked.type) == (KeyEventType.CREATED, KeyEventType.REVOKED)
        assert revoked.client == KeyClient("192.0.2.0/24", "curl")

    async def test_ends_connect_sessions(self, operator: Operator, shop: Shop, stand_in: StandIn) -> None:
        made = await shop.create()
        url = await shop.begin(made.token)
        await operator.delete(shop.application_id)
        assert await reason_of(shop.page(made.token)) == "connect_session_not_found"
        assert (await shop.consent(url, stand_in.person()))["error"] == "invalid_state"

    async def test_is_listed_once_until_nothing_is_left(self, operator: Operator, shop: Shop) -> None:
        for _ in range(2):
            await operator.delete(shop.application_id)
        assert (await operator.requested()).count(shop.application_id) == 1
        await operator.be_past_revocations()
        assert await operator.erase(shop.application_id)
        assert shop.application_id not in await operator.requested()
        async with operator.store.transaction() as transaction:
            deleted, requested = await transaction.events.list_newest(UUID(shop.application_id), before=None, limit=3)
        assert requested.event.type == EventType.APPLICATION_DELETION_REQUESTED
        assert requested.event.client == KeyClient("192.0.2.0/24", "curl")
        assert deleted.event.type == EventType.APPLICATION_DELETED
        assert await reason_of(operator.delete(shop.application_id)) == "application_not_found"
        assert await operator.erase(shop.application_id)

    async def test_is_refused_for_the_default_application_and_an_unknown_one(self, operator: Operator) -> None:
        assert await reason_of(operator.delete(str(DEFAULT_APPLICATION))) == "invalid_application"
        assert await reason_of(operator.delete(str(uuid4()))) == "application_not_found"


class TestErasure:
    async def test_deletes_users_in_steps_and_revokes_their_grants(
        self, operator: Operator, shop: Shop, stand_in: StandIn
    ) -> None:
        people = [stand_in.person() for _ in range(3)]
        accounts = [await shop.connected(person, f"user {number}") for number, person in enumerate(people)]
        for number in range(USERS_AT_A_TIME):
            await shop.create(f"user without a mailbox {number}")
        key = await operator.new_key(shop.application_id)
        await operator.delete(shop.application_id)
        await operator.be_past_revocations()
        assert not await operator.erase(shop.application_id)
        assert await operator.erase(shop.application_id)
        for person, account in zip(people, accounts, strict=True):
            assert not is_granted(stand_in, person)
            assert await operator.client.list_accounts(account.user_id) == []
        async with operator.store.transaction() as transaction:
            assert await transaction.applications.find(UUID(shop.application_id)) is None
            assert await transaction.api_keys.find(key.split("_")[1]) is None
            assert await transaction.api_keys.list_events(key.split("_")[1], limit=1) == []

    @pytest.mark.long  # waits until a refresh has taken too long
    async def test_goes_on_beside_users_who_cannot_be_deleted(
        self, operator: Operator, shop: Shop, stand_in: StandIn, redis: Redis
    ) -> None:
        *stuck, other = [await shop.connected(stand_in.person(), f"user {number}") for number in range(4)]
        locks = [f"auth:refresh:{account.account_id}" for account in stuck]
        for lock in locks:
            await redis.set(lock, "another process", ex=60)
        await operator.delete(shop.application_id)
        await operator.be_past_revocations()
        # Mail waits so long; each of them is given up after twelve seconds.
        assert not await operator.erase(shop.application_id, timeout=30)
        for account in stuck:
            assert len(await operator.client.list_accounts(account.user_id)) == 1
        assert await operator.client.list_accounts(other.user_id) == []
        await redis.delete(*locks)
        assert await operator.erase(shop.application_id)

    async def test_keeps_revoked_keys_while_gateways_must_hear_of_them(self, operator: Operator, shop: Shop) -> None:
        key = await operator.new_key(shop.application_id)
        await operator.delete(shop.application_id)
        assert not await operator.erase(shop.application_id)
        ended = await operator.client.api_keys.ListRevocations(auth_pb2.ListRevocationsRequest())
        assert key.split("_")[1] in ended.key_ids
        await operator.be_past_revocations()
        assert await operator.erase(shop.application_id)

    async def test_leaves_grants_that_another_application_uses(
        self, operator: Operator, shop: Shop, client: Client, stand_in: StandIn, engine: AsyncEngine
    ) -> None:
        stand_in.deviations.always_consents = True
        person, other = stand_in.person(), await new_shop(client, stand_in, engine)
        await shop.connected(person)
        kept = await other.connected(person)
        await operator.delete(shop.application_id)
        await operator.be_past_revocations()
        assert await operator.erase(shop.application_id)
        assert is_granted(stand_in, person)
        assert [item.account_id for item in await client.list_accounts(kept.user_id)] == [kept.account_id]

    async def test_leaves_an_application_alone_that_is_not_to_be_deleted(
        self, operator: Operator, shop: Shop, stand_in: StandIn
    ) -> None:
        account = await shop.connected(stand_in.person())
        assert not await operator.erase(shop.application_id)
        assert len(await operator.client.list_accounts(account.user_id)) == 1
        assert not await operator.erase(str(DEFAULT_APPLICATION))
