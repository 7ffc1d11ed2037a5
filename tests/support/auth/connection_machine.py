"""Random histories of sign-ins, links and disconnections, compared with a model."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import jwt
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from prometheus_client import CollectorRegistry
from sqlalchemy import delete, text

from services.auth.cipher import Cipher
from services.auth.model import Account
from services.auth.provider_grants.accounts import Accounts
from services.auth.provider_grants.disconnect import Disconnections
from services.auth.provider_grants.new_grants import NewGrants
from services.auth.provider_grants.provider_tokens import ProviderTokens
from services.auth.provider_grants.recent_revocations import RecentRevocations
from services.auth.provider_grants.refresh_lock import RefreshLock
from services.auth.provider_grants.revocations import GrantRevocations
from services.auth.sign_in.linking import Linking
from services.auth.sign_in.one_time_records import (
    AUTHORIZATION_REQUEST_SECONDS,
    LOGIN_CODE_SECONDS,
    AuthorizationRequest,
    LoginCode,
    OneTimeRecords,
)
from services.auth.sign_in.outcomes import AuthorizationResponse, Completed, Refused, SignInError
from services.auth.sign_in.sign_in import SignIn
from services.auth.sign_up import SignUpPolicy
from services.auth.store.tables import grant_revocations, security_events, users
from services.kit.settings import RedisSettings
from services.kit.stores.redis_client import create_redis
from tests.support.auth.client import SECRET_KEY
from tests.support.auth.clock import Time
from tests.support.auth.machine_world import World
from tests.support.auth.parts import ScriptedProvider, make_connect_sessions, make_sessions

SUBJECTS = ("ada", "work", "grace", "mallory")


@dataclass
class Started:
    """A sign-in, or a link of a user, that was sent to the provider."""

    state: str
    link_to: UUID | None
    used: bool = False


@dataclass
class Handed:
    """A login code in a browser."""

    value: str
    subject: str
    at: datetime
    # The person of a sign-in, or the user of a link.
    user_id: UUID
    link: bool
    used: bool = False


class Connections(RuleBasedStateMachine):
    """The machine: persons sign in, link, redeem, disconnect and delete in any order, with values of any person."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.time = Time()
        self.provider = ScriptedProvider(self.time)
        self.started: list[Started] = []
        self.handed: list[Handed] = []
        self.logins: dict[str, UUID] = {}
        self.accounts: dict[str, UUID] = {}
        self.world.loop.run(self.build())

    async def build(self) -> None:
        store, redis = self.world.store, self.world.redis
        async with store.transaction() as transaction:
            for table in (users, grant_revocations, security_events):
                await transaction._connection.execute(delete(table))
            await transaction.commit()
        cipher = Cipher(SECRET_KEY, previous=None)
        self.redis = create_redis(RedisSettings(redis_host=redis.host, redis_port=redis.port, redis_db=redis.database))
        providers = {"google": self.provider}
        recent = RecentRevocations(self.redis)
        self.revocations = GrantRevocations(
            store=store, cipher=cipher, providers=providers, recent=recent, clock=self.time.now, new_id=uuid4
        )
        accounts = Accounts(
            store=store,
            cipher=cipher,
            revocations=self.revocations,
            sign_ups=SignUpPolicy(),
            new_id=uuid4,
            clock=self.time.now,
        )
        self.disconnections = Disconnections(
            store=store,
            cipher=cipher,
            revocations=self.revocations,
            lock=RefreshLock(redis=self.redis, lease=5, wait=5),
        )
        tokens = ProviderTokens(
            providers=providers,
            store=store,
            cipher=cipher,
            lock=RefreshLock(redis=self.redis, lease=5, wait=5),
            clock=self.time.now,
            registry=CollectorRegistry(),
        )
        new_grants = NewGrants(recent=recent, tokens=tokens)
        self.sign_in = SignIn(
            providers=providers,
            authorization_requests=OneTimeRecords(
                redis=self.redis,
                cipher=cipher,
                kind="attempt",
                record_type=AuthorizationRequest,
                seconds=AUTHORIZATION_REQUEST_SECONDS,
            ),
            login_codes=OneTimeRecords(
                redis=self.redis, cipher=cipher, kind="login_code", record_type=LoginCode, seconds=LOGIN_CODE_SECONDS
            ),
            accounts=accounts,
            new_grants=new_grants,
            linking=Linking(store=store, accounts=accounts, new_grants=new_grants, revocations=self.revocations),
            connect_sessions=make_connect_sessions(store, accounts, new_grants, self.revocations, self.time),
            sessions=make_sessions(store, self.time),
            require_pkce=False,
            clock=self.time.now,
        )

    @property
    def users(self) -> list[UUID]:
        return list(self.logins.values())

    @initialize()
    def two_users_are_there(self) -> None:
        for subject in ("ada", "mallory"):
            self.start(None)
            self.complete(self.started[-1], subject)
            self.redeem(self.handed[-1], None)

    @rule()
    def start_a_sign_in(self) -> None:
        self.start(None)

    @rule(subject=st.sampled_from(SUBJECTS), data=st.data(), takes=st.sampled_from([0, 0, 60, 119, 120]))
    def sign_in_or_link_to_the_end(self, subject: str, data: st.DataObject, takes: int) -> None:
        self.start(data.draw(st.sampled_from([None, *self.users])))
        handed = len(self.handed)
        self.complete(self.started[-1], subject)
        self.time.advance(takes)
        if len(self.handed) > handed:
            starter = self.handed[-1].user_id
            self.redeem(self.handed[-1], data.draw(st.sampled_from([starter, starter, None, *self.users])))

    @rule(subject=st.sampled_from(SUBJECTS), data=st.data())
    def begin_a_link_and_leave_it(self, subject: str, data: st.DataObject) -> None:
        if self.users:
            self.start(data.draw(st.sampled_from(self.users)))
            self.complete(self.started[-1], subject)

    @precondition(lambda self: self.users)
    @rule(data=st.data())
    def start_a_link(self, data: st.DataObject) -> None:
        self.start(data.draw(st.sampled_from(self.users)))

    def start(self, link_to: UUID | None) -> None:
        started = self.world.loop.run(self.sign_in.start("google", client_challenge="", link_to=link_to))
        assert parse_qs(urlsplit(started.authorization_url).query)["state"] == [started.state]
        self.started.append(Started(started.state, link_to))

    @precondition(lambda self: self.started)
    @rule(data=st.data(), subject=st.sampled_from(SUBJECTS))
    def somebody_consents(self, data: st.DataObject, subject: str) -> None:
        started = data.draw(st.sampled_from(self.started))
        self.complete(started, subject)

    @precondition(lambda self: self.started)
    @rule(subject=st.sampled_from(SUBJECTS))
    def somebody_consents_to_the_latest(self, subject: str) -> None:
        self.complete(self.started[-1], subject)

    def complete(self, started: Started, subject: str) -> None:
        response = AuthorizationResponse(state=started.state, code="", error="", iss="")
        if not started.used:
            response = AuthorizationResponse(state=started.state, code=self.provider.consent(subject), error="", iss="")
        outcome = self.world.loop.run(self.sign_in.complete("google", response=response))
        if started.used:
            assert outcome == Refused(SignInError.INVALID_STATE)
            return
        started.used = True
        if started.link_to is not None:
            assert isinstance(outcome, Completed)
            self.handed.append(Handed(outcome.login_code, subject, self.time.now(), started.link_to, link=True))
        elif subject in self.accounts and self.logins.get(subject) != self.accounts[subject]:
            assert outcome == Refused(SignInError.ACCOUNT_IS_LINKED)
        else:
            assert isinstance(outcome, Completed)
            user_id = self.logins.setdefault(subject, self.world.loop.run(self.login_of(subject)))
            self.accounts[subject] = user_id
            self.handed.append(Handed(outcome.login_code, subject, self.time.now(), user_id, link=False))

    async def login_of(self, subject: str) -> UUID:
        async with self.world.store.transaction() as transaction:
            user_id = await transaction.users.find_login(provider="google", subject=subject)
        assert user_id is not None
        return user_id

    @precondition(lambda self: self.handed)
    @rule(data=st.data())
    def the_right_one_redeems(self, data: st.DataObject) -> None:
        handed = data.draw(st.sampled_from([handed for handed in self.handed if not handed.used] or self.handed))
        self.redeem(handed, handed.user_id)

    @precondition(lambda self: self.handed)
    @rule(data=st.data())
    def anybody_redeems(self, data: st.DataObject) -> None:
        handed = data.draw(st.sampled_from(self.handed))
        self.redeem(handed, data.draw(st.sampled_from([None, *self.users])))

    @precondition(lambda self: self.started)
    @rule(data=st.data())
    def the_starter_redeems_the_state(self, data: st.DataObject) -> None:
        started = data.draw(st.sampled_from(self.started))
        work = self.sign_in.redeem(started.state, code_verifier="", redeemed_by=started.link_to)
        assert self.world.loop.reason(work) == "invalid_hand_off"

    def redeem(self, handed: Handed, redeemed_by: UUID | None) -> None:
        work = self.sign_in.redeem(handed.value, code_verifier="", redeemed_by=redeemed_by)
        reason = self.expected_refusal(handed, redeemed_by)
        handed.used = True
        if reason is not None:
            assert self.world.loop.reason(work) == reason
            return
        redeemed = self.world.loop.run(work)
        if handed.link:
            assert isinstance(redeemed, Account)
            assert redeemed.user_id == handed.user_id == redeemed_by
            self.accounts[handed.subject] = handed.user_id
        else:
            assert not isinstance(redeemed, Account)
            claims = jwt.decode(redeemed.access_token.value, options={"verify_signature": False})
            assert claims["sub"] == str(handed.user_id)

    def expected_refusal(self, handed: Handed, redeemed_by: UUID | None) -> str | None:
        if handed.used:
            return "invalid_hand_off"
        if not handed.link:
            return None if handed.user_id in self.users else "invalid_hand_off"
        if redeemed_by != handed.user_id:
            return "link_of_another_user"
        late = self.time.now() >= handed.at + timedelta(seconds=LOGIN_CODE_SECONDS)
        if late or handed.user_id not in self.users:
            return "invalid_hand_off"
        owners = {self.logins.get(handed.subject), self.accounts.get(handed.subject)} - {None, handed.user_id}
        return "account_of_another_user" if owners else None

    @precondition(lambda self: self.accounts)
    @rule(data=st.data())
    def disconnect(self, data: st.DataObject) -> None:
        subject = data.draw(st.sampled_from(sorted(self.accounts)))
        user_id = self.accounts.pop(subject)
        self.world.loop.run(self.disconnect_subject(subject, user_id))

    async def disconnect_subject(self, subject: str, user_id: UUID) -> None:
        async with self.world.store.transaction() as transaction:
            [account] = await transaction.accounts.lock_on_grant(provider="google", subject=subject)
        await self.disconnections.disconnect(account_id=account.account_id, user_id=user_id)

    @precondition(lambda self: self.users)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        user_id = data.draw(st.sampled_from(self.users))
        self.world.loop.run(self.disconnections.delete_user(user_id))
        self.accounts = {subject: owner for subject, owner in self.accounts.items() if owner != user_id}
        self.logins = {subject: owner for subject, owner in self.logins.items() if owner != user_id}

    @rule(seconds=st.sampled_from([1.0, 60.0, 121.0, 3600.0]))
    def time_passes(self, seconds: float) -> None:
        self.time.advance(seconds)

    @rule()
    def chores_are_done(self) -> None:
        self.world.loop.run(self.revocations.revoke_due())

    @rule(is_down=st.booleans())
    def the_provider_goes_down_for_revocations(self, is_down: bool) -> None:
        self.provider.is_down = is_down

    @invariant()
    def every_account_belongs_to_whom_it_should(self) -> None:
        assert self.world.loop.run(self.owners()) == self.accounts

    @invariant()
    def every_connected_account_works(self) -> None:
        assert all(self.provider.live(subject) for subject in self.accounts)

    async def owners(self) -> dict[str, UUID]:
        async with self.world.store.transaction() as transaction:
            rows = await transaction._connection.execute(text("SELECT subject, user_id FROM accounts"))
            return {row.subject: row.user_id for row in rows}

    def teardown(self) -> None:
        """Check that the provider holds grants of the connected accounts only."""
        self.provider.is_down = False
        for _ in range(3):
            self.time.advance(86400)
            self.world.loop.run(self.revocations.revoke_due())
        assert {subject for subject in SUBJECTS if self.provider.live(subject)} == set(self.accounts)
        self.world.loop.run(self.redis.aclose())
