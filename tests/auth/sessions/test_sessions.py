"""Sessions: refresh tokens, lifetimes and their end."""

import asyncio
import base64
import hashlib
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import jwt
import pytest
from mailroom.auth.v1 import auth_pb2
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.auth.sessions.refresh_tokens import parse
from services.auth.sessions.sessions import RECENT, REPEATABLE, Sessions, Tokens
from services.auth.store.events import EventQueries
from services.auth.store.tables import refresh_tokens, sessions
from services.auth.store.transaction import Store
from services.auth.store.users import UserQueries
from services.kit.errors import AppError, Kind
from tests.auth.sign_in.test_sign_in import reason_of
from tests.support.auth.client import SECRET_KEY, Client, StartService
from tests.support.auth.clock import Time
from tests.support.auth.parts import ABSOLUTE, IDLE, add_user, make_sessions
from tests.support.auth.stand_in import StandIn


@pytest.fixture
def store(fresh_engine: AsyncEngine) -> Store:
    return Store(fresh_engine)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def family(store: Store, time: Time) -> Sessions:
    """Sessions of a service whose clock the test moves."""
    return make_sessions(store, time)


async def begin(family: Sessions, store: Store) -> str:
    """Begin a session and return its first refresh token."""
    tokens = await family.begin(await add_user(store))
    assert tokens is not None
    return tokens.refresh_token.value


async def refresh(family: Sessions, token: str) -> str:
    """Return the next refresh token."""
    return (await family.refresh(token)).refresh_token.value


async def assert_refused(family: Sessions, token: str) -> None:
    with pytest.raises(AppError) as caught:
        await family.refresh(token)
    assert (caught.value.kind, caught.value.reason) == (Kind.UNAUTHENTICATED, "invalid_refresh_token")


class TestRefresh:
    async def test_gives_another_token_each_time(self, family: Sessions, store: Store, time: Time) -> None:
        tokens = [await begin(family, store)]
        for _ in range(5):
            tokens.append(await refresh(family, tokens[-1]))
            time.advance(900)
        assert len(set(tokens)) == 6

    async def test_names_the_same_user_and_session_in_the_access_token(
        self, family: Sessions, store: Store, time: Time
    ) -> None:
        user_id = await add_user(store)
        begun = await family.begin(user_id)
        assert begun is not None
        time.advance(900)
        refreshed = await family.refresh(begun.refresh_token.value)
        first, second = (
            jwt.decode(tokens.access_token.value, options={"verify_signature": False}) for tokens in (begun, refreshed)
        )
        assert first["sub"] == second["sub"] == str(user_id)
        assert first["sid"] == second["sid"]
        assert first["jti"] != second["jti"]

    async def test_repeated_within_seconds_gives_the_same_token(
        self, family: Sessions, store: Store, time: Time
    ) -> None:
        token = await begin(family, store)
        successor = await refresh(family, token)
        time.advance(REPEATABLE.total_seconds())
        assert await refresh(family, token) == successor
        assert await refresh(family, successor)

    async def test_repeated_within_seconds_gives_the_same_token_even_if_that_is_spent(
        self, family: Sessions, store: Store
    ) -> None:
        token = await begin(family, store)
        successor = await refresh(family, token)
        newest = await refresh(family, successor)
        assert await refresh(family, token) == successor
        assert await refresh(family, successor) == newest

    async def test_by_eight_at_once_gives_one_token(self, family: Sessions, store: Store) -> None:
        token = await begin(family, store)
        assert len(set(await asyncio.gather(*[refresh(family, token) for _ in range(8)]))) == 1

    async def test_of_a_token_that_was_spent_earlier_ends_the_session(
        self, family: Sessions, store: Store, time: Time
    ) -> None:
        token = await begin(family, store)
        successor = await refresh(family, token)
        time.advance(REPEATABLE.total_seconds() + 0.001)
        await assert_refused(family, token)
        await assert_refused(family, successor)

    async def test_of_a_token_spent_long_ago_ends_the_session_too(
        self, family: Sessions, store: Store, time: Time
    ) -> None:
        first = await begin(family, store)
        newest = first
        for _ in range(4):
            newest = await refresh(family, newest)
            time.advance(900)
        await assert_refused(family, first)
        await assert_refused(family, newest)

    async def test_of_a_copied_token_leaves_other_sessions_of_the_user_alone(
        self, family: Sessions, store: Store, time: Time
    ) -> None:
        user_id = await add_user(store)
        stolen, other = await family.begin(user_id), await family.begin(user_id)
        assert stolen is not None
        assert other is not None
        await family.refresh(stolen.refresh_token.value)
        time.advance(60)
        await assert_refused(family, stolen.refresh_token.value)
        assert await refresh(family, other.refresh_token.value)

    @pytest.mark.parametrize(
        "value", ["", "x", "é" * 88, "=" * 88, "A" * 88, "\x00" * 88, "a" * 87, "a" * 89, "a" * 5000, "\ud83d" * 88]
    )
    async def test_refuses_a_token_that_was_never_issued(self, family: Sessions, value: str) -> None:
        await assert_refused(family, value)

    async def test_of_a_token_made_up_around_a_sessions_id_ends_nothing(self, family: Sessions, store: Store) -> None:
        token = await begin(family, store)
        await assert_refused(family, made_up(token))
        assert await refresh(family, token)

    async def test_refuses_an_access_token(self, family: Sessions, store: Store) -> None:
        tokens = await family.begin(await add_user(store))
        assert tokens is not None
        await assert_refused(family, tokens.access_token.value)

    async def test_survives_a_new_secret_key(self, family: Sessions, store: Store, time: Time) -> None:
        token = await begin(family, store)
        successor = await refresh(family, token)
        renewed = make_sessions(store, time, secret="another secret that is long enough", previous=SECRET_KEY)
        assert await refresh(renewed, token) == successor
        assert await refresh(renewed, successor)

    async def test_of_a_token_from_before_a_new_secret_key_ends_the_session_too(
        self, family: Sessions, store: Store, time: Time
    ) -> None:
        first = await begin(family, store)
        newest = await refresh(family, first)
        renewed = make_sessions(store, time, secret="another secret that is long enough", previous=SECRET_KEY)
        for _ in range(4):
            newest = await refresh(renewed, newest)
            time.advance(900)
        await assert_refused(renewed, first)
        await assert_refused(renewed, newest)


class TestLifetimes:
    async def test_an_unused_session_ends(self, family: Sessions, store: Store, time: Time) -> None:
        token = await begin(family, store)
        time.advance(IDLE.total_seconds() - 1)
        token = await refresh(family, token)
        time.advance(IDLE.total_seconds())
        await assert_refused(family, token)

    async def test_a_session_in_use_ends_at_last(self, family: Sessions, store: Store, time: Time) -> None:
        token = await begin(family, store)
        for _ in range(ABSOLUTE.days - 1):
            time.advance(86400)
            token = await refresh(family, token)
        time.advance(86400)
        await assert_refused(family, token)

    async def test_an_access_token_does_not_outlive_the_session(self, store: Store, time: Time) -> None:
        short = make_sessions(store, time, absolute=timedelta(minutes=5))
        tokens = await short.begin(await add_user(store))
        assert tokens is not None
        assert tokens.access_token.expires_at == time.now() + timedelta(minutes=5)

    async def test_sessions_that_are_over_are_forgotten_with_their_tokens(
        self, family: Sessions, store: Store, time: Time, fresh_engine: AsyncEngine
    ) -> None:
        await begin(family, store)
        time.advance(IDLE.total_seconds())
        await begin(family, store)
        await family.forget_expired()
        async with fresh_engine.connect() as connection:
            assert await connection.scalar(select(func.count()).select_from(sessions)) == 1
            assert await connection.scalar(select(func.count()).select_from(refresh_tokens)) == 1


class TestStorage:
    async def test_holds_digests_only(self, family: Sessions, store: Store, fresh_engine: AsyncEngine) -> None:
        token = await begin(family, store)
        successor = await refresh(family, token)
        async with fresh_engine.connect() as connection:
            rows = list(await connection.scalars(select(refresh_tokens.c.token_digest)))
        raw = [base64.urlsafe_b64decode(value) for value in (token, successor)]
        assert sorted(rows) == sorted(hashlib.sha256(value).digest() for value in raw)

    async def test_does_not_grow_with_the_age_of_a_session(
        self, family: Sessions, store: Store, time: Time, fresh_engine: AsyncEngine
    ) -> None:
        token = await begin(family, store)
        for _ in range(20):
            time.advance(900)
            token = await refresh(family, token)
        async with fresh_engine.connect() as connection:
            assert await connection.scalar(select(func.count()).select_from(refresh_tokens)) == 2

    async def test_a_digest_put_into_another_session_does_not_open_it(
        self, family: Sessions, store: Store, owners_engine: AsyncEngine
    ) -> None:
        mine, victims = parse(await begin(family, store)), parse(await begin(family, store))
        assert mine is not None
        assert victims is not None
        async with owners_engine.begin() as connection:
            await connection.execute(
                text("UPDATE refresh_tokens SET session_id = :victim WHERE session_id = :mine"),
                {"victim": victims.session_id, "mine": mine.session_id},
            )
        await assert_refused(family, mine.value)


class TestBegin:
    async def test_gives_no_session_to_a_deleted_user(self, family: Sessions) -> None:
        assert await family.begin(uuid4()) is None

    async def test_continues_no_session_that_was_there_before(self, client: Client, stand_in: StandIn) -> None:
        person = stand_in.person()
        before = await client.signed_in(person)
        outcome = await client.connect(person)
        after = await client.redeem(outcome.login_code, user_id=before.user_id)
        assert session_of(after.access_token) != session_of(before.access_token)
        assert after.refresh_token != before.refresh_token


class TestLogout:
    async def test_ends_the_session_and_no_other(self, client: Client, stand_in: StandIn) -> None:
        person = stand_in.person()
        first, second = await client.signed_in(person), await client.signed_in(person)
        await client.revoke_session(refresh_token=first.refresh_token)
        assert await reason_of(client.refresh(first.refresh_token)) == "invalid_refresh_token"
        assert (await client.refresh(second.refresh_token)).access_token

    async def test_of_everything_ends_all_sessions_of_the_user_only(self, client: Client, stand_in: StandIn) -> None:
        person = stand_in.person()
        mine = [await client.signed_in(person) for _ in range(3)]
        stranger = await client.signed_in(stand_in.person())
        await client.revoke_session(user_id=mine[0].user_id, all_sessions=True)
        for session in mine:
            assert await reason_of(client.refresh(session.refresh_token)) == "invalid_refresh_token"
        assert (await client.refresh(stranger.refresh_token)).access_token

    async def test_names_the_session_by_the_access_token(self, client: Client, stand_in: StandIn) -> None:
        user = await client.signed_in(stand_in.person())
        await client.revoke_session(user_id=user.user_id, session_id=session_of(user.access_token))
        assert await reason_of(client.refresh(user.refresh_token)) == "invalid_refresh_token"

    async def test_does_not_end_the_session_of_another_user(self, client: Client, stand_in: StandIn) -> None:
        user, stranger = await client.signed_in(stand_in.person()), await client.signed_in(stand_in.person())
        await client.revoke_session(user_id=stranger.user_id, session_id=session_of(user.access_token))
        assert (await client.refresh(user.refresh_token)).access_token

    async def test_twice_and_of_nonsense_succeeds(self, client: Client, stand_in: StandIn) -> None:
        user = await client.signed_in(stand_in.person())
        for token in (user.refresh_token, user.refresh_token, "nonsense", "A" * 88):
            await client.revoke_session(refresh_token=token)
        await client.revoke_session(user_id="no UUID", session_id="no UUID")
        await client.revoke_session()

    async def test_needs_more_than_the_name_of_a_session(self, client: Client, stand_in: StandIn) -> None:
        user = await client.signed_in(stand_in.person())
        await client.revoke_session(refresh_token=made_up(user.refresh_token), all_sessions=True)
        assert (await client.refresh(user.refresh_token)).access_token

    async def test_works_with_a_token_that_was_spent_long_ago(self, family: Sessions, store: Store, time: Time) -> None:
        first = newest = await begin(family, store)
        for _ in range(3):
            time.advance(900)
            newest = await refresh(family, newest)
        await family.end(first, all_sessions=False)
        await assert_refused(family, newest)


class TestList:
    async def listed(self, client: Client, user_id: str) -> list[auth_pb2.Session]:
        return list((await client.sessions.ListSessions(auth_pb2.ListSessionsRequest(user_id=user_id))).sessions)

    async def test_shows_the_sessions_that_go_on_with_their_clients(self, client: Client, stand_in: StandIn) -> None:
        person = stand_in.person()
        first, second = await client.signed_in(person), await client.signed_in(person)
        phone = auth_pb2.ClientInfo(address="192.0.2.0/24", user_agent="Safari on iOS")
        await client.sessions.RefreshSession(
            auth_pb2.RefreshSessionRequest(refresh_token=first.refresh_token, client=phone)
        )
        used, other = await self.listed(client, first.user_id)
        assert (used.session_id, used.client) == (session_of(first.access_token), phone)
        assert used.create_time.ToDatetime() < used.use_time.ToDatetime()
        assert (other.session_id, other.HasField("client")) == (session_of(second.access_token), False)
        await client.revoke_session(user_id=first.user_id, session_id=used.session_id)
        assert await self.listed(client, first.user_id) == [other]

    async def test_shows_nothing_of_others(self, client: Client, stand_in: StandIn) -> None:
        user, stranger = await client.signed_in(stand_in.person()), await client.signed_in(stand_in.person())
        [session] = await self.listed(client, user.user_id)
        assert session.session_id != session_of(stranger.access_token)

    async def test_leaves_out_sessions_that_are_over(self, family: Sessions, store: Store, time: Time) -> None:
        begun = await family.begin(await add_user(store))
        assert begun is not None
        time.advance(IDLE.total_seconds() - 1)
        assert len(await family.list_live(begun.user_id)) == 1
        time.advance(1)
        assert await family.list_live(begun.user_id) == []

    async def test_says_whether_a_session_was_ended(self, client: Client, stand_in: StandIn) -> None:
        user, stranger = await client.signed_in(stand_in.person()), await client.signed_in(stand_in.person())
        request = auth_pb2.RevokeSessionRequest(user_id=user.user_id, session_id=session_of(user.access_token))
        foreign = auth_pb2.RevokeSessionRequest(user_id=user.user_id, session_id=session_of(stranger.access_token))
        answers = [await client.sessions.RevokeSession(one) for one in (foreign, request, request)]
        assert [answer.ended for answer in answers] == [False, True, False]


class TestVerifyRecent:
    async def test_allows_ten_minutes_from_the_sign_in_and_no_refresh_renews_them(
        self, family: Sessions, store: Store, time: Time
    ) -> None:
        begun = await family.begin(await add_user(store))
        assert begun is not None
        session_id = UUID(session_of(begun.access_token.value))
        time.advance(RECENT.total_seconds())
        refreshed = await family.refresh(begun.refresh_token.value)
        await family.verify_recent(begun.user_id, session_id=session_id, user_deletion=False)
        first, second = (
            jwt.decode(tokens.access_token.value, options={"verify_signature": False}) for tokens in (begun, refreshed)
        )
        assert first["auth_time"] == second["auth_time"] == first["iat"]
        time.advance(0.001)
        assert await refusal_of(family, begun) == "reauthentication_required"

    async def test_refuses_a_session_that_ended_by_itself(self, store: Store, time: Time) -> None:
        family = make_sessions(store, time, absolute=timedelta(minutes=1))
        begun = await family.begin(await add_user(store))
        assert begun is not None
        time.advance(60)
        assert await refusal_of(family, begun) == "invalid_token"

    async def test_refuses_the_access_token_of_an_ended_session_at_once(
        self, client: Client, stand_in: StandIn
    ) -> None:
        user = await client.signed_in(stand_in.person())
        await client.verify_recent(user)
        await client.revoke_session(refresh_token=user.refresh_token)
        assert await reason_of(client.verify_recent(user)) == "invalid_token"
        assert await reason_of(client.verify_recent(user, user_deletion=True)) == "invalid_token"

    async def test_refuses_the_session_of_another_user(self, client: Client, stand_in: StandIn) -> None:
        user, stranger = await client.signed_in(stand_in.person()), await client.signed_in(stand_in.person())
        mixed = replace(user, user_id=stranger.user_id)
        assert await reason_of(client.verify_recent(mixed)) == "invalid_token"

    async def test_lets_a_deletion_be_asked_for_again_and_nothing_else(self, client: Client, stand_in: StandIn) -> None:
        user = await client.signed_in(stand_in.person())
        for _ in range(2):
            await client.revoke_session(user_id=user.user_id, all_sessions=True, user_deletion=True)
        assert (await client.events(user.user_id))[0] == "deletion_requested"
        assert (await client.events(user.user_id)).count("deletion_requested") == 1
        assert await reason_of(client.refresh(user.refresh_token)) == "invalid_refresh_token"
        await client.verify_recent(user, user_deletion=True)
        assert await reason_of(client.verify_recent(user)) == "invalid_token"
        await client.delete_user(user.user_id)
        await client.verify_recent(user, user_deletion=True)
        assert await reason_of(client.verify_recent(user)) == "invalid_token"

    @pytest.mark.parametrize("query", [(UserQueries, "find"), (EventQueries, "has")], ids=["user", "event"])
    async def test_lets_a_deletion_be_asked_for_again_while_it_ends(
        self, client: Client, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, query: tuple[type[object], str]
    ) -> None:
        """Both are looked at, and the user can be deleted in between."""
        user = await client.signed_in(stand_in.person())
        await client.revoke_session(user_id=user.user_id, all_sessions=True, user_deletion=True)
        of, name = query
        ask, ends = getattr(of, name), [True]

        async def ask_and_delete(self: object, *args: object) -> object:
            answer = await ask(self, *args)
            if ends:
                ends.clear()
                await client.delete_user(user.user_id)
            return answer

        monkeypatch.setattr(of, name, ask_and_delete)
        await client.verify_recent(user, user_deletion=True)


class TestProcesses:
    async def test_share_sessions(self, client: Client, start_service: StartService, stand_in: StandIn) -> None:
        other = await start_service()
        user = await client.signed_in(stand_in.person())
        first, second = await asyncio.gather(client.refresh(user.refresh_token), other.refresh(user.refresh_token))
        assert first.refresh_token == second.refresh_token
        assert (await other.refresh(first.refresh_token)).access_token


async def refusal_of(family: Sessions, tokens: Tokens) -> str:
    """Return why the session is not young enough, or over."""
    session_id = UUID(session_of(tokens.access_token.value))
    with pytest.raises(AppError) as caught:
        await family.verify_recent(tokens.user_id, session_id=session_id, user_deletion=False)
    assert caught.value.kind is Kind.UNAUTHENTICATED
    return caught.value.reason


def made_up(refresh_token: str) -> str:
    """Return a token forged with the session's id."""
    session_id = base64.urlsafe_b64decode(refresh_token)[:16]
    return base64.urlsafe_b64encode(session_id + bytes(len(refresh_token) * 3 // 4 - 16)).decode()


def session_of(access_token: str) -> str:
    """Return the session that an access token names."""
    return str(jwt.decode(access_token, options={"verify_signature": False})["sid"])
