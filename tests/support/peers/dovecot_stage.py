"""A mailbox at Dovecot, and its copy by a real worker."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from services.kit.errors import AppError
from services.mail.disconnect import Disconnections
from services.mail.ids import PublicId
from services.mail.mailboxes import Mailboxes
from services.mail.marks import NEUTRAL_MARK_IDS
from services.mail.providers.base import Provider
from services.mail.providers.imap.adapter import ImapProvider
from services.mail.providers.imap.connections import Connections
from services.mail.providers.imap.identity import id_by_content
from services.mail.providers.imap.keeping import HeldMailboxes
from services.mail.providers.imap.servers import MailServer, imap_limits
from services.mail.providers.imap.sign_in import SignIn
from services.mail.read_model import MessageSummary
from services.mail.reading.messages import Messages
from services.mail.reading.page_tokens import PageTokens
from services.mail.reading.user_connections import UserConnections
from services.mail.store.connection import Pool
from services.mail.syncs import Syncs
from tests.support.imap.accounts import OneAccount, account_of
from tests.support.imap.scripted_server import client_tls
from tests.support.mail.quota import shared_quota
from tests.support.mail.running_worker import WorkerOptions
from tests.support.mail.sandbox_control import SandboxMailbox
from tests.support.mail.servers import Servers
from tests.support.mail.stage import Stage
from tests.support.mail.waiting import eventually
from tests.support.peers.dovecot import Dovecot

_PROVIDER = "yandex"


class MessageGoneError(Exception):
    """A message went between its list and its read."""


@dataclass(frozen=True)
class Copied:
    """A message as both sides have it: its folders by name, and its marks."""

    folders: frozenset[str]
    is_read: bool
    is_flagged: bool
    text: str


@dataclass
class DovecotAccounts(OneAccount):
    """Gives out tokens of Dovecot's issuer."""

    dovecot: Dovecot | None = None

    async def access_token(self, *_: UUID, refused_fingerprint: str = "") -> tuple[str, datetime]:  # noqa: ARG002
        """As AuthClient."""
        assert self.dovecot is not None
        return self.dovecot.token(self.account.email), datetime.now(UTC) + timedelta(hours=1)


@dataclass
class DovecotStage(Stage):
    """The stage of a mailbox that Dovecot's administrator changes."""

    dovecot: Dovecot | None = None

    async def change(self, *command: str) -> None:
        """Let the administrator change the mailbox, with `-u USER` after the command's words."""
        words = 2 if command[0] in ("mailbox", "flags") else 1
        await self.server.doveadm(*command[:words], "-u", self.account.email, *command[words:])

    async def deliver(self, folder: str, *names: str) -> None:
        """Put messages into a folder."""
        await self.server.save(self.account.email, folder, *map(message, names))

    async def cut_connections(self) -> None:
        """End the worker's connection, as soon as it has one."""

        async def is_connected() -> bool:
            return self.account.email.encode() in await self.server.doveadm("-f", "tab", "who")

        await eventually(is_connected)
        await self.server.doveadm("kick", self.account.email)

    @property
    def server(self) -> Dovecot:
        """Dovecot."""
        assert self.dovecot is not None
        return self.dovecot

    async def truth(self) -> dict[str, Copied]:
        """Return the messages by the ids of the copy, as Dovecot's administrator sees them.

        A mark in any folder counts.
        """
        shown = await self.server.doveadm(
            "-f", "tab", "fetch", "-u", self.account.email, "mailbox flags hdr.subject", "ALL"
        )
        found: dict[str, Copied] = {}
        for line in shown.decode().splitlines()[1:]:
            folder, flags, name = line.split("\t")
            written = message(name)
            id_ = id_by_content(written[: written.index(b"\r\n\r\n") + 4], len(written))
            one = Copied(frozenset({folder}), "\\Seen" in flags, "\\Flagged" in flags, f"Text of {name}")
            known = found.get(id_, one)
            found[id_] = replace(
                one,
                folders=one.folders | known.folders,
                is_read=one.is_read or known.is_read,
                is_flagged=one.is_flagged or known.is_flagged,
            )
        return found

    async def copy(self) -> dict[str, Copied]:
        """Return the copy. A message that goes while it is read is left out."""
        rows = await self.pool.fetch("SELECT external_id, label_ids FROM messages")
        flagged = {row["external_id"] for row in rows if NEUTRAL_MARK_IDS.flagged in row["label_ids"]}
        found = {}
        for each in await self.listed():
            with suppress(MessageGoneError):
                text = await self._text(each)
                found[each.external_id] = Copied(
                    frozenset(each.labels), each.is_read, each.external_id in flagged, text
                )
        return found

    async def _text(self, listed: MessageSummary) -> str:
        try:
            detail = await self.messages.get(self.user_id, PublicId(listed.mailbox_id, listed.message_id))
        except AppError as error:
            if error.reason != "message_not_found":
                raise
            raise MessageGoneError from error
        return (detail.text or "").strip()

    async def equals(self, *, within: float = 30.0) -> None:
        """Wait until the copy equals the server; nothing tells the worker to look."""

        async def is_equal() -> bool:
            return await self.copy() == await self.truth()

        with suppress(TimeoutError):
            await eventually(is_equal, within=within)
        copy, truth = await self.copy(), await self.truth()
        differing = {id_: (truth.get(id_), copy.get(id_)) for id_ in truth.keys() | copy.keys()}
        assert copy == truth, [each for each in differing.values() if each[0] != each[1]]

    async def message_ids(self) -> dict[str, int]:
        """Return the ids of the copy's messages by those at the provider."""
        return {each.external_id: each.message_id for each in await self.listed()}


def message(name: str) -> bytes:
    """Return a message with a name that it is known by."""
    return f"Subject: {name}\r\nMessage-ID: <{name}@example.com>\r\n\r\nText of {name}\r\n".encode()


@asynccontextmanager
async def open_dovecot_stage(servers: Servers, dovecot: Dovecot, user: str) -> AsyncIterator[DovecotStage]:
    """Yield a user's mailbox and a worker that polls it and idles."""
    await servers.empty()
    limits = imap_limits(_PROVIDER)
    server = MailServer(host="localhost", port=dovecot.port)
    quota = shared_quota(servers.redis, servers.mail_pool, limits=limits, provider=_PROVIDER)

    @asynccontextmanager
    async def further(pool: Pool, holder: UUID) -> AsyncIterator[Mapping[str, Provider]]:
        keeper = HeldMailboxes(pool, holder=holder)
        connections = Connections(keep_seconds=60, keeper=keeper, most_idling=10)
        sign_in = SignIn(server, tls=client_tls(), quota=quota)
        async with connections.sweeping():
            adapter = ImapProvider(server, sign_in=sign_in, connections=connections, keeper=keeper, pool=pool)
            yield {_PROVIDER: adapter}

    accounts = DovecotAccounts(account_of(user), dovecot=dovecot)
    mailboxes = Mailboxes(servers.mail_pool, accounts)
    stage = DovecotStage(
        servers=servers,
        auth=accounts,  # type: ignore[arg-type]  # the methods that workers call
        account=accounts.account,
        at_provider=SandboxMailbox(servers.sandbox, user),
        mailboxes=mailboxes,
        messages=Messages(servers.mail_pool, UserConnections(servers.mail_pool), tokens=PageTokens(bytes(16))),
        syncs=Syncs(servers.mail_pool, mailboxes, stop=asyncio.Event()),
        disconnections=Disconnections(servers.mail_pool, mailboxes, accounts),
        dovecot=dovecot,
    )
    options = WorkerOptions(further=further, further_limits={_PROVIDER: limits}, poll_seconds=0.5)
    async with stage.another_worker(options):
        yield stage
