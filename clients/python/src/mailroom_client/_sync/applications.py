"""What only API keys may do: users and keys of the application, and applications."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from mailroom_client._request import Request, Sent, parameters, path_of
from mailroom_client._sync.paging import Paged
from mailroom_client._sync.transport import Transport
from mailroom_client.models import (
    ApiKey,
    Application,
    ApplicationUser,
    ApplicationUserDetails,
    CreatedKey,
    ExchangedToken,
    KeyEvent,
    Model,
)

_LARGEST_PAGE = 200


class _Keys(Model):
    keys: list[ApiKey]


class _Events(Model):
    events: list[KeyEvent]


class _Applications(Model):
    applications: list[Application]


class Users:
    """The users of the application."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, *, external_user_id: str | None = None, page_size: int = _LARGEST_PAGE) -> Paged[ApplicationUser]:
        """List the users, or the one with your own id."""
        params = parameters(external_user_id=external_user_id, limit=page_size)
        return Paged(self._transport, Request("GET", "/users", params), field="users", item=ApplicationUser)

    def add(self, external_user_id: str) -> ApplicationUser:
        """Add a user with your own id, or return the one that has it."""
        request = Request("POST", "/users", body={"external_user_id": external_user_id})
        return self._transport.call(request, ApplicationUser)

    def get(self, user_id: UUID | str) -> ApplicationUserDetails:
        """Return a user with their accounts."""
        return self._transport.call(Request("GET", path_of("/users/{}", user_id)), ApplicationUserDetails)

    def delete(self, user_id: UUID | str) -> None:
        """Delete a user with everything stored."""
        self._transport.send(Request("DELETE", path_of("/users/{}", user_id)))

    def exchange_token(self, user_id: UUID | str, *, scopes: Sequence[str] = ()) -> ExchangedToken:
        """Return a short access token of a user for your front end (RFC 8693); without scopes it reads."""
        body: dict[str, Sent] = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": str(user_id),
            "subject_token_type": "urn:mailroom:token-type:user-id",
            "scope": " ".join(scopes),
        }
        return self._transport.call(Request("POST", "/auth/token/exchange", body=body), ExchangedToken)


class Keys:
    """The API keys of the application."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> tuple[ApiKey, ...]:
        """Return all keys, without their secrets."""
        return tuple((self._transport.call(Request("GET", "/keys"), _Keys)).keys)

    def create(
        self,
        name: str,
        *,
        scopes: Sequence[str],
        mailbox_ids: Sequence[UUID | str] | None = None,
        networks: Sequence[str] | None = None,
        expires_at: datetime | None = None,
    ) -> CreatedKey:
        """Create a key. Its secret is in the answer, and nowhere else."""
        body: dict[str, Sent] = {"name": name, "scopes": [*scopes]}
        if mailbox_ids is not None:
            body["mailbox_ids"] = [str(mailbox_id) for mailbox_id in mailbox_ids]
        if networks is not None:
            body["networks"] = [*networks]
        body |= parameters(expires_at=expires_at)
        return self._transport.call(Request("POST", "/keys", body=body, repeatable=False), CreatedKey)

    def revoke(self, key_id: str) -> None:
        """Revoke a key: within seconds every gateway refuses it."""
        self._transport.send(Request("DELETE", path_of("/keys/{}", key_id)))

    def events(self, key_id: str) -> tuple[KeyEvent, ...]:
        """Return what happened to a key, newest first."""
        return tuple((self._transport.call(Request("GET", path_of("/keys/{}/events", key_id)), _Events)).events)


class Applications:
    """All applications of the installation, for operators."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> tuple[Application, ...]:
        """Return all applications."""
        return tuple((self._transport.call(Request("GET", "/applications"), _Applications)).applications)

    def create(self, name: str, *, redirect_urls: Sequence[str] = ()) -> Application:
        """Create an application."""
        body: dict[str, Sent] = {"name": name, "redirect_urls": [*redirect_urls]}
        return self._transport.call(Request("POST", "/applications", body=body, repeatable=False), Application)

    def update(self, application_id: UUID | str, *, redirect_urls: Sequence[str]) -> Application:
        """Replace the redirect URLs of an application."""
        body: dict[str, Sent] = {"redirect_urls": [*redirect_urls]}
        request = Request("PATCH", path_of("/applications/{}", application_id), body=body)
        return self._transport.call(request, Application)

    def delete(self, application_id: UUID | str) -> None:
        """Delete an application with its users, mailboxes, keys and grants, in the background."""
        self._transport.send(Request("DELETE", path_of("/applications/{}", application_id)))
