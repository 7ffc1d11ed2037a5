"""A sign-in beside the revocation of a disconnected account, which ends the new grant at the provider as well.

The steps come in every order: the sign-in begins, the provider exchanges its code, its grant is stored; the revocation
is sent, carried out, answered or not, and repeated by another process.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from itertools import combinations
from uuid import uuid4

import pytest
from mailroom.auth.v1 import auth_pb2
from redis.asyncio import Redis
from sqlalchemy import func, update
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.responses import HTMLResponse

from services.auth.applications.connect_sessions import CODE_LIFETIME
from services.auth.model import Account, AccountStatus
from services.auth.provider_grants.new_grants import NewGrants
from services.auth.provider_grants.recent_revocations import RecentRevocations
from services.auth.store.tables import grant_revocations
from tests.auth.provider_grants.test_provider_tokens import expire
from tests.auth.sign_in.test_linking import is_granted, pending_links
from tests.support.auth.client import Client, SignedIn, StartService
from tests.support.auth.stand_in import Gate, Person, StandIn

_UNAVAILABLE = HTMLResponse("<h1>503</h1>", 503)
type Works = Callable[[SignedIn], Awaitable[bool]]
type Again = Callable[[], Awaitable[None]]
type ConnectRevoked = Callable[[str, Person], Awaitable[auth_pb2.CompleteSignInResponse]]

_SIGN_IN = ("begin", "exchange", "store")
_REVOCATION = ("send", "carry out", "answer")


def _orders() -> list[tuple[str, ...]]:
    """Return every order of the steps in which the account is disconnected before the new grant is stored."""
    orders = []
    for places in combinations(range(6), 3):
        sign_in, revocation = iter(_SIGN_IN), iter(_REVOCATION)
        orders.append(tuple(next(sign_in) if place in places else next(revocation) for place in range(6)))
    return [order for order in orders if order.index("send") < order.index("store")]


class Race:
    """One sign-in and one disconnection of the same person, step by step."""

    def __init__(self, client: Client, stand_in: StandIn, user: SignedIn) -> None:
        self._client, self._stand_in, self._user = client, stand_in, user
        self._redirect: dict[str, str] = {}
        self._exchange, self._revoke, self._answer = Gate(), Gate(), Gate()
        self._signing_in: asyncio.Task[auth_pb2.CompleteSignInResponse] | None = None
        self._disconnecting: asyncio.Task[None] | None = None

    async def run(self, order: tuple[str, ...]) -> auth_pb2.CompleteSignInResponse:
        """Take the steps in this order; return the outcome of the sign-in."""
        steps = {
            "begin": self._begin,
            "exchange": self._hold_exchange,
            "store": self._store,
            "send": self._send,
            "carry out": self._carry_out,
            "answer": self._let_answer,
        }
        for step in order:
            await steps[step]()
        assert self._signing_in is not None
        assert self._disconnecting is not None
        await self._disconnecting
        return await self._signing_in

    async def _begin(self) -> None:
        started = await self._client.start()
        self._redirect = self._stand_in.consent(started.authorization_url, self._user.person)

    async def _hold_exchange(self) -> None:
        self._stand_in.deviations.answer_gate = self._exchange
        self._signing_in = asyncio.create_task(self._client.complete(**self._redirect))
        await self._exchange.arrival()
        self._stand_in.deviations.answer_gate = None

    async def _store(self) -> None:
        assert self._signing_in is not None
        self._exchange.open()
        # The sign-in may wait for the revocation: it has ended, or has asked for the end of what is under way.
        await asyncio.wait([self._signing_in], timeout=0.2)

    async def _send(self) -> None:
        self._stand_in.deviations.revoke_gate = self._revoke
        self._stand_in.deviations.revoke_answer_gate = self._answer
        self._disconnecting = asyncio.create_task(self._client.disconnect(self._user.account_id, self._user.user_id))
        await self._revoke.arrival()

    async def _carry_out(self) -> None:
        self._revoke.open()
        await self._answer.arrival()

    async def _let_answer(self) -> None:
        assert self._disconnecting is not None
        self._answer.open()
        await self._disconnecting


@pytest.fixture
async def user(client: Client, stand_in: StandIn) -> SignedIn:
    """A signed-in user of a provider that gives offline access each time."""
    stand_in.deviations.always_consents = True
    return await client.signed_in(stand_in.person())


@pytest.fixture
async def works(client: Client, stand_in: StandIn, engine: AsyncEngine) -> Works:
    """Tell whether the stored grant of an account still gives access."""

    async def refreshed(user: SignedIn) -> bool:
        await expire(engine, user)
        return (await client.provider_token(user)).access_token in stand_in.access_tokens

    return refreshed


@pytest.fixture
async def revoke_again(engine: AsyncEngine, start_service: StartService) -> Again:
    """Let another process start when all revocations are due: it runs its periodic tasks at once."""

    async def restart() -> None:
        async with engine.begin() as connection:
            await connection.execute(update(grant_revocations).values(due_at=func.now()))
        await start_service()

    return restart


@pytest.fixture
def connect_revoked(client: Client, stand_in: StandIn) -> ConnectRevoked:
    """Consent, and let the provider carry out a revocation after it exchanges the code, before its answer is here."""

    async def connect(authorization_url: str, person: Person) -> auth_pb2.CompleteSignInResponse:
        gate = stand_in.deviations.answer_gate = Gate()
        completing = asyncio.create_task(client.complete(**stand_in.consent(authorization_url, person)))
        await gate.arrival()
        stand_in.deviations.answer_gate = None
        stand_in.revoke_everything(person)
        gate.open()
        return await completing

    return connect


async def all_done(engine: AsyncEngine, person: Person) -> None:
    """Wait until no revocation of the account is left."""
    async with asyncio.timeout(30):
        while await pending_links(engine, person):
            pass


class TestSignIn:
    @pytest.mark.parametrize("is_lost", [False, True], ids=["answered", "answer lost"])
    @pytest.mark.parametrize("order", _orders(), ids=" - ".join)
    async def test_leaves_the_user_with_a_grant_that_works_in_any_order(
        self, client: Client, stand_in: StandIn, user: SignedIn, works: Works, order: tuple[str, ...], is_lost: bool
    ) -> None:
        stand_in.deviations.revoke_answer_is_lost = is_lost
        outcome = await Race(client, stand_in, user).run(order)
        # The user consents once more only where the first consent was revoked.
        assert bool(outcome.authorization_url) == (order.index("exchange") < order.index("carry out"))
        if outcome.authorization_url:
            outcome = await client.complete(**stand_in.consent(outcome.authorization_url, user.person))
        assert await works(await client.redeemed(user.person, outcome.login_code))

    async def test_outlives_a_revocation_that_another_process_repeats_meanwhile(
        self, client: Client, stand_in: StandIn, engine: AsyncEngine, user: SignedIn, works: Works, revoke_again: Again
    ) -> None:
        stand_in.deviations.revoke_answer = _UNAVAILABLE
        await client.disconnect(user.account_id, user.user_id)
        stand_in.deviations.revoke_answer = None
        gate = stand_in.deviations.answer_gate = Gate()
        redirect = stand_in.consent((await client.start()).authorization_url, user.person)
        signing_in = asyncio.create_task(client.complete(**redirect))
        await gate.arrival()
        stand_in.deviations.answer_gate = None
        await revoke_again()
        await all_done(engine, user.person)
        assert not is_granted(stand_in, user.person)
        gate.open()
        again = await client.complete(**stand_in.consent((await signing_in).authorization_url, user.person))
        assert await works(await client.redeemed(user.person, again.login_code))

    async def test_is_not_revoked_by_a_process_that_repeats_a_lost_revocation_later(
        self, client: Client, stand_in: StandIn, engine: AsyncEngine, user: SignedIn, works: Works, revoke_again: Again
    ) -> None:
        stand_in.deviations.revoke_answer_is_lost = True
        await client.disconnect(user.account_id, user.user_id)
        again = await client.signed_in(user.person)
        await revoke_again()
        await all_done(engine, user.person)
        assert stand_in.revocations_of(user.person) == 1
        assert await works(again)

    async def test_that_is_revoked_twice_ends_with_an_account_that_requires_another(
        self, client: Client, user: SignedIn, connect_revoked: ConnectRevoked
    ) -> None:
        await client.disconnect(user.account_id, user.user_id)
        outcome = await connect_revoked((await client.start()).authorization_url, user.person)
        outcome = await connect_revoked(outcome.authorization_url, user.person)
        again = await client.redeemed(user.person, outcome.login_code)
        [account] = await client.list_accounts(again.user_id)
        assert account.status == auth_pb2.ACCOUNT_STATUS_REAUTH_REQUIRED

    async def test_without_a_recent_revocation_asks_the_provider_for_nothing_more(
        self, client: Client, stand_in: StandIn, user: SignedIn
    ) -> None:
        await client.signed_in(user.person)
        assert stand_in.calls["refresh_token"] == 0

    async def test_waits_only_for_a_while_for_a_revocation_that_never_ends(self, redis: Redis) -> None:
        class Untouched:
            async def renew(self, account: Account) -> None:
                raise AssertionError(account)

        recent, subject = RecentRevocations(redis), uuid4().hex
        await recent.begin(uuid4(), provider="google", subject=subject)
        now = datetime.now(UTC)
        account = Account(uuid4(), uuid4(), uuid4(), uuid4(), "google", subject, "", AccountStatus.ACTIVE, now)
        async with asyncio.timeout(30):
            assert await NewGrants(recent=recent, tokens=Untouched(), limit=0.1).lasts(account)


class TestLink:
    async def test_beside_the_revocation_of_the_same_account_shows_that_it_requires_a_sign_in(
        self, client: Client, stand_in: StandIn, user: SignedIn, connect_revoked: ConnectRevoked
    ) -> None:
        work = stand_in.person()
        await client.disconnect(await client.link(user.user_id, work), user.user_id)
        started = await client.start(link_to=user.user_id)
        outcome = await connect_revoked(started.authorization_url, work)
        linked = (await client.redeem(outcome.login_code, user_id=user.user_id)).linked_account_id
        statuses = {account.account_id: account.status for account in await client.list_accounts(user.user_id)}
        assert statuses[linked] == auth_pb2.ACCOUNT_STATUS_REAUTH_REQUIRED


class TestMark:
    async def test_outlasts_the_code_of_a_connect_session(self, redis: Redis) -> None:
        await RecentRevocations(redis).begin(uuid4(), provider="google", subject="marked")
        assert await redis.ttl("auth:revoked:google:marked") > CODE_LIFETIME.total_seconds()
