"""A client of the stand-in for Yandex ID, written from Yandex's pages and not from Mailroom's adapter."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx

from services.sandbox.settings import DEV_CLIENT_ID, DEV_CLIENT_SECRET
from tests.support.sandbox.harness import CHALLENGE, VERIFIER

REDIRECT_URI = "http://localhost:8000/auth/yandex/callback"
SCOPE = "login:email mail:imap_ro"
DEVICE = "device-of-the-tests"
CREDENTIALS = {"client_id": DEV_CLIENT_ID, "client_secret": DEV_CLIENT_SECRET}


def redirect_params(answer: httpx.Response) -> dict[str, str]:
    """Return the parameters of a redirect to the client."""
    assert answer.status_code == 303, answer.text
    location = answer.headers["location"]
    assert location.startswith(REDIRECT_URI + "?")
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query, strict_parsing=True).items()}


@dataclass(frozen=True)
class YandexClient:
    """A registered client, and Ada's browser."""

    http: httpx.AsyncClient

    def authorization_url(self, **changes: str | None) -> str:
        """Return the URL of a request with PKCE and a device; a change of None leaves that parameter out."""
        query: dict[str, str | None] = {
            "client_id": DEV_CLIENT_ID,
            "redirect_uri": REDIRECT_URI,
            "response_type": "code",
            "scope": SCOPE,
            "state": "a state/with+signs",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            "device_id": DEVICE,
        }
        kept = {name: value for name, value in (query | changes).items() if value is not None}
        return f"/yandex/authorize?{urlencode(kept)}"

    async def authorize(self, form: dict[str, Any] | None = None, /, **changes: str | None) -> httpx.Response:
        """Post the consent form of Ada, or `form`."""
        data = form or {"account": "ada@example.com", "decision": "allow"}
        return await self.http.post(self.authorization_url(**changes), data=data)

    async def visit(self, **changes: str | None) -> httpx.Response:
        """Open the authorization URL as a browser does."""
        return await self.http.get(self.authorization_url(**changes))

    async def code(self, **changes: str | None) -> str:
        """Return a code that Ada approved."""
        return redirect_params(await self.authorize(None, **changes))["code"]

    async def token(self, form: dict[str, str], **headers: str) -> httpx.Response:
        """Call the token endpoint; without headers the client's credentials go into the form."""
        data = form if headers else CREDENTIALS | form
        return await self.http.post("/yandex/token", data=data, headers=headers)

    async def exchange(self, code: str, **changes: str) -> httpx.Response:
        """Exchange a code for tokens."""
        return await self.token({"grant_type": "authorization_code", "code": code, "code_verifier": VERIFIER} | changes)

    async def refresh(self, refresh_token: str) -> httpx.Response:
        """Exchange a refresh token."""
        return await self.token({"grant_type": "refresh_token", "refresh_token": refresh_token})

    async def revoke(self, access_token: str) -> httpx.Response:
        """Revoke an access token."""
        return await self.http.post("/yandex/revoke_token", data=CREDENTIALS | {"access_token": access_token})

    async def info(self, access_token: str, *, scheme: str = "OAuth") -> httpx.Response:
        """Ask who the token belongs to."""
        return await self.http.get("/yandex/info?format=json", headers={"Authorization": f"{scheme} {access_token}"})

    async def sign_in(self, **changes: str | None) -> dict[str, Any]:
        """Return the token response after Ada's consent."""
        answer = await self.exchange(await self.code(**changes))
        assert answer.status_code == 200, answer.text
        tokens: dict[str, Any] = answer.json()
        return tokens

    async def control(self, method: str, path: str, body: object = None) -> Any:
        """Call the control API, which must succeed."""
        answer = await self.http.request(method, f"/_sandbox/{path}", json=body)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None
