"""The adapter for Google in front of a stand-in provider, in this process."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest

from services.auth.providers.base import (
    Grant,
    ProviderIdentity,
    ProviderUnavailableError,
)
from services.auth.providers.google import Google, GoogleEndpoints
from services.auth.providers.oauth_client import RegisteredClient
from services.auth.sign_in.pkce import s256
from services.kit.http.outbound import Egress
from tests.support.auth.clock import Time
from tests.support.auth.stand_in import CLIENT_ID, CLIENT_SECRET, MAIL_SCOPE, REDIRECT_URI, Person, StandIn

ORIGIN = "https://stand-in.example"
VERIFIER = "v" * 43


@dataclass
class Setup:
    """The adapter, its provider and its clock."""

    stand_in: StandIn
    egress: Egress
    time: Time
    google: Google

    def google_with(self, scopes: str = f"openid email {MAIL_SCOPE}", **endpoints: Any) -> Google:
        """Return another adapter, with other endpoints."""
        usual = GoogleEndpoints(
            issuer=ORIGIN,
            authorization_url=f"{ORIGIN}/authorize",
            token_url=f"{ORIGIN}/token",
            userinfo_url=f"{ORIGIN}/userinfo",
            jwks_url=f"{ORIGIN}/jwks",
            revoke_url=f"{ORIGIN}/revoke",
        )
        return Google(
            endpoints=replace(usual, **endpoints),
            client=RegisteredClient(CLIENT_ID, CLIENT_SECRET, REDIRECT_URI, tuple(scopes.split())),
            egress=self.egress,
            clock=self.time.now,
            monotonic=self.time.monotonic,
        )

    async def exchange(
        self, person: Person | None = None, *, google: Google | None = None, nonce: str = "n" * 43
    ) -> tuple[ProviderIdentity, Grant]:
        """Run a whole sign-in through the adapter; `nonce` is the one of the authorization request."""
        google = google or self.google
        url = google.authorization_url(
            state="s",
            nonce="n" * 43,
            code_challenge=s256(VERIFIER),
            force_consent=False,
            choose_account=False,
            max_age=None,
        )
        redirect = self.stand_in.consent(url, person or self.stand_in.person())
        return await google.exchange(redirect["code"], code_verifier=VERIFIER, nonce=nonce, max_age=None, timeout=5)


@pytest.fixture
async def setup() -> AsyncIterator[Setup]:
    stand_in = StandIn()
    stand_in.origin = ORIGIN
    async with httpx.AsyncClient(transport=httpx.ASGITransport(stand_in.app)) as client:
        egress = Egress(client, unavailable=ProviderUnavailableError)
        setup = Setup(stand_in, egress, Time(), google=None)  # type: ignore[arg-type]  # made in the next line
        setup.google = setup.google_with()
        yield setup
