"""A client that signs in to a sandbox in this process."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx

from services.sandbox.clock import Clock
from services.sandbox.settings import DEV_CLIENT_ID, DEV_CLIENT_SECRET

ISSUER = "http://localhost:8100"
REDIRECT_URI = "http://localhost:8000/auth/google/callback"
GMAIL = "https://www.googleapis.com/auth/gmail.readonly"
SIGN_IN = "openid email profile"
VERIFIER = "v" * 64
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
CLIENT = {"client_id": DEV_CLIENT_ID, "client_secret": DEV_CLIENT_SECRET}


def authorization_query(**changes: str | None) -> str:
    """Return an offline request for Gmail; a change of None leaves that parameter out."""
    query: dict[str, str | None] = {
        "client_id": DEV_CLIENT_ID,
        "redirect_uri": REDIRECT_URI,
        "response_type": "code",
        "scope": f"{SIGN_IN} {GMAIL}",
        "access_type": "offline",
        "state": "a state/with+signs",
    }
    return urlencode({name: value for name, value in (query | changes).items() if value is not None})


def redirect_params(answer: httpx.Response) -> dict[str, str]:
    """Return the parameters of a redirect to the client."""
    assert answer.status_code == 303, answer.text
    location = answer.headers["location"]
    assert location.startswith(REDIRECT_URI + "?")
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query, strict_parsing=True).items()}


@dataclass(frozen=True)
class SandboxClient:
    """A client of one sandbox, with the sandbox's clock."""

    http: httpx.AsyncClient
    clock: Clock

    async def authorize(
        self, form: Mapping[str, str | Sequence[str]] | None = None, **changes: str | None
    ) -> httpx.Response:
        """Post the consent form of Ada, or `form`, to the authorization URL."""
        url = f"/o/oauth2/v2/auth?{authorization_query(**changes)}"
        return await self.http.post(url, data=form or {"account": "ada@example.com", "decision": "allow"})

    async def visit(self, **changes: str | None) -> httpx.Response:
        """Open the authorization URL as a browser does."""
        return await self.http.get(f"/o/oauth2/v2/auth?{authorization_query(**changes)}")

    async def code(self, **changes: str | None) -> str:
        """Return a code that Ada approved."""
        return redirect_params(await self.authorize(None, **changes))["code"]

    async def token(self, **form: str) -> httpx.Response:
        """Call the token endpoint with the client's credentials."""
        return await self.http.post("/token", data=CLIENT | form)

    async def exchange(self, code: str, **form: str) -> httpx.Response:
        """Exchange a code for tokens."""
        return await self.token(
            **{"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT_URI} | form
        )

    async def refresh(self, refresh_token: str, **form: str) -> httpx.Response:
        """Exchange a refresh token for an access token."""
        return await self.token(grant_type="refresh_token", refresh_token=refresh_token, **form)

    async def sign_in(self, **changes: str | None) -> dict[str, Any]:
        """Return the token response after Ada's consent."""
        answer = await self.exchange(await self.code(**changes))
        assert answer.status_code == 200, answer.text
        tokens: dict[str, Any] = answer.json()
        return tokens

    async def userinfo(self, access_token: str) -> httpx.Response:
        """Request userinfo."""
        return await self.http.get("/v1/userinfo", headers={"Authorization": f"Bearer {access_token}"})

    async def treat(self, email: str = "ada@example.com", **settings: object) -> None:
        """Set how a user is treated."""
        answer = await self.http.put(f"/_sandbox/users/{email}/settings", json=settings)
        assert answer.status_code == 200, answer.text


def refusal(answer: httpx.Response) -> tuple[int, str, str]:
    """Return status, error and description of an OAuth error."""
    body = answer.json()
    return answer.status_code, body["error"], body["error_description"]
