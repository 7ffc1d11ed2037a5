"""Connect sessions, from their creation to their completion, and the attacks that must fail."""

import asyncio
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import pytest
from mailroom.auth.v1 import auth_pb2
from redis.asyncio import Redis
from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from services.auth.applications.api_keys import ApiKeys, KeyRules
from services.auth.applications.connect_sessions import ConnectRequest, ConnectSessions
from services.auth.cipher import Cipher
from services.auth.model import Account
from services.auth.provider_grants.accounts import Accounts
from services.auth.provider_grants.new_grants import NewGrants
from services.auth.provider_grants.recent_revocations import RecentRevocations
from services.auth.provider_grants.revocations import GrantRevocations
from services.auth.providers.base import Consent
from services.auth.sign_in.outcomes import SignInError
from services.auth.sign_up import SignUpPolicy
from services.auth.store.tables import applications, connect_sessions, grant_revocations, metadata
from services.auth.store.transaction import Store
from services.kit.scopes import Scope
from tests.auth.sign_in.test_linking import is_granted, pending_links
from tests.auth.sign_in.test_sign_in import reason_of
from tests.support.auth.client import SECRET_KEY, Client, OpenService
from tests.support.auth.clock import Time
from tests.support.auth.connections import RETURN, Shop
from tests.support.auth.parts import ScriptedProvider, make_connect_sessions
from tests.support.auth.stand_in import StandIn


async def new_shop(client: Client, stand_in: StandIn, engine: AsyncEngine) -> Shop:
    """Add an application with the usual redirect URL, and a key of it."""
    store, application_id = Store(engine), uuid4()
    async with store.transaction() as transaction:
        await transaction.applications.add(application_id, name=f"Shop {application_id}", redirect_urls=[RETURN])
        await transaction.commit()
    keys = ApiKeys(store=store, clock=lambda: datetime.now(UTC), random=os.urandom)
    rules = KeyRules(name="key", scopes=frozenset({Scope.MAILBOXES_MANAGE}))
    _, key = await keys.create(rules, application_id=application_id)
    verified = await client.api_keys.VerifyApiKey(auth_pb2.VerifyApiKeyRequest(api_key=key.value))
    return Shop(client, stand_in, str(application_id), verified.principal)


async def withdraw_urls(engine: AsyncEngine, shop: Shop) -> None:
    """Take all redirect URLs from the application."""
    statement = update(applications).where(applications.c.application_id == UUID(shop.application_id))
    async with engine.begin() as connection:
        await connection.execute(statement.values(redirect_urls=[]))


@pytest.fixture
async def shop(client: Client, stand_in: StandIn, engine: AsyncEngine) -> Shop:
    return await new_shop(client, stand_in, engine)


async def expire(engine: AsyncEngine, session: str, *, seconds: float = 0) -> None:
    """Let the present state of a session end so many seconds ago, together with its pending grant."""
    past = func.now() - timedelta(seconds=seconds)
    async with engine.begin() as connection:
        statement = update(connect_sessions).where(connect_sessions.c.session_id == UUID(session))
        changed = await connection.execute(statement.values(expires_at=past).returning(connect_sessions.c.grant_id))
        grant_id = changed.scalar_one()
        await connection.execute(
            update(grant_revocations).where(grant_revocations.c.grant_id == grant_id).values(due_at=past)
        )


class TestCreation:
    async def test_adds_the_user_under_the_applications_own_id(self, shop: Shop) -> None:
        first, second, other = await shop.create("42"), await shop.create("42"), await shop.create("43")
        assert first.user_id == second.user_id != other.user_id
        assert len({first.session_id, second.session_id, first.token, second.token}) == 4
        assert len(first.token) >= 43

    @pytest.mark.parametrize(
        "url",
        [
            *("https://shop.example/connected", f"{RETURN}/", f"{RETURN}&next=1", RETURN.upper()),
            *("https://evil.example/connected?lang=ru", "", "https://shop.example:443/connected?lang=ru"),
        ],
    )
    async def test_takes_none_but_the_applications_redirect_urls(self, shop: Shop, url: str) -> None:
        assert await reason_of(shop.create(redirect_url=url)) == "invalid_redirect_url"

    async def test_takes_no_redirect_url_of_another_application(self, shop: Shop, engine: AsyncEngine) -> None:
        await new_shop(shop.client, shop.stand_in, engine)
        await withdraw_urls(engine, shop)
        assert await reason_of(shop.create()) == "invalid_redirect_url"

    async def test_refuses_unknown_providers_and_access(self, shop: Shop) -> None:
        assert await reason_of(shop.create(provider="hotmail")) == "unknown_provider"
        assert await reason_of(shop.create(access=["everything"])) == "invalid_request"

    async def test_stores_neither_token_nor_code(self, shop: Shop, stand_in: StandIn, engine: AsyncEngine) -> None:
        made = await shop.create()
        back = await shop.consent(await shop.begin(made.token), stand_in.person())
        async with engine.connect() as connection:
            for table in metadata.tables:
                for row in await connection.execute(text(f"SELECT t::text FROM {table} t")):  # noqa: S608 - our own names
                    assert made.token not in row[0]
                    assert back["code"] not in row[0]


class TestPage:
    async def test_names_application_providers_and_access(self, shop: Shop) -> None:
        page = await shop.page((await shop.create()).token)
        assert page.application_name.startswith("Shop ")
        assert list(page.access) == ["read"]
        assert "google" in page.providers
        assert page.redirect_url == RETURN

    async def test_offers_the_provider_that_the_application_chose(self, shop: Shop) -> None:
        made = await shop.create(provider="google")
        assert list((await shop.page(made.token)).providers) == ["google"]
        assert await reason_of(shop.begin(made.token, provider="yandex")) == "unknown_provider"

    async def test_is_opened_by_scanners_without_effect(self, shop: Shop, stand_in: StandIn) -> None:
        made = await shop.create()
        for _ in range(3):
            await shop.page(made.token)
        assert "code" in await shop.consent(await shop.begin(made.token), stand_in.person())

    async def test_begins_again_after_a_double_click_or_a_step_back(self, shop: Shop, stand_in: StandIn) -> None:
        made = await shop.create()
        await shop.begin(made.token)
        assert "code" in await shop.consent(await shop.begin(made.token), stand_in.person())

    async def test_passes_the_address_on_that_the_user_is_likely_to_take(self, shop: Shop) -> None:
        made = await shop.create(login_hint="ada@example.com")
        query = parse_qs(urlsplit(await shop.begin(made.token)).query)
        assert query["login_hint"] == ["ada@example.com"]
        assert "prompt" not in query
        unhinted = parse_qs(urlsplit(await shop.begin((await shop.create()).token)).query)
        assert unhinted["prompt"] == ["select_account"]

    @pytest.mark.parametrize("end", ["unknown", "expired", "used", "url withdrawn"])
    async def test_ends(self, shop: Shop, stand_in: StandIn, engine: AsyncEngine, end: str) -> None:
        made = await shop.create()
        token = made.token
        match end:
            case "unknown":
                token = made.token[:-1]
            case "expired":
                await expire(engine, made.session_id)
            case "used":
                await shop.consent(await shop.begin(token), stand_in.person())
            case _:
                await withdraw_urls(engine, shop)
        assert await reason_of(shop.page(token)) == "connect_session_not_found"
        assert await reason_of(shop.begin(token)) == "connect_session_not_found"


class TestConsent:
    async def test_attaches_nothing_and_parks_the_grant(
        self, shop: Shop, stand_in: StandIn, engine: AsyncEngine
    ) -> None:
        made, person = await shop.create(), stand_in.person()
        back = await shop.consent(await shop.begin(made.token), person)
        assert back.keys() == {"session", "code"}
        assert back["session"] == made.session_id
        assert await shop.client.list_accounts(made.user_id) == []
        async with engine.connect() as connection:
            query = select(grant_revocations).where(grant_revocations.c.subject == person.subject)
            parked = (await connection.execute(query)).one()
        [token] = [token for token, (owner, _) in stand_in.refresh_tokens.items() if owner == person]
        assert token.encode() not in parked.encrypted
        assert timedelta(seconds=590) < parked.due_at - parked.created_at < timedelta(seconds=610)

    async def test_that_was_refused_tells_the_application_and_leaves_the_session(
        self, shop: Shop, stand_in: StandIn
    ) -> None:
        made = await shop.create()
        state = parse_qs(urlsplit(await shop.begin(made.token)).query)["state"][0]
        outcome = await shop.client.complete(state=state, error="access_denied")
        assert outcome.return_url == f"{RETURN}&session={made.session_id}&error=access_denied"
        assert "code" in await shop.consent(await shop.begin(made.token), stand_in.person())

    async def test_without_mail_is_refused(self, shop: Shop, stand_in: StandIn) -> None:
        made = await shop.create()
        back = await shop.consent(await shop.begin(made.token), stand_in.person(), granted="openid email")
        assert back == {"session": made.session_id, "error": SignInError.MISSING_SCOPE}

    async def test_without_offline_access_is_asked_for_again(self, shop: Shop, stand_in: StandIn) -> None:
        person = stand_in.person()
        stand_in.consent((await shop.client.start()).authorization_url, person)
        made = await shop.create(login_hint=person.email)
        again = await shop.client.complete(**stand_in.consent(await shop.begin(made.token), person))
        query = parse_qs(urlsplit(again.authorization_url).query)
        assert (query["prompt"], query["login_hint"]) == (["consent"], [person.email])
        assert "code" in await shop.consent(again.authorization_url, person)

    async def test_of_a_second_browser_is_refused_and_revoked(
        self, shop: Shop, stand_in: StandIn, engine: AsyncEngine
    ) -> None:
        made = await shop.create()
        urls = [await shop.begin(made.token) for _ in range(2)]
        first, second = stand_in.person(), stand_in.person()
        back = await shop.consent(urls[0], first)
        assert (await shop.consent(urls[1], second))["error"] == SignInError.INVALID_STATE
        assert not is_granted(stand_in, second)
        assert await pending_links(engine, second) == 0
        assert (await shop.complete(back["session"], back["code"])).account.email == first.email

    async def test_of_two_browsers_at_once_is_taken_once(self, shop: Shop, stand_in: StandIn) -> None:
        made = await shop.create()
        urls = [await shop.begin(made.token) for _ in range(2)]
        backs = await asyncio.gather(*[shop.consent(url, stand_in.person()) for url in urls])
        assert sorted("code" in back for back in backs) == [False, True]

    async def test_may_take_a_few_minutes_longer_than_the_page_opens(
        self, shop: Shop, stand_in: StandIn, engine: AsyncEngine
    ) -> None:
        in_time, late = await shop.create(), await shop.create()
        urls = [await shop.begin(made.token) for made in (in_time, late)]
        await expire(engine, in_time.session_id, seconds=590)
        await expire(engine, late.session_id, seconds=610)
        assert "code" in await shop.consent(urls[0], stand_in.person())
        assert (await shop.consent(urls[1], stand_in.person()))["error"] == SignInError.INVALID_STATE

    async def test_of_a_user_deleted_meanwhile_is_revoked(self, shop: Shop, stand_in: StandIn) -> None:
        made, person = await shop.create(), stand_in.person()
        url = await shop.begin(made.token)
        await shop.client.delete_user(made.user_id)
        assert (await shop.consent(url, person))["error"] == SignInError.INVALID_STATE
        assert not is_granted(stand_in, person)


class TestCompletion:
    async def test_connects_the_account(self, shop: Shop, stand_in: StandIn, engine: AsyncEngine) -> None:
        person = stand_in.person()
        back = await shop.consented(person)
        done = await shop.complete(back["session"], back["code"])
        assert (done.account.email, done.account.application_id) == (person.email, shop.application_id)
        assert (done.user.user_id, done.user.external_user_id) == (done.account.user_id, "42")
        assert [item.account_id for item in await shop.client.list_accounts(done.user.user_id)] == [
            done.account.account_id
        ]
        assert await shop.client.events(done.user.user_id) == ["account_connected"]
        assert is_granted(stand_in, person)
        assert await pending_links(engine, person) == 0

    async def test_of_the_same_account_keeps_its_id(self, shop: Shop, stand_in: StandIn) -> None:
        person = stand_in.person()
        first = await shop.connected(person)
        stand_in.revoke_everything(person)
        again = await shop.connected(person)
        assert (again.account_id, again.user_id) == (first.account_id, first.user_id)
        assert (await shop.client.events(first.user_id))[0] == "account_reconnected"

    async def test_makes_no_login(self, shop: Shop, stand_in: StandIn) -> None:
        person = stand_in.person()
        connected = await shop.connected(person)
        assert (await shop.client.signed_in(person)).user_id != connected.user_id

    async def test_that_is_repeated_gets_the_same_answer(self, shop: Shop, stand_in: StandIn) -> None:
        back = await shop.consented(stand_in.person())
        answers = [await shop.complete(back["session"], back["code"]) for _ in range(2)]
        assert answers[0] == answers[1]
        assert await shop.client.events(answers[0].user.user_id) == ["account_connected"]

    async def test_at_several_at_once_happens_once(self, shop: Shop, stand_in: StandIn) -> None:
        back = await shop.consented(stand_in.person())
        answers = await asyncio.gather(*[shop.complete(back["session"], back["code"]) for _ in range(5)])
        assert len({answer.account.account_id for answer in answers}) == 1
        assert await shop.client.events(answers[0].user.user_id) == ["account_connected"]

    async def test_is_not_repeated_for_an_account_disconnected_since(self, shop: Shop, stand_in: StandIn) -> None:
        back = await shop.consented(stand_in.person())
        account = (await shop.complete(back["session"], back["code"])).account
        await shop.client.disconnect(account.account_id, account.user_id)
        assert await reason_of(shop.complete(back["session"], back["code"])) == "invalid_connect_code"
        assert await shop.client.list_accounts(account.user_id) == []

    async def test_outlives_the_process_that_took_the_consent(
        self, open_service: OpenService, stand_in: StandIn, engine: AsyncEngine
    ) -> None:
        async with open_service() as first:
            shop = await new_shop(first, stand_in, engine)
            back = await shop.consented(stand_in.person())
        async with open_service() as second:
            assert (await replace(shop, client=second).complete(back["session"], back["code"])).account

    async def test_of_another_users_account_is_refused_and_leaves_it_alone(
        self, shop: Shop, stand_in: StandIn, engine: AsyncEngine
    ) -> None:
        stand_in.deviations.always_consents = True
        person = stand_in.person()
        owned = await shop.connected(person, "owner")
        back = await shop.consented(person, "another")
        assert await reason_of(shop.complete(back["session"], back["code"])) == "account_of_another_user"
        [account] = await shop.client.list_accounts(owned.user_id)
        assert account.account_id == owned.account_id
        assert is_granted(stand_in, person)
        assert await pending_links(engine, person) == 0

    async def test_by_two_applications_makes_two_accounts(
        self, shop: Shop, client: Client, stand_in: StandIn, engine: AsyncEngine
    ) -> None:
        person, other = stand_in.person(), await new_shop(client, stand_in, engine)
        stand_in.deviations.always_consents = True
        first, second = await shop.connected(person), await other.connected(person)
        assert first.account_id != second.account_id
        assert first.grant_id == second.grant_id


class TestPhishing:
    """An attacker sends the URL of a session to a victim, who consents; or redeems a code where it does not belong."""

    async def test_a_victims_consent_attaches_nothing_to_the_attackers_user(
        self, shop: Shop, stand_in: StandIn, engine: AsyncEngine
    ) -> None:
        attackers = await shop.create("attacker")
        victim = stand_in.person()
        back = await shop.consent(await shop.begin(attackers.token), victim)
        # The back end sees another user in the browser that brings the code, and does not complete. Nor can the
        # attacker, who knows the session and the token, but not the code.
        for known in (attackers.token, attackers.session_id, ""):
            refused = shop.complete(attackers.session_id, known)
            assert await reason_of(refused) == "invalid_connect_code"
        assert await shop.client.list_accounts(attackers.user_id) == []
        await expire(engine, back["session"])
        assert await reason_of(shop.complete(back["session"], back["code"])) == "invalid_connect_code"

    async def test_a_code_is_refused_to_another_application(
        self, shop: Shop, stand_in: StandIn, engine: AsyncEngine
    ) -> None:
        back = await shop.consented(stand_in.person())
        other = await new_shop(shop.client, shop.stand_in, engine)
        assert await reason_of(other.complete(back["session"], back["code"])) == "connect_session_not_found"
        assert (await shop.complete(back["session"], back["code"])).account

    async def test_a_code_is_refused_without_its_session(self, shop: Shop, stand_in: StandIn) -> None:
        back, other = await shop.consented(stand_in.person()), await shop.consented(stand_in.person(), "43")
        assert await reason_of(shop.complete(other["session"], back["code"])) == "invalid_connect_code"
        assert await reason_of(shop.complete("", back["code"])) == "connect_session_not_found"
        assert await reason_of(shop.complete(str(uuid4()), back["code"])) == "connect_session_not_found"

    async def test_a_late_code_is_refused(self, shop: Shop, stand_in: StandIn, engine: AsyncEngine) -> None:
        back = await shop.consented(stand_in.person())
        await expire(engine, back["session"])
        assert await reason_of(shop.complete(back["session"], back["code"])) == "invalid_connect_code"

    async def test_a_code_is_refused_ten_minutes_after_its_first_use(
        self, shop: Shop, stand_in: StandIn, engine: AsyncEngine
    ) -> None:
        back = await shop.consented(stand_in.person())
        await shop.complete(back["session"], back["code"])
        await expire(engine, back["session"])
        assert await reason_of(shop.complete(back["session"], back["code"])) == "invalid_connect_code"

    async def test_a_code_redeems_no_sign_in_nor_the_other_way_round(self, shop: Shop, stand_in: StandIn) -> None:
        back = await shop.consented(stand_in.person())
        assert await reason_of(shop.client.redeem(back["code"])) == "invalid_hand_off"
        login_code = (await shop.client.connect(stand_in.person())).login_code
        assert await reason_of(shop.complete(back["session"], login_code)) == "invalid_connect_code"


class NoRenewal:
    """Tokens that no test here refreshes."""

    async def renew(self, account: Account) -> None:
        raise NotImplementedError


class TestForgetting:
    async def test_revokes_what_was_parked_and_deletes_what_has_expired(
        self, fresh_engine: AsyncEngine, redis: Redis
    ) -> None:
        time, store, cipher = Time(), Store(fresh_engine), Cipher(SECRET_KEY, previous=None)
        provider = ScriptedProvider(time)
        recent = RecentRevocations(redis)
        revocations = GrantRevocations(
            store=store, cipher=cipher, providers={"google": provider}, recent=recent, clock=time.now, new_id=uuid4
        )
        users = Accounts(
            store=store, cipher=cipher, revocations=revocations, sign_ups=SignUpPolicy(), new_id=uuid4, clock=time.now
        )
        new_grants = NewGrants(recent=recent, tokens=NoRenewal())
        sessions = make_connect_sessions(store, users, new_grants, revocations, time)
        session = await _consented(sessions, store, provider)
        await revocations.revoke_due()
        assert provider.live("ada")
        time.advance(601)
        await revocations.revoke_due()
        assert not provider.live("ada")
        await sessions.forget_old()
        assert await _count(fresh_engine, session) == 1
        time.advance(3600)
        await sessions.forget_old()
        assert await _count(fresh_engine, session) == 0


async def _consented(sessions: ConnectSessions, store: Store, provider: ScriptedProvider) -> UUID:
    """Return a session to which the owner of the account has consented."""
    application_id = uuid4()
    async with store.transaction() as transaction:
        await transaction.applications.add(application_id, name=application_id.hex, redirect_urls=[RETURN])
        await transaction.commit()
    session, _ = await sessions.create(
        ConnectRequest(application_id=application_id, external_user_id="42", redirect_url=RETURN)
    )
    identity, grant = await provider.exchange(
        provider.consent("ada"), code_verifier="v", nonce="n", max_age=None, timeout=1
    )
    assert await sessions.park(session.session_id, Consent("google", identity, grant))
    return session.session_id


async def _count(engine: AsyncEngine, session_id: UUID) -> int:
    query = select(func.count()).select_from(connect_sessions).where(connect_sessions.c.session_id == session_id)
    async with engine.connect() as connection:
        return int((await connection.execute(query)).scalar_one())
