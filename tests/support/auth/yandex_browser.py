"""A user's browser at the sandbox's Yandex."""

from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import httpx
import jwt

from tests.support.auth.client import Client, SignedIn
from tests.support.auth.stand_in import Person

CALLBACKS = "https://mailroom.example/auth"


class Browser:
    """A user's browser at Yandex, and the sandbox's control API."""

    def __init__(self, http: httpx.AsyncClient, origin: str) -> None:
        self._http = http
        self._origin = origin

    async def control(self, method: str, path: str, body: object = None) -> dict[str, dict[str, object]]:
        """Call the control API, which must succeed."""
        answer = await self._http.request(method, f"{self._origin}/_sandbox/{path}", json=body)
        assert answer.is_success, answer.text
        return dict(answer.json()) if answer.content else {}

    async def new_user(self) -> str:
        """Create a user and return the address."""
        email = f"user.{uuid4().hex}@yandex.example"
        await self.control("POST", "users", {"email": email})
        return email

    async def calls(self, email: str) -> dict[str, object]:
        """Return how often each method was called for the user."""
        return (await self.control("GET", "calls"))["users"].get(email, {})  # type: ignore[return-value]  # JSON

    async def consent(
        self, authorization_url: str, email: str, *, provider: str = "yandex", **form: object
    ) -> dict[str, str]:
        """Answer the consent page and return the parameters of the redirect."""
        answer = await self._http.post(authorization_url, data={"account": email, "decision": "allow", **form})
        assert answer.status_code == 303, answer.text
        location = urlsplit(answer.headers["location"])
        assert location.geturl().startswith(f"{CALLBACKS}/{provider}/callback?")
        query = {name: values[0] for name, values in parse_qs(location.query).items()}
        return {name: query[name] for name in ("state", "code", "error") if name in query} | {"provider": provider}

    async def sign_in(self, client: Client, email: str, *, provider: str = "yandex") -> SignedIn:
        """Sign in and return the session."""
        started = await client.start(provider=provider)
        outcome = await client.complete(**await self.consent(started.authorization_url, email, provider=provider))
        session = await client.redeem(outcome.login_code)
        user_id = jwt.decode(session.access_token, options={"verify_signature": False})["sub"]
        [account] = await client.list_accounts(user_id)
        return SignedIn(Person("", email), user_id, account.account_id, session.access_token)
