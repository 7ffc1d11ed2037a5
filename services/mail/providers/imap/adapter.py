"""IMAP as a provider of mailboxes: one adapter for each server."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from services.mail.model import Label, Mailbox
from services.mail.providers.base import Tokens, UnitCosts, Writing
from services.mail.providers.imap.client.connection import Connection
from services.mail.providers.imap.connections import Connections, Lent
from services.mail.providers.imap.contents import ImapContents
from services.mail.providers.imap.folders import ImapFolders
from services.mail.providers.imap.mailbox_session import ImapMailboxSession
from services.mail.providers.imap.servers import MailServer, trusting
from services.mail.providers.imap.session import ImapSession
from services.mail.providers.imap.settings import ImapSettings
from services.mail.providers.imap.sign_in import SignIn
from services.mail.store.connection import Pool

# Servers count connections and logins, not calls.
COSTS: Final = UnitCosts(
    profile=1, list_page=1, labels=1, send_as=1, history_page=1, get=1, thread=1, attachment=1, watch=1, stop=1
)


@asynccontextmanager
async def open_imap(settings: ImapSettings, *, pool: Pool) -> AsyncIterator[Mapping[str, "ImapProvider"]]:
    """Yield the providers of all servers by name. Their connections are closed at the end."""
    connections = Connections(keep_seconds=settings.imap_connection_seconds)
    tls = trusting(settings.imap_ca_file)
    async with connections.sweeping():
        yield {
            name: ImapProvider(
                server,
                sign_in=SignIn(server, tls=tls),
                connections=connections,
                pool=pool,
                whole_up_to=settings.imap_whole_bytes,
            )
            for name, server in settings.mail_servers.items()
        }


class ImapProvider:
    """The `Provider` for one IMAP server. Mailboxes keep their connections across sessions."""

    costs = COSTS
    page_size = 500
    can_push = False
    built_in_labels: Sequence[Label] = ()

    def __init__(
        self, server: MailServer, *, sign_in: SignIn, connections: Connections, pool: Pool, whole_up_to: int
    ) -> None:
        self._server = server
        self._sign_in = sign_in
        self._connections = connections
        self._pool = pool
        self._whole_up_to = whole_up_to

    @asynccontextmanager
    async def open(
        self, mailbox: Mailbox, tokens: Tokens, *, writing: Writing | None
    ) -> AsyncIterator[ImapMailboxSession]:
        """Yield a session. It takes the mailbox's connection with its first call, and has it until its end."""
        async with AsyncExitStack() as stack:
            lent: Lent | None = None

            async def connect() -> Connection:
                return await self._sign_in.open(mailbox.email, tokens)

            async def connection() -> Connection:
                nonlocal lent
                if lent is None:
                    lent = await stack.enter_async_context(self._connections.lend(mailbox.mailbox_id, connect))
                return await lent.connection()

            session = ImapSession(connection, apart=connect)
            yield ImapMailboxSession(
                mailbox.mailbox_id,
                session=session,
                folders=ImapFolders(session, hidden_marks=self._server.hidden_marks),
                contents=ImapContents(session, whole_up_to=self._whole_up_to),
                pool=self._pool,
                writing=writing,
            )
