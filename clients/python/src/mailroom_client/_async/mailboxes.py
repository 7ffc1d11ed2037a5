"""Connected mailboxes and their syncs."""

from time import monotonic
from uuid import UUID, uuid4

from mailroom_client._async.paging import AsyncPaged
from mailroom_client._async.transport import AsyncTransport
from mailroom_client._request import MailboxName, Request, naming, parameters, path_of
from mailroom_client.models import Mailbox, Sync

_LARGEST_PAGE = 200
# Seconds for which a server holds an answer at most.
_LONGEST_WAIT = 60


class AsyncMailboxes:
    """The mailboxes of the user; with an API key those of the application."""

    def __init__(self, transport: AsyncTransport) -> None:
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
    ) -> AsyncPaged[Mailbox]:
        """List the mailboxes that match everything given."""
        params = parameters(
            email=email, status=status, provider=provider, user_id=user_id, external_user_id=external_user_id,
            limit=page_size,
        )  # fmt: skip
        return AsyncPaged(self._transport, Request("GET", "/mailboxes", params), field="mailboxes", item=Mailbox)

    async def get(self, mailbox_id: UUID | str) -> Mailbox:
        """Return one of them."""
        return await self._transport.call(Request("GET", path_of("/mailboxes/{}", mailbox_id)), Mailbox)

    async def disconnect(self, mailbox_id: UUID | str) -> None:
        """Disconnect a mailbox and erase its mail. Needs a sign-in of the last ten minutes."""
        await self._transport.send(Request("DELETE", path_of("/mailboxes/{}", mailbox_id)))


class AsyncSyncs:
    """Syncs: what brings the copy up to date."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def start(
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
        return await self._transport.call(Request("POST", "/emails/sync", body=body, headers=headers, wait=wait), Sync)

    async def verify(self, mailbox: MailboxName, *, wait: int | None = None) -> Sync:
        """Compare the copy with the provider, and repair what differs."""
        request = Request("POST", "/emails/verify", body=naming(mailbox), wait=wait, repeatable=False)
        return await self._transport.call(request, Sync)

    def list(self, mailbox: MailboxName | None = None, *, page_size: int = _LARGEST_PAGE) -> AsyncPaged[Sync]:
        """List the syncs of a mailbox, or of all, newest first. With an API key the mailbox is needed."""
        params = naming(mailbox) | parameters(limit=page_size)
        return AsyncPaged(self._transport, Request("GET", "/emails/syncs", params), field="syncs", item=Sync)

    async def get(self, sync_id: str, *, wait: int | None = None) -> Sync:
        """Return a sync; `wait` waits up to a minute for its end or its progress."""
        return await self._transport.call(Request("GET", path_of("/emails/syncs/{}", sync_id), wait=wait), Sync)

    async def wait(self, sync_id: str, *, timeout: float | None = None) -> Sync:
        """Return a sync that has ended. Raises TimeoutError after `timeout` seconds."""
        begin = monotonic()
        while True:
            left = _LONGEST_WAIT if timeout is None else begin + timeout - monotonic()
            found = await self.get(sync_id, wait=max(0, min(_LONGEST_WAIT, int(left))))
            if found.has_ended:
                return found
            if timeout is not None and monotonic() - begin >= timeout:
                raise TimeoutError(f"sync {sync_id} is still {found.state}")

    async def cancel(self, sync_id: str) -> Sync:
        """End a sync; what is stored stays."""
        return await self._transport.call(Request("DELETE", path_of("/emails/syncs/{}", sync_id)), Sync)

    async def retry(self, sync_id: str) -> Sync:
        """Try its dead letters again."""
        request = Request("POST", path_of("/emails/syncs/{}/retry", sync_id), repeatable=False)
        return await self._transport.call(request, Sync)
