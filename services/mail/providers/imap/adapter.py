"""IMAP as a provider of mailboxes: one adapter for each server."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

from services.mail.model import Label, Mailbox
from services.mail.providers.base import Tokens, WatchTimes, Writing
from services.mail.providers.imap.client.connection import Connection
from services.mail.providers.imap.connections import Connections
from services.mail.providers.imap.content.contents import WHOLE_UP_TO, ImapContents
from services.mail.providers.imap.downloads import ImapDownloads
from services.mail.providers.imap.folders import ImapFolders
from services.mail.providers.imap.idling import Inbox, wait_for_news
from services.mail.providers.imap.keeping import HeldMailboxes
from services.mail.providers.imap.mailbox_session import ImapMailboxSession
from services.mail.providers.imap.marks import LONGEST_MARKS_SECONDS, MarksCheck
from services.mail.providers.imap.passes import STEP_SECONDS, QuietPolls
from services.mail.providers.imap.servers import COSTS, MailServer, imap_limits, trusting
from services.mail.providers.imap.settings import ImapSettings
from services.mail.providers.imap.sign_in import SignIn
from services.mail.providers.limits import ProviderLimits
from services.mail.providers.registration import Registration, Resources
from services.mail.store.connection import Pool

# Seconds for which a download's connection is kept, since one file of a message is often followed by another, and after
# which it is opened anew: it is the one that all replicas have.
DOWNLOAD_SECONDS: Final = 12.0
LONGEST_DOWNLOADS: Final = 60.0


@asynccontextmanager
async def open_imap(
    settings: ImapSettings, resources: Resources, holder: UUID
) -> AsyncIterator[Mapping[str, "ImapProvider"]]:
    """Yield the providers of all servers by name. Their connections are closed at the end."""
    keeper = HeldMailboxes(resources.pool, holder=holder)
    connections = Connections(
        keep_seconds=settings.imap_connection_seconds, keeper=keeper, most_idling=settings.imap_idle_connections
    )
    tls = trusting(settings.imap_ca_file)
    async with connections.sweeping():
        yield {
            name: ImapProvider(
                server,
                sign_in=SignIn(server, tls=tls, quota=resources.quotas[name]),
                connections=connections,
                keeper=keeper,
                pool=resources.pool,
                whole_up_to=settings.imap_whole_bytes,
                longest_marks=settings.imap_marks_longest_seconds,
            )
            for name, server in settings.mail_servers.items()
        }


@asynccontextmanager
async def open_imap_downloads(
    settings: ImapSettings, resources: Resources
) -> AsyncIterator[Mapping[str, ImapDownloads]]:
    """Yield the sources of downloads of all servers by name."""
    keep = min(DOWNLOAD_SECONDS, settings.imap_connection_seconds)
    connections = Connections(keep_seconds=keep, most_seconds=LONGEST_DOWNLOADS)
    tls = trusting(settings.imap_ca_file)
    async with connections.sweeping():
        yield {
            name: ImapDownloads(
                sign_in=SignIn(server, tls=tls, quota=resources.quotas[name], live=False),
                connections=connections,
                pool=resources.pool,
            )
            for name, server in settings.mail_servers.items()
        }


class ImapProvider:
    """The `Provider` for one IMAP server. Mailboxes keep their connections across sessions."""

    costs = COSTS
    page_size = 500
    watch_times: WatchTimes | None = None
    built_in_labels: Sequence[Label] = ()

    def __init__(
        self,
        server: MailServer,
        *,
        sign_in: SignIn,
        connections: Connections,
        keeper: HeldMailboxes,
        pool: Pool,
        whole_up_to: int = WHOLE_UP_TO,
        longest_marks: float = LONGEST_MARKS_SECONDS,
        step_seconds: float = STEP_SECONDS,
    ) -> None:
        """`step_seconds` are those for the steps of a pass within one call of the engine.

        `longest_marks` are the seconds between two comparisons of marks at most.
        """
        self._server = server
        self._sign_in = sign_in
        self._connections = connections
        self._keeper = keeper
        self._announcer = keeper.announcer(random.Random())  # noqa: S311 - spreads renewals, hides nothing
        self._pool = pool
        self._quiet = QuietPolls()
        self._marks = MarksCheck(pool, hidden_marks=server.hidden_marks, longest=longest_marks)
        self._whole_up_to = whole_up_to
        self._step_seconds = step_seconds

    @asynccontextmanager
    async def open(
        self, mailbox: Mailbox, tokens: Tokens, *, writing: Writing | None
    ) -> AsyncIterator[ImapMailboxSession]:
        """Yield a session. It takes the mailbox's connection with its first call, and has it until its end."""

        async def connect() -> Connection:
            return await self._sign_in.open(mailbox, tokens)

        async with self._connections.session(mailbox.mailbox_id, connect, between=self._idle) as session:
            yield ImapMailboxSession(
                mailbox.mailbox_id,
                session=session,
                folders=ImapFolders(session, hidden_marks=self._server.hidden_marks, doubted=self._marks.doubted),
                contents=ImapContents(
                    session,
                    whole_up_to=self._whole_up_to,
                    ensure_spare=lambda: self._sign_in.ensure_spare(mailbox),
                ),
                marks=self._marks,
                quiet=self._quiet,
                keeper=self._keeper,
                pool=self._pool,
                writing=writing,
                step_seconds=self._step_seconds,
            )

    async def _idle(self, mailbox_id: int, connection: Connection, stop: asyncio.Event) -> None:
        inbox = Inbox(mailbox_id=mailbox_id, pool=self._pool, hidden_marks=self._server.hidden_marks)
        await wait_for_news(inbox, connection, announcer=self._announcer, stop=stop)


def _limits(settings: ImapSettings) -> Mapping[str, ProviderLimits]:
    return {name: imap_limits(name, login_window=settings.imap_login_window) for name in settings.mail_servers}


IMAP: Final = Registration[ImapSettings, object](limits=_limits, adapters=open_imap, downloads=open_imap_downloads)
