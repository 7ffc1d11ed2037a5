"""Connected mailboxes and their syncs."""

from time import monotonic
from uuid import UUID, uuid4

from mailroom_client._request import MailboxName, Request, naming, parameters, path_of
from mailroom_client._sync.paging import Paged
from mailroom_client._sync.transport import Transport
from mailroom_client.models import Mailbox, Sync

_LARGEST_PAGE = 200
# Seconds for which a server holds an answer at most.
_LONGEST_WAIT = 60


class Mailboxes:
    """The mailboxes of the user; with an API key those of the application."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(
        self,
        *,
        email: str | None = None,
        status: str | None = None,
        provider: str | None = None,
        user_id: UUID | None = None,
        external_user_id: str | None = None,
        page_size: int = _LARGEST_PAGE,
    ) -> Paged[Mailbox]:
        """List the mailboxes that match everything given."""
        params = parameters(
            email=email, status=status, provider=provider, user_id=user_id, external_user_id=external_user_id,
            limit=page_size,
        )  # fmt: skip
        return Paged(self._transport, Request("GET", "/mailboxes", params), field="mailboxes", item=Mailbox)

    def get(self, mailbox_id: UUID | str) -> Mailbox:
        """Return one of them."""
        return self._transport.call(Request("GET", path_of("/mailboxes/{}", mailbox_id)), Mailbox)

    def disconnect(self, mailbox_id: UUID | str) -> None:
        """Disconnect a mailbox and erase its mail. Needs a sign-in of the last ten minutes."""
        self._transport.send(Request("DELETE", path_of("/mailboxes/{}", mailbox_id)))


class Syncs:
    """Syncs: what brings the copy up to date."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def start(
        self,
        mailbox: MailboxName,
        *,
        count: int | str = 10,
        wait: int | None = None,
        idempotency_key: str | None = None,
    ) -> Sync:
        """Fetch the newest `count` messages, or "all". `wait` waits up to a minute for the end.

        The request bears an Idempotency-Key, so that it is repeated after a lost answer without a second sync.
        """
        headers = {"Idempotency-Key": idempotency_key or str(uuid4())}
        body = naming(mailbox) | {"count": count}
        return self._transport.call(Request("POST", "/emails/sync", body=body, headers=headers, wait=wait), Sync)

    def verify(self, mailbox: MailboxName, *, wait: int | None = None) -> Sync:
        """Compare the copy with the provider, and repair what differs."""
        request = Request("POST", "/emails/verify", body=naming(mailbox), wait=wait, repeatable=False)
        return self._transport.call(request, Sync)

    def list(self, mailbox: MailboxName | None = None, *, page_size: int = _LARGEST_PAGE) -> Paged[Sync]:
        """List the syncs of a mailbox, or of all, newest first. With an API key the mailbox is needed."""
        params = naming(mailbox) | parameters(limit=page_size)
        return Paged(self._transport, Request("GET", "/emails/syncs", params), field="syncs", item=Sync)

    def get(self, sync_id: str, *, wait: int | None = None) -> Sync:
        """Return a sync; `wait` waits up to a minute for its end or its progress."""
        return self._transport.call(Request("GET", path_of("/emails/syncs/{}", sync_id), wait=wait), Sync)

    def wait(self, sync_id: str, *, timeout: float | None = None) -> Sync:
        """Return a sync that has ended. Raises TimeoutError after `timeout` seconds."""
        begin = monotonic()
        while True:
            left = _LONGEST_WAIT if timeout is None else begin + timeout - monotonic()
            found = self.get(sync_id, wait=max(0, min(_LONGEST_WAIT, int(left))))
            if found.has_ended:
                return found
            if timeout is not None and monotonic() - begin >= timeout:
                raise TimeoutError(f"sync {sync_id} is still {found.state}")

    def cancel(self, sync_id: str) -> Sync:
        """End a sync; what is stored stays."""
        return self._transport.call(Request("DELETE", path_of("/emails/syncs/{}", sync_id)), Sync)

    def retry(self, sync_id: str) -> Sync:
        """Try its dead letters again."""
        request = Request("POST", path_of("/emails/syncs/{}/retry", sync_id), repeatable=False)
        return self._transport.call(request, Sync)
