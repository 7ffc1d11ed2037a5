"""Parts of the service for tests that move the clock or play the provider."""

import os
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID, uuid4

from services.auth.applications.api_keys import ApiKeys
from services.auth.applications.applications import Applications
from services.auth.applications.connect_sessions import ConnectSessions
from services.auth.cipher import Cipher
from services.auth.provider_grants.accounts import Accounts
from services.auth.provider_grants.new_grants import NewGrants
from services.auth.provider_grants.revocations import GrantRevocations
from services.auth.providers.base import Grant, GrantRefusedError, ProviderIdentity, ProviderUnavailableError
from services.auth.sessions.access_tokens import AccessTokens
from services.auth.sessions.refresh_tokens import RefreshTokens
from services.auth.sessions.sessions import Lifetimes, Sessions
from services.auth.sessions.signing_keys import SigningKeys
from services.auth.sign_in.one_time_records import random_value
from services.auth.store.transaction import Store
from tests.support.auth.client import SECRET_KEY
from tests.support.auth.clock import Time

IDLE = timedelta(days=14)
ABSOLUTE = timedelta(days=90)


def make_sessions(
    store: Store, time: Time, *, secret: str = SECRET_KEY, previous: str | None = None, absolute: timedelta = ABSOLUTE
) -> Sessions:
    keys = SigningKeys(store=store, cipher=Cipher(secret, previous=previous), clock=time.now)
    return Sessions(
        store=store,
        access_tokens=AccessTokens(signing_keys=keys, issuer="https://mailroom.example", clock=time.now, new_id=uuid4),
        refresh_tokens=RefreshTokens(secret, previous=previous, random=os.urandom),
        lifetimes=Lifetimes(idle=IDLE, absolute=absolute),
        clock=time.now,
        new_id=uuid4,
    )


def make_connect_sessions(
    store: Store, accounts: Accounts, new_grants: NewGrants, revocations: GrantRevocations, time: Time
) -> ConnectSessions:
    api_keys = ApiKeys(store=store, clock=time.now, random=os.urandom)
    return ConnectSessions(
        store=store,
        applications=Applications(store=store, api_keys=api_keys, new_id=uuid4),
        accounts=accounts,
        new_grants=new_grants,
        revocations=revocations,
        providers=("google",),
        clock=time.now,
        new_id=uuid4,
        random=random_value,
    )


async def add_user(store: Store) -> UUID:
    """Add a user."""
    user_id = uuid4()
    async with store.transaction() as transaction:
        await transaction.users.add(user_id, provider="google", subject=str(user_id))
        await transaction.commit()
    return user_id


def grant_of(token: str, time: Time) -> Grant:
    """Return a grant with tokens of its own."""
    return Grant(
        access_token=f"access-{token}",
        access_token_expires_at=time.now() + timedelta(hours=1),
        refresh_token=token,
        refresh_token_expires_at=None,
        scopes=frozenset({"openid"}),
    )


@dataclass
class Consent:
    """The consent of an account's owner at the scripted provider, with its grant."""

    subject: str
    refresh_token: str


@dataclass
class ScriptedProvider:
    """A provider in this process: the code of a redirect names the consent, and revocation works as at Google."""

    time: Time
    name: str = "google"
    refresh_age: None = None
    consents: dict[str, Consent] = field(default_factory=dict)
    # The subjects of valid grants by refresh token.
    grants: dict[str, str] = field(default_factory=dict)
    is_down: bool = False

    def consent(self, subject: str) -> str:
        """Consent as the account's owner; return the code of the redirect."""
        code, token = uuid4().hex, uuid4().hex
        self.consents[code] = Consent(subject, token)
        return code

    def live(self, subject: str) -> bool:
        """Return whether the provider holds a valid grant of the subject."""
        return subject in self.grants.values()

    def authorization_url(
        self,
        *,
        state: str,
        nonce: str,
        code_challenge: str,
        force_consent: bool,
        choose_account: bool,
        max_age: int | None,
        login_hint: str = "",
    ) -> str:
        assert (max_age, login_hint) == (None, "")
        assert not (choose_account and force_consent)
        return f"https://provider.example/?state={state}&nonce={nonce}&c={code_challenge}&f={force_consent}"

    def accepts_issuer(self, iss: str) -> bool:
        return iss == ""

    def grants_mail(self, scopes: frozenset[str]) -> bool:
        return bool(scopes)

    async def exchange(
        self, code: str, *, code_verifier: str, nonce: str, max_age: int | None, timeout: float
    ) -> tuple[ProviderIdentity, Grant]:
        assert max_age is None
        assert code_verifier
        assert nonce
        assert timeout > 0
        consent = self.consents.pop(code)
        self.grants[consent.refresh_token] = consent.subject
        identity = ProviderIdentity(
            subject=consent.subject, email=f"{consent.subject}@example.com", email_verified=True
        )
        return identity, grant_of(consent.refresh_token, self.time)

    async def refresh(self, refresh_token: str, *, scopes: frozenset[str], timeout: float) -> Grant:
        assert scopes
        assert timeout > 0
        if refresh_token not in self.grants:
            raise GrantRefusedError("refresh: invalid_grant")
        return grant_of(refresh_token, self.time)

    async def is_dead(self, access_token: str, *, timeout: float) -> bool:
        raise NotImplementedError

    async def revoke(self, grant: Grant, *, timeout: float) -> None:
        assert timeout > 0
        token = grant.refresh_token or grant.access_token
        if self.is_down:
            raise ProviderUnavailableError("down")
        subject = self.grants.get(token)
        # The revocation of any token ends all grants of the account to this client.
        self.grants = {known: owner for known, owner in self.grants.items() if owner != subject}
