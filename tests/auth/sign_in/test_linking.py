"""Linking further accounts, and the attacks that must fail."""

import asyncio
import hashlib
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import jwt
from redis.asyncio import Redis
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from services.auth.sign_in.outcomes import SignInError
from services.auth.store.tables import grant_revocations
from tests.auth.sign_in.test_sign_in import proof, reason_of
from tests.support.auth.client import Client
from tests.support.auth.stand_in import Person, StandIn


def is_granted(stand_in: StandIn, person: Person) -> bool:
    """Return whether the provider still holds a grant of this account."""
    return any(owner == person for owner, _ in stand_in.refresh_tokens.values())


async def pending_links(engine: AsyncEngine, person: Person) -> int:
    """Count the pending grants of this account."""
    query = select(func.count()).select_from(grant_revocations).where(grant_revocations.c.subject == person.subject)
    async with engine.connect() as connection:
        return int((await connection.execute(query)).scalar_one())


class TestLink:
    async def test_gives_the_user_one_more_account(
        self, client: Client, stand_in: StandIn, engine: AsyncEngine
    ) -> None:
        user, work = await client.signed_in(stand_in.person()), stand_in.person(email="work@example.com")
        linked = await client.link(user.user_id, work)
        accounts = await client.list_accounts(user.user_id)
        assert [account.account_id for account in accounts] == [user.account_id, linked]
        assert accounts[1].email == "work@example.com"
        assert is_granted(stand_in, work)
        assert await pending_links(engine, work) == 0

    async def test_makes_no_session(self, client: Client, stand_in: StandIn) -> None:
        user = await client.signed_in(stand_in.person())
        outcome = await client.connect(stand_in.person(), link_to=user.user_id)
        answer = await client.redeem(outcome.login_code, user_id=user.user_id)
        assert answer.linked_account_id
        assert (answer.access_token, answer.refresh_token) == ("", "")

    async def test_attaches_nothing_before_it_is_redeemed(
        self, client: Client, stand_in: StandIn, engine: AsyncEngine
    ) -> None:
        user, work = await client.signed_in(stand_in.person()), stand_in.person()
        await client.connect(work, link_to=user.user_id)
        assert [account.account_id for account in await client.list_accounts(user.user_id)] == [user.account_id]
        assert await pending_links(engine, work) == 1

    async def test_stores_the_pending_grant_encrypted(
        self, client: Client, stand_in: StandIn, engine: AsyncEngine
    ) -> None:
        user, work = await client.signed_in(stand_in.person()), stand_in.person()
        await client.connect(work, link_to=user.user_id)
        query = select(grant_revocations).where(grant_revocations.c.subject == work.subject)
        async with engine.connect() as connection:
            row = (await connection.execute(query)).one()
        [token] = [token for token, (owner, _) in stand_in.refresh_tokens.items() if owner == work]
        assert token.encode() not in row.encrypted
        assert timedelta(seconds=110) < row.due_at - row.created_at < timedelta(seconds=130)

    async def test_of_an_account_of_the_user_keeps_its_id_and_revives_it(
        self, client: Client, stand_in: StandIn
    ) -> None:
        user, work = await client.signed_in(stand_in.person()), stand_in.person()
        linked = await client.link(user.user_id, work)
        stand_in.revoke_everything(work)
        work.email = "renamed@example.com"
        assert await client.link(user.user_id, work) == linked
        assert [account.email for account in await client.list_accounts(user.user_id)][1] == "renamed@example.com"

    async def test_of_the_login_account_itself_renews_it(self, client: Client, stand_in: StandIn) -> None:
        person = stand_in.person()
        user = await client.signed_in(person)
        assert await client.link(user.user_id, person) == user.account_id

    async def test_of_another_subject_behind_the_same_address_is_another_account(
        self, client: Client, stand_in: StandIn
    ) -> None:
        user = await client.signed_in(stand_in.person(email="shared@example.com"))
        assert await client.link(user.user_id, stand_in.person(email="shared@example.com")) != user.account_id

    async def test_asks_again_for_consent_when_there_is_no_refresh_token(
        self, client: Client, stand_in: StandIn
    ) -> None:
        user, work = await client.signed_in(stand_in.person()), stand_in.person()
        stand_in.consent((await client.start()).authorization_url, work)
        again = await client.connect(work, link_to=user.user_id)
        assert parse_qs(urlsplit(again.authorization_url).query)["prompt"] == ["consent"]
        outcome = await client.complete(**stand_in.consent(again.authorization_url, work))
        assert (await client.redeem(outcome.login_code, user_id=user.user_id)).linked_account_id

    async def test_is_an_event_of_the_user(self, client: Client, stand_in: StandIn) -> None:
        user = await client.signed_in(stand_in.person())
        await client.link(user.user_id, stand_in.person())
        assert await client.events(user.user_id) == ["account_linked", "signed_in", "account_connected"]


class TestConsentPhishingByLink:
    """Attacks in which an attacker starts a link and a victim consents."""

    async def test_the_victims_own_session_does_not_commit_it(
        self, client: Client, stand_in: StandIn, engine: AsyncEngine
    ) -> None:
        attacker, victim = await client.signed_in(stand_in.person()), await client.signed_in(stand_in.person())
        work = stand_in.person()
        outcome = await client.connect(work, link_to=attacker.user_id)
        assert await reason_of(client.redeem(outcome.login_code, user_id=victim.user_id)) == "link_of_another_user"
        assert len(await client.list_accounts(attacker.user_id)) == 1
        assert len(await client.list_accounts(victim.user_id)) == 1
        assert not is_granted(stand_in, work)
        assert await pending_links(engine, work) == 0

    async def test_a_browser_without_a_session_does_not_commit_it(self, client: Client, stand_in: StandIn) -> None:
        attacker, work = await client.signed_in(stand_in.person()), stand_in.person()
        outcome = await client.connect(work, link_to=attacker.user_id)
        assert await reason_of(client.redeem(outcome.login_code)) == "link_of_another_user"
        assert not is_granted(stand_in, work)

    async def test_the_login_code_is_used_up_by_the_refusal(self, client: Client, stand_in: StandIn) -> None:
        attacker = await client.signed_in(stand_in.person())
        outcome = await client.connect(stand_in.person(), link_to=attacker.user_id)
        await reason_of(client.redeem(outcome.login_code))
        again = client.redeem(outcome.login_code, user_id=attacker.user_id)
        assert await reason_of(again) == "invalid_hand_off"

    async def test_the_attacker_cannot_redeem_the_state_of_start(self, client: Client, stand_in: StandIn) -> None:
        attacker = await client.signed_in(stand_in.person())
        started = await client.start(link_to=attacker.user_id)
        await client.complete(**stand_in.consent(started.authorization_url, stand_in.person()))
        assert await reason_of(client.redeem(started.state, user_id=attacker.user_id)) == "invalid_hand_off"

    async def test_the_attacker_sees_the_refusal_only_in_their_own_events(
        self, client: Client, stand_in: StandIn
    ) -> None:
        attacker = await client.signed_in(stand_in.person())
        outcome = await client.connect(stand_in.person(), link_to=attacker.user_id)
        await reason_of(client.redeem(outcome.login_code))
        assert (await client.events(attacker.user_id))[0] == "link_refused"

    async def test_a_connection_that_the_victim_already_has_is_not_revoked_with_it(
        self, client: Client, stand_in: StandIn
    ) -> None:
        stand_in.deviations.always_consents = True
        attacker = await client.signed_in(stand_in.person())
        victim = await client.signed_in(stand_in.person())
        outcome = await client.connect(victim.person, link_to=attacker.user_id)
        assert await reason_of(client.redeem(outcome.login_code)) == "link_of_another_user"
        assert is_granted(stand_in, victim.person)
        assert stand_in.revocations_of(victim.person) == 0


class TestRefusedLink:
    async def test_of_an_account_that_is_linked_to_another_user(self, client: Client, stand_in: StandIn) -> None:
        stand_in.deviations.always_consents = True
        owner, other = await client.signed_in(stand_in.person()), await client.signed_in(stand_in.person())
        work = stand_in.person()
        linked = await client.link(owner.user_id, work)
        outcome = await client.connect(work, link_to=other.user_id)
        redeemed = client.redeem(outcome.login_code, user_id=other.user_id)
        assert await reason_of(redeemed) == "account_of_another_user"
        assert [account.account_id for account in await client.list_accounts(owner.user_id)][1] == linked
        assert is_granted(stand_in, work)

    async def test_of_another_users_way_to_sign_in_even_if_that_is_disconnected(
        self, client: Client, stand_in: StandIn
    ) -> None:
        owner, other = await client.signed_in(stand_in.person()), await client.signed_in(stand_in.person())
        await client.disconnect(owner.account_id, owner.user_id)
        outcome = await client.connect(owner.person, link_to=other.user_id)
        redeemed = client.redeem(outcome.login_code, user_id=other.user_id)
        assert await reason_of(redeemed) == "account_of_another_user"
        assert not is_granted(stand_in, owner.person)

    async def test_by_a_wrong_verifier_is_revoked(self, client: Client, stand_in: StandIn) -> None:
        user, work = await client.signed_in(stand_in.person()), stand_in.person()
        _, challenge = proof()
        outcome = await client.connect(work, link_to=user.user_id, code_challenge=challenge)
        redeemed = client.redeem(outcome.login_code, user_id=user.user_id, code_verifier="w" * 43)
        assert await reason_of(redeemed) == "invalid_code_verifier"
        assert not is_granted(stand_in, work)

    async def test_whose_user_was_deleted_meanwhile(self, client: Client, stand_in: StandIn) -> None:
        user = await client.signed_in(stand_in.person())
        outcome = await client.connect(stand_in.person(), link_to=user.user_id)
        await client.delete_user(user.user_id)
        assert await reason_of(client.redeem(outcome.login_code, user_id=user.user_id)) == "invalid_hand_off"

    async def test_leaves_no_trace_of_a_user_deleted_meanwhile(self, client: Client, stand_in: StandIn) -> None:
        user = await client.signed_in(stand_in.person())
        outcome = await client.connect(stand_in.person(), link_to=user.user_id)
        await client.delete_user(user.user_id)
        assert await reason_of(client.redeem(outcome.login_code)) == "link_of_another_user"
        assert await client.events(user.user_id) == ["user_deleted"]

    async def test_for_an_unknown_user(self, client: Client, stand_in: StandIn) -> None:
        unknown = str(uuid4())
        outcome = await client.connect(stand_in.person(), link_to=unknown)
        assert await reason_of(client.redeem(outcome.login_code, user_id=unknown)) == "invalid_hand_off"

    async def test_raced_by_eight_is_committed_once(self, client: Client, stand_in: StandIn) -> None:
        user = await client.signed_in(stand_in.person())
        outcome = await client.connect(stand_in.person(), link_to=user.user_id)
        calls = [client.redeem(outcome.login_code, user_id=user.user_id) for _ in range(8)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(not isinstance(result, BaseException) for result in results) == 1
        assert len(await client.list_accounts(user.user_id)) == 2

    async def test_that_comes_after_its_time_is_over(
        self, client: Client, stand_in: StandIn, engine: AsyncEngine
    ) -> None:
        user, work = await client.signed_in(stand_in.person()), stand_in.person()
        outcome = await client.connect(work, link_to=user.user_id)
        async with engine.begin() as connection:
            late = update(grant_revocations).where(grant_revocations.c.subject == work.subject)
            await connection.execute(late.values(due_at=func.now()))
        assert await reason_of(client.redeem(outcome.login_code, user_id=user.user_id)) == "invalid_hand_off"

    async def test_of_two_users_at_once_goes_to_one(self, client: Client, stand_in: StandIn) -> None:
        stand_in.deviations.always_consents = True
        users = [await client.signed_in(stand_in.person()) for _ in range(2)]
        work = stand_in.person()
        outcomes = [await client.connect(work, link_to=user.user_id) for user in users]
        results = await asyncio.gather(
            *[
                client.redeem(outcome.login_code, user_id=user.user_id)
                for outcome, user in zip(outcomes, users, strict=True)
            ],
            return_exceptions=True,
        )
        assert sum(not isinstance(result, BaseException) for result in results) == 1
        assert sorted([len(await client.list_accounts(user.user_id)) for user in users]) == [1, 2]
        assert is_granted(stand_in, work)


class TestSignInWithALinkedAccount:
    async def test_is_refused_and_changes_nothing(self, client: Client, stand_in: StandIn) -> None:
        user, work = await client.signed_in(stand_in.person()), stand_in.person()
        await client.link(user.user_id, work)
        work.email = "changed@example.com"
        assert (await client.connect(work)).error == SignInError.ACCOUNT_IS_LINKED
        assert (await client.list_accounts(user.user_id))[1].email != "changed@example.com"
        assert is_granted(stand_in, work)

    async def test_works_once_it_is_disconnected(self, client: Client, stand_in: StandIn) -> None:
        user, work = await client.signed_in(stand_in.person()), stand_in.person()
        linked = await client.link(user.user_id, work)
        await client.disconnect(linked, user.user_id)
        assert (await client.signed_in(work)).user_id != user.user_id


class TestLoginCodeOfASignIn:
    async def test_is_not_bound_to_a_signed_in_user(self, client: Client, stand_in: StandIn) -> None:
        signed_in = await client.signed_in(stand_in.person())
        outcome = await client.connect(stand_in.person())
        session = await client.redeem(outcome.login_code, user_id=signed_in.user_id)
        claims = jwt.decode(session.access_token, options={"verify_signature": False})
        assert UUID(claims["sub"]) != UUID(signed_in.user_id)

    async def test_of_a_user_deleted_meanwhile_is_refused(
        self, client: Client, stand_in: StandIn, redis: Redis
    ) -> None:
        user = await client.signed_in(stand_in.person())
        outcome = await client.connect(user.person)
        await client.delete_user(user.user_id)
        digest = hashlib.sha256(outcome.login_code.encode()).hexdigest()
        assert await redis.exists(f"auth:login_code:{digest}") == 1
        assert await reason_of(client.redeem(outcome.login_code)) == "invalid_hand_off"
