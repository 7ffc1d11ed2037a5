"""What an application uses, for API keys with the scope `mailboxes.read`."""

from mailroom_client._request import MailboxName, Request, naming, parameters
from mailroom_client._sync.transport import Transport
from mailroom_client.models import Usage


class UsageReports:
    """The usage of the application and of its mailboxes."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get(self, mailbox: MailboxName | None = None, *, hours: int | None = None) -> Usage:
        """Return what was used in the last hours, by default 24, of all mailboxes or of one."""
        asked = {**naming(mailbox), **parameters(hours=hours)}
        return self._transport.call(Request("GET", "/usage", params=asked), Usage)
