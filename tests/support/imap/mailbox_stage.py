"""Ada's mailbox at the sandbox's IMAP servers, and its copy by real workers."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from services.mail.content.parse import parse_raw
from services.mail.disconnect import Disconnections
from services.mail.mailboxes import Mailboxes
from services.mail.marks import NEUTRAL_MARK_IDS
from services.mail.providers.base import Provider
from services.mail.providers.imap.adapter import DOWNLOAD_SECONDS, ImapProvider
from services.mail.providers.imap.client.frames import Patience
from services.mail.providers.imap.connections import Connections
from services.mail.providers.imap.downloads import ImapDownloads
from services.mail.providers.imap.identity import id_by_content, id_by_server
from services.mail.providers.imap.keeping import HeldMailboxes
from services.mail.providers.imap.passes import STEP_SECONDS
from services.mail.providers.imap.servers import LOGIN_WINDOW, YANDEX_MARKS, MailServer, imap_limits
from services.mail.providers.imap.sign_in import SignIn
from services.mail.providers.limits import ProviderLimits
from services.mail.reading.messages import Messages
from services.mail.reading.page_tokens import PageTokens
from services.mail.reading.user_connections import UserConnections
from services.mail.store.connection import Pool
from services.mail.syncs import Syncs
from services.sandbox.imap.profiles import PROFILES
from tests.support.imap.accounts import ImapAccounts
from tests.support.imap.altering_proxy import Alter, AlteredServer, altered_server
from tests.support.mail.downloads import StageDownloads, downloads
from tests.support.mail.quota import shared_quota
from tests.support.mail.running_worker import WorkerOptions
from tests.support.mail.sandbox_control import SandboxMailbox
from tests.support.mail.servers import Servers
from tests.support.mail.stage import Stage
from tests.support.mail.waiting import eventually
from tests.support.sandbox.imap_servers import EMAIL, open_servers
from tests.support.sandbox.imap_servers import Servers as ImapServers

FLAGS: Final = frozenset({"UNREAD", "STARRED"})
_FLAG_OF_MARKS: Final = {NEUTRAL_MARK_IDS.unseen: "UNREAD", NEUTRAL_MARK_IDS.flagged: "STARRED"}
PATIENCE: Final = Patience(connect=5, first=5, next=5, done=2)


@dataclass(frozen=True)
class Copied:
    """A message as both sides have it: its folders and flags by name, its subject and its text."""

    labels: frozenset[str]
    subject: str | None
    text: str | None


@dataclass
class ImapStage(Stage):
    """The stage of a mailbox at a server of one profile."""

    profile: str = ""
    servers_at_provider: ImapServers | None = None
    accounts: ImapAccounts | None = None
    # What stands between the worker and the server where lines are altered.
    altered: AlteredServer | None = None
    folder_names: dict[str, str] = field(default_factory=dict)

    async def create_folder(self, name: str) -> str:
        """Create a folder; return its id at the sandbox."""
        folder_id = await self.imap.label(name)
        self.folder_names[folder_id] = name
        return folder_id

    @property
    def imap(self) -> ImapServers:
        """The servers."""
        assert self.servers_at_provider is not None
        return self.servers_at_provider

    async def true_mail(self) -> dict[str, Copied]:
        """Return the messages of the true log by the ids that they have in the copy."""
        folders = (await self.imap.control("GET", f"users/{EMAIL}/folders"))["folders"]
        names = {**PROFILES[self.profile].folder_names, **self.folder_names}
        places: dict[str, set[str]] = {}
        for folder in folders:
            for message_id in folder["messages"].values():
                places.setdefault(message_id, set()).add(names.get(folder["id"], folder["id"]))
        found = {}
        for fact in await self.imap.messages():
            raw = await self.imap.raw(fact["id"])
            parsed = parse_raw(raw)
            labels = frozenset(places[fact["id"]] | (set(fact["labelIds"]) & FLAGS))
            found[self.id_of(fact["id"], raw)] = Copied(labels, parsed.subject, parsed.text)
        return found

    @asynccontextmanager
    async def downloads(
        self, directory: Path, *, keep_seconds: float = DOWNLOAD_SECONDS
    ) -> AsyncIterator[StageDownloads]:
        """Yield the downloads of a replica, cached in `directory`."""
        sign_in = sign_in_at(self.imap, self.profile, servers=self.servers, live=False)
        connections = Connections(keep_seconds=keep_seconds, sweep_seconds=keep_seconds)
        source = ImapDownloads(sign_in=sign_in, connections=connections, pool=self.servers.mail_pool)
        async with (
            connections.sweeping(),
            downloads(
                self, directory, further={"yandex": source}, further_limits={"yandex": imap_limits("yandex")}
            ) as opened,
        ):
            yield opened

    def id_of(self, message_id: str, raw: bytes) -> str:
        """Return the id that a message of the sandbox has in the copy."""
        if self.profile == "modern":
            return id_by_server(f"M{message_id}")
        header, separator, _ = raw.partition(b"\r\n\r\n")
        return id_by_content(header + separator, len(raw))

    async def copied_mail(self) -> dict[str, Copied]:
        """Return the copy."""
        rows = await self.pool.fetch("SELECT external_id, label_ids FROM messages")
        marks = {
            row["external_id"]: {_FLAG_OF_MARKS[id_] for id_ in row["label_ids"] if id_ in _FLAG_OF_MARKS}
            for row in rows
        }
        found = {}
        for summary in await self.listed():
            detail = await self.detail(summary.external_id)
            labels = frozenset(summary.labels) | marks[summary.external_id]
            assert summary.is_read is ("UNREAD" not in labels)
            found[summary.external_id] = Copied(labels, summary.subject, detail.text)
        return found

    async def equals(self, *, within: float = 30.0) -> None:
        """Wait until the copy equals the true log; the worker is told to look now and then, as polling does."""

        async def is_equal() -> bool:
            await self.hint()
            await self.until_idle(within=within)
            return await self.true_mail() == await self.copied_mail()

        with suppress(TimeoutError):
            await eventually(is_equal, within=within)
        truth, copy = await self.true_mail(), await self.copied_mail()
        differing = {id_: (truth.get(id_), copy.get(id_)) for id_ in truth.keys() | copy.keys()}
        assert copy == truth, {id_: each for id_, each in differing.items() if each[0] != each[1]}


async def _name_by_ids(at_provider: ImapServers) -> None:
    """Give generated folders their ids as names, which the control API does not tell."""
    for folder_id in await at_provider.truth():
        if folder_id.startswith("Label_"):
            await at_provider.control("PATCH", f"users/{EMAIL}/labels/{folder_id}", {"name": folder_id})


def server_of(at_provider: ImapServers, profile: str) -> MailServer:
    """Return a server of the sandbox as a file or a setting names it."""
    return MailServer(host="localhost", port=at_provider.ports[profile], hidden_marks=YANDEX_MARKS)


def sign_in_at(
    at_provider: ImapServers,
    profile: str,
    *,
    servers: Servers,
    live: bool = True,
    limits: ProviderLimits | None = None,
) -> SignIn:
    """Return sign-ins at a server of the sandbox."""
    limits = limits or imap_limits("yandex")
    quota = shared_quota(servers.redis, servers.mail_pool, limits=limits, provider="yandex")
    return SignIn(server_of(at_provider, profile), tls=at_provider.tls, quota=quota, live=live, patience=PATIENCE)


@asynccontextmanager
async def open_imap_stage(
    servers: Servers,
    profile: str,
    *,
    messages: int = 0,
    workers: int = 1,
    idles: bool = True,
    step_seconds: float = STEP_SECONDS,
    page_size: int = ImapProvider.page_size,
    alter: Alter | None = None,
    login_window: float = LOGIN_WINDOW,
    stable: float = 60.0,
    **options: Any,
) -> AsyncIterator[ImapStage]:
    """Yield Ada's mailbox with `messages` generated messages, and workers with these options.

    `alter` changes the lines of the server; `login_window` are the seconds for which the limit of logins counts.
    """
    limits = imap_limits("yandex", login_window=login_window)
    await servers.empty()
    async with open_servers(messages) as opened, AsyncExitStack() as stack:
        altered = None if alter is None else await stack.enter_async_context(altered_server(opened, profile, alter))
        at_provider = opened if altered is None else altered.servers
        server = server_of(at_provider, profile)
        sign_in = sign_in_at(at_provider, profile, servers=servers, limits=limits)

        @asynccontextmanager
        async def further(pool: Pool, holder: UUID) -> AsyncIterator[Mapping[str, Provider]]:
            keeper = HeldMailboxes(pool, holder=holder)
            connections = Connections(keep_seconds=60, keeper=keeper, most_idling=10 if idles else 0)
            async with connections.sweeping():
                adapter = ImapProvider(
                    server,
                    sign_in=sign_in,
                    connections=connections,
                    keeper=keeper,
                    pool=pool,
                    step_seconds=step_seconds,
                )
                adapter.page_size = page_size
                adapter._announcer = replace(adapter._announcer, stable=stable)
                yield {"yandex": adapter}

        accounts = ImapAccounts(at_provider=at_provider)
        mailboxes = Mailboxes(servers.mail_pool, accounts)
        stage = ImapStage(
            servers=servers,
            auth=accounts,  # type: ignore[arg-type]  # the methods that workers call
            account=accounts.account,
            at_provider=SandboxMailbox(servers.sandbox, EMAIL),
            mailboxes=mailboxes,
            messages=Messages(servers.mail_pool, UserConnections(servers.mail_pool), tokens=PageTokens(bytes(16))),
            syncs=Syncs(servers.mail_pool, mailboxes, stop=asyncio.Event()),
            disconnections=Disconnections(servers.mail_pool, mailboxes, accounts),
            profile=profile,
            servers_at_provider=at_provider,
            accounts=accounts,
            altered=altered,
        )
        await _name_by_ids(at_provider)
        for _ in range(workers):
            await stack.enter_async_context(
                stage.another_worker(WorkerOptions(further=further, further_limits={"yandex": limits}, **options))
            )
        yield stage
