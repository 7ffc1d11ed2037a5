"""Sign-in, sessions and the user."""

from typing import Any
from uuid import UUID

from mailroom_client._request import Request, parameters, path_of
from mailroom_client._sync.paging import Paged
from mailroom_client._sync.transport import Transport
from mailroom_client.models import Model, SecurityEvent, Session, SignInStart, Token, User


class _Sessions(Model):
    sessions: list[Session]


class Auth:
    """The user, their sessions, and what begins and ends them."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def start(self, provider: str, *, code_challenge: str, max_age: int | None = None) -> SignInStart:
        """Begin a sign-in, or with a token the linking of another address. `pkce.new_verifier` makes a verifier."""
        params = parameters(code_challenge=code_challenge, code_challenge_method="S256", max_age=max_age)
        request = Request("GET", path_of("/auth/{}/start", provider), params, repeatable=False)
        return self._transport.call(request, SignInStart)

    def redeem(self, state: str, *, code_verifier: str) -> Token:
        """Exchange the `state` that came back with the browser; after a link with the token that began it."""
        body = {"state": state, "code_verifier": code_verifier}
        return self._transport.call(Request("POST", "/auth/token", body=body, repeatable=False), Token)

    def refresh(self, refresh_token: str) -> Token:
        """Return the next pair of tokens. A client with a `refresh_token` does so by itself."""
        body = {"refresh_token": refresh_token}
        return self._transport.call(Request("POST", "/auth/refresh", body=body, authorized=False), Token)

    def logout(self, *, everywhere: bool = False) -> None:
        """End this session, or all of the user's."""
        self._transport.send(Request("POST", "/auth/logout", body={"all": everywhere}))

    def user(self) -> User:
        """Return the user with their accounts."""
        return self._transport.call(Request("GET", "/auth/me"), User)

    def delete_user(self) -> None:
        """Delete the user with everything stored. Needs a sign-in of the last ten minutes."""
        self._transport.send(Request("DELETE", "/auth/me"))

    def sessions(self) -> tuple[Session, ...]:
        """Return the sessions that go on."""
        return tuple((self._transport.call(Request("GET", "/auth/sessions"), _Sessions)).sessions)

    def end_session(self, session_id: UUID | str) -> None:
        """End one of them."""
        self._transport.send(Request("DELETE", path_of("/auth/sessions/{}", session_id)))

    def events(self, *, page_size: int = 200) -> Paged[SecurityEvent]:
        """List the security events of the user, newest first."""
        request = Request("GET", "/auth/events", parameters(limit=page_size))
        return Paged(self._transport, request, field="events", item=SecurityEvent)

    def signing_keys(self) -> dict[str, Any]:
        """Return the keys that verify access tokens (JWKS, RFC 7517)."""
        return self._transport.document(Request("GET", "/.well-known/jwks.json", authorized=False))
