"""OAuth clients registered with the sandbox."""

import hmac
from dataclasses import dataclass
from urllib.parse import urlsplit

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True, slots=True)
class Client:
    """A web application. Without registered redirect URIs any address of this machine is allowed."""

    client_id: str
    secret: str
    redirect_uris: frozenset[str] = frozenset()
    name: str = "Mailroom"
    deleted: bool = False

    def allows_redirect(self, uri: str) -> bool:
        """Return whether `uri` equals a registered one, byte for byte (RFC 9700 section 2.1)."""
        return uri in self.redirect_uris if self.redirect_uris else _is_local(uri)

    def has_secret(self, secret: str) -> bool:
        """Compare in constant time."""
        return hmac.compare_digest(self.secret.encode(), secret.encode())


class Clients:
    """The clients by id."""

    def __init__(self, *clients: Client) -> None:
        self._clients = {client.client_id: client for client in clients}

    def find(self, client_id: str) -> Client | None:
        """Return the client, a deleted one included, or None."""
        return self._clients.get(client_id)

    def put(self, client: Client) -> None:
        """Register or replace a client."""
        self._clients[client.client_id] = client

    def all(self) -> list[Client]:
        """Return every client, oldest first."""
        return list(self._clients.values())


def _is_local(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
    except ValueError:
        return False
    plain = not parts.fragment and "@" not in parts.netloc and "/.." not in parts.path and "\\" not in uri
    return parts.scheme in ("http", "https") and parts.hostname in _LOOPBACK and plain
