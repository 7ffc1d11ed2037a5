"""Who may sign up: the lists of addresses and domains, and sign-ups that they refuse."""

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from services.auth.providers.base import ProviderIdentity
from services.auth.sign_in.outcomes import SignInError
from services.auth.sign_up import SignUpPolicy
from services.auth.store.tables import grant_revocations, security_events, users
from tests.support.auth.client import Client, StartService
from tests.support.auth.stand_in import Person, StandIn


def admits(email: str, *, emails: str = "", domains: str = "", verified: bool | None = True) -> bool:
    """Return whether the lists admit the address."""
    identity = ProviderIdentity(subject="1", email=email, email_verified=verified)
    return SignUpPolicy.of(emails=emails, domains=domains).admits(identity)


class TestPolicy:
    @pytest.mark.parametrize("verified", [True, None])
    def test_without_lists_admits_everyone(self, verified: bool | None) -> None:
        assert admits("anyone@anywhere.example", verified=verified)

    def test_compares_addresses_without_case(self) -> None:
        assert admits("ADA@Example.ORG", emails="grace@example.org, ada@example.org")
        assert admits("ada@example.org", emails="Ada@EXAMPLE.org")
        assert not admits("ada@example.com", emails="ada@example.org")

    @pytest.mark.parametrize(
        ("listed", "other"),
        [
            ("strasse", "straße"),
            ("boss", "bo\u017f\u017f"),
            ("fiona", "\ufb01ona"),
            ("ada", "\uff41da"),
            ("ada", "аda"),
        ],
    )
    def test_tells_letters_apart_that_look_or_fold_alike(self, listed: str, other: str) -> None:
        assert not admits(f"{other}@example.org", emails=f"{listed}@example.org")
        assert not admits(f"{listed}@example.org", emails=f"{other}@example.org")

    def test_compares_domains_without_case(self) -> None:
        assert admits("ada@EXAMPLE.org", domains="example.com Example.Org")

    @pytest.mark.parametrize(
        "domain",
        ["müller.example", "MÜLLER.example", "mu\u0308ller.example", "xn--mller-kva.example", "müller\u3002example."],
    )
    def test_knows_a_domain_in_each_of_its_forms(self, domain: str) -> None:
        assert admits("ada@xn--mller-kva.example", domains=domain)
        assert admits(f"ada@{domain}", domains="müller.example")
        assert admits(f"ada@{domain}", emails="ADA@müller.example")

    @pytest.mark.parametrize("email", ["ada@mail.example.com", "ada@notexample.com", "ada@example.com.evil.example"])
    def test_counts_whole_domains_only(self, email: str) -> None:
        assert not admits(email, domains="example.com")

    def test_takes_the_domain_from_behind_the_last_at_sign(self) -> None:
        assert not admits('"x@example.com"@evil.example', domains="example.com")

    @pytest.mark.parametrize("email", ["ada@exa mple.com", "ada@-.com", "ada@", "example.com"])
    def test_admits_no_malformed_address(self, email: str) -> None:
        assert not admits(email, domains="example.com")

    @pytest.mark.parametrize("verified", [False, None])
    def test_admits_verified_addresses_only(self, verified: bool | None) -> None:
        assert not admits("ada@example.com", domains="example.com", verified=verified)
        assert not admits("ada@example.com", emails="ada@example.com", verified=verified)


async def events_of(engine: AsyncEngine, email: str) -> list[str]:
    """Return the types of the events with this address."""
    query = select(security_events.c.type).where(security_events.c.email == email)
    async with engine.connect() as connection:
        return list((await connection.execute(query)).scalars())


async def is_user(engine: AsyncEngine, person: Person) -> bool:
    query = select(users.c.user_id).where(users.c.login_subject == person.subject)
    async with engine.connect() as connection:
        return (await connection.execute(query)).one_or_none() is not None


class TestSignUp:
    async def test_is_refused_outside_of_the_lists(
        self, start_service: StartService, stand_in: StandIn, engine: AsyncEngine
    ) -> None:
        closed = await start_service(auth_allowed_domains="example.org")
        person = stand_in.person(email="mallory@evil.example")
        assert (await closed.connect(person)).error == SignInError.SIGN_UP_NOT_ALLOWED
        assert not await is_user(engine, person)
        assert await events_of(engine, "mallory@evil.example") == ["sign_up_refused"]

    async def test_that_is_refused_leaves_a_grant_to_revoke(
        self, start_service: StartService, stand_in: StandIn, engine: AsyncEngine
    ) -> None:
        closed = await start_service(auth_allowed_domains="example.org")
        person = stand_in.person()
        await closed.connect(person)
        query = select(grant_revocations.c.pending_link).where(grant_revocations.c.subject == person.subject)
        async with engine.connect() as connection:
            assert (await connection.execute(query)).scalars().all() == [False]

    async def test_is_admitted_by_either_list(self, start_service: StartService, stand_in: StandIn) -> None:
        closed = await start_service(auth_allowed_domains="example.org", auth_allowed_emails="grace@example.com")
        assert (await closed.connect(stand_in.person(email="ada@example.org"))).login_code
        assert (await closed.connect(stand_in.person(email="Grace@example.com"))).login_code

    async def test_needs_an_address_that_the_provider_calls_verified(
        self, start_service: StartService, client: Client, stand_in: StandIn
    ) -> None:
        closed = await start_service(auth_allowed_domains="example.org")
        person = stand_in.person(email="silent@example.org", email_verified=None)
        assert (await closed.connect(person)).error == SignInError.SIGN_UP_NOT_ALLOWED
        assert (await client.connect(stand_in.person(email_verified=None))).login_code

    async def test_is_not_what_an_existing_user_does(
        self, client: Client, start_service: StartService, stand_in: StandIn
    ) -> None:
        user = await client.signed_in(stand_in.person(email="ada@example.com"))
        closed = await start_service(auth_allowed_domains="example.org")
        assert (await closed.signed_in(user.person)).user_id == user.user_id
        assert await closed.link(user.user_id, stand_in.person(email="private@example.net"))

    async def test_is_one_again_after_the_deletion(
        self, client: Client, start_service: StartService, stand_in: StandIn
    ) -> None:
        user = await client.signed_in(stand_in.person(email="ada@example.com"))
        closed = await start_service(auth_allowed_domains="example.org")
        await closed.delete_user(user.user_id)
        assert (await closed.connect(user.person)).error == SignInError.SIGN_UP_NOT_ALLOWED
