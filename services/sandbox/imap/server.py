"""The servers: one port for each profile, over TLS, with limits per account."""

import asyncio
import secrets
import ssl
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from services.sandbox.clock import Clock
from services.sandbox.imap.commands.handlers import HANDLERS
from services.sandbox.imap.errors import NoError
from services.sandbox.imap.folders import MailboxFolders
from services.sandbox.imap.profiles import Profile
from services.sandbox.imap.session import Session
from services.sandbox.imap.wire import MAX_LINE, CommandReader
from services.sandbox.instruments.call_counts import CallCounts
from services.sandbox.instruments.faults import FaultPlan
from services.sandbox.mailboxes.history import Change
from services.sandbox.mailboxes.mailbox import Mailbox
from services.sandbox.mailboxes.registry import Mailboxes
from services.sandbox.mailboxes.user import User

LOGIN_WINDOW = 60.0
LOCK_SECONDS = 3600.0


class Tokens(Protocol):
    """The tokens that log in."""

    def user_of(self, token: str, address: str) -> User | None:
        """Return the user of a token that reads mail, if the address is theirs and IMAP is switched on for them."""

    def owner_of(self, address: str) -> User | None:
        """Return the user with this address, or None."""


@dataclass(slots=True)
class Limits:
    """Limits per account; None: no limit. Yandex's are not known."""

    connections: int | None = 20
    logins_per_minute: int | None = None
    refusals_before_lock: int | None = None
    """Refused tokens within an hour that lock the account for an hour, as if someone tried to break in."""


@dataclass(slots=True)
class Statistics:
    """Counts of an account over all servers."""

    logins: int = 0
    refused_logins: int = 0
    most_connections: int = 0


@dataclass(slots=True)
class _Account:
    connections: set[Session] = field(default_factory=set)
    logins: deque[float] = field(default_factory=deque)
    refusals: deque[float] = field(default_factory=deque)
    locked_until: float = 0.0
    statistics: Statistics = field(default_factory=Statistics)


class ImapServer:
    """All connections of all profiles, over the same mailboxes."""

    def __init__(
        self,
        *,
        tokens: Tokens,
        mailboxes: Mailboxes,
        faults: FaultPlan,
        call_counts: CallCounts,
        clock: Clock,
    ) -> None:
        self.limits = Limits()
        self._tokens = tokens
        self._mailboxes = mailboxes
        self._faults = faults
        self._call_counts = call_counts
        self._clock = clock
        self._folders: dict[str, MailboxFolders] = {}
        self._accounts: dict[str, _Account] = {}
        self._sessions: set[Session] = set()
        self._uidvalidity = int(clock.now())

    def folders_of(self, user: User) -> MailboxFolders:
        """Return the folders of the user's mailbox."""
        mailbox = self._mailboxes.of(user)
        known = self._folders.get(user.sub)
        if known is None or known.mailbox is not mailbox:
            known = self._folders[user.sub] = MailboxFolders(mailbox, new_uidvalidity=self._new_uidvalidity)
        return known

    def changed(self, mailbox: Mailbox, change: Change) -> None:
        """Follow a change of any mailbox."""
        folders = self._folders.get(mailbox.sub)
        if folders is not None and folders.mailbox is mailbox:
            folders.apply(change)

    def report(self) -> dict[str, object]:
        """Return logins and connections by user's key."""
        return {
            sub: {
                "logins": account.statistics.logins,
                "refused_logins": account.statistics.refused_logins,
                "connections": len(account.connections),
                "most_connections": account.statistics.most_connections,
                "locked": account.locked_until > self._clock.now(),
            }
            for sub, account in self._accounts.items()
        }

    def drop_connections(self, user: User) -> int:
        """End all connections of a user without a word. Returns their number."""
        sessions = list(self._account(user).connections)
        for session in sessions:
            session.writer.transport.abort()
        return len(sessions)

    def admit(self, session: Session, token: str, address: str) -> tuple[User, MailboxFolders] | None:
        """Return the user of a token with their folders, None if it is refused. Raises NoError for too many logins."""
        user = self._tokens.user_of(token, address)
        owner = user or self._tokens.owner_of(address)
        if owner is None:
            return None
        account = self._account(owner)
        if user is None or account.locked_until > self._clock.now():
            self._refuse(account)
            return None
        self._check_limits(account)
        account.connections.add(session)
        account.statistics.logins += 1
        account.statistics.most_connections = max(account.statistics.most_connections, len(account.connections))
        return user, self.folders_of(user)

    def leave(self, session: Session) -> None:
        """Forget a connection."""
        self._sessions.discard(session)
        if session.user is not None:
            self._account(session.user).connections.discard(session)

    @asynccontextmanager
    async def listening(self, profile: Profile, *, host: str, port: int, tls: ssl.SSLContext) -> AsyncIterator[int]:
        """Serve a profile while the block lasts; yields the port. Raises OSError if the address is taken."""

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._serve(profile, reader, writer)

        server = await asyncio.start_server(connected, host, port, ssl=tls, limit=MAX_LINE)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for session in list(self._sessions):
                session.writer.transport.abort()
            await server.wait_closed()

    async def _serve(self, profile: Profile, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = Session(
            id=secrets.token_hex(6),
            profile=profile,
            reader=CommandReader(reader, writer),
            writer=writer,
            gatekeeper=self,
            handlers=HANDLERS,
            faults=self._faults,
            call_counts=self._call_counts,
        )
        self._sessions.add(session)
        try:
            writer.write(_greeting(session).encode() + b"\r\n")
            await session.run()
        finally:
            self.leave(session)
            writer.close()

    def _refuse(self, account: _Account) -> None:
        account.statistics.refused_logins += 1
        limit, now = self.limits.refusals_before_lock, self._clock.now()
        _forget_before(account.refusals, now - LOCK_SECONDS)
        account.refusals.append(now)
        if limit is not None and len(account.refusals) >= limit:
            account.locked_until = now + LOCK_SECONDS

    def _check_limits(self, account: _Account) -> None:
        limits, now = self.limits, self._clock.now()
        _forget_before(account.logins, now - LOGIN_WINDOW)
        if limits.connections is not None and len(account.connections) >= limits.connections:
            account.statistics.refused_logins += 1
            raise NoError("Maximum number of connections from user+IP exceeded", code="LIMIT")
        if limits.logins_per_minute is not None and len(account.logins) >= limits.logins_per_minute:
            account.statistics.refused_logins += 1
            raise NoError("Too many logins, try again later", code="UNAVAILABLE")
        account.logins.append(now)

    def _account(self, user: User) -> _Account:
        return self._accounts.setdefault(user.sub, _Account())

    def _new_uidvalidity(self) -> int:
        self._uidvalidity += 1
        return self._uidvalidity


def _forget_before(times: deque[float], begin: float) -> None:
    while times and times[0] <= begin:
        times.popleft()


def _greeting(session: Session) -> str:
    host, peer = (session.writer.get_extra_info(name) or ("?", 0) for name in ("sockname", "peername"))
    return session.profile.greeting.format(
        host=f"{host[0]}:{host[1]}",
        peer=f"{peer[0]}:{peer[1]}",
        time=f"{datetime.now(UTC):%Y-%b-%d %H:%M:%S}",
        session=session.id,
        capabilities=" ".join(session.profile.before_login),
    )
