"""The history of a mailbox at the sandbox's servers equals the true log, whatever faults the servers have."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from services.mail.providers.folder_history.pass_context import HistoryLimits
from services.mail.providers.imap.client.connection import Connection
from services.mail.providers.imap.client.dial import dial
from services.mail.providers.imap.client.frames import Patience
from services.mail.providers.imap.client.login import Credentials, enable, log_in
from services.mail.providers.imap.folders import ImapFolders
from services.mail.providers.imap.idling import Inbox
from services.mail.providers.imap.passes import News, QuietPolls, look_for_news
from services.mail.providers.imap.session import ImapSession
from services.mail.store.folder_history import folders
from tests.support.folder_history.observed_history import ObservedHistory
from tests.support.mail.servers import Servers
from tests.support.mail.stored import add_mailbox
from tests.support.sandbox.imap_servers import EMAIL, open_servers
from tests.support.sandbox.imap_servers import Servers as ImapServers

MESSAGES = 15
# Profile, method and kind, as docs/sandbox.md has them.
FAULTS = [
    ("yandex", "imap.examine", "lying_exists"),
    ("modern", "imap.examine", "uidvalidity_reset"),
    ("yandex", "imap.examine", "uidvalidity_reset"),
    ("yandex", "imap.examine", "bye"),
    ("modern", "imap.status", "stale_status"),
    ("yandex", "imap.fetch", "duplicate_uids"),
    ("modern", "imap.fetch", "cut_literal"),
    ("modern", "imap.fetch", "garbage"),
    ("yandex", "imap.search", "error"),
    ("yandex", "imap.list", "lost_response"),
]


@dataclass
class Mailbox:
    """Ada's mailbox at a server of the sandbox, and our history of it."""

    at_provider: ImapServers
    observed: ObservedHistory[ImapFolders]
    quiet: QuietPolls = field(default_factory=QuietPolls)

    async def change(self, number: int) -> None:
        """Deliver messages, delete one and move one."""
        work = await self.at_provider.label(f"Work{number}")
        ids = [await self.at_provider.deliver(subject=f"new {number}.{each}") for each in range(3)]
        await self.at_provider.control("DELETE", f"users/{EMAIL}/messages/{ids[0]}")
        labels = {"add": [work], "remove": ["INBOX", "UNREAD"]}
        await self.at_provider.control("POST", f"users/{EMAIL}/messages/{ids[1]}/labels", labels)

    async def select_inbox(self) -> bool:
        """Select the inbox as a connection does that begins to idle; return whether nothing is to be looked at."""
        inbox = Inbox(mailbox_id=self.observed.mailbox_id, pool=self.observed.pool, hidden_marks=frozenset())
        async with self.observed.provider.session.connection() as connection:
            return await inbox.select(connection)

    async def has_news(self) -> bool:
        """Return whether a poll finds news."""
        async with self.observed.pool.acquire() as connection:
            overview = await folders.overview(connection, self.observed.mailbox_id)
        return await look_for_news(self.observed.provider, overview, quiet=self.quiet) is not News.NONE

    async def equals(self) -> bool:
        """Look at the mailbox as often as a deletion takes; return whether the history has the true places."""
        await self.observed.settle()
        truth = {
            (folder, int(uid)): id_
            for folder, each in (await self.at_provider.truth()).items()
            for uid, id_ in each.items()
        }
        found = await self._places()
        assert Counter(Counter(folder for folder, _ in found).values()) == Counter(
            Counter(folder for folder, _ in truth).values()
        )
        assert sorted(uid for _, uid in found) == sorted(uid for _, uid in truth)
        assert Counter(Counter(found.values()).values()) == Counter(Counter(truth.values()).values())
        assert self.observed.copy.keys() == set(found.values())
        assert all(known == stored for known, stored in await self.observed.counts())
        return True

    async def _places(self) -> dict[tuple[str, int], str]:
        async with self.observed.pool.acquire() as connection:
            rows = await connection.fetch(
                "SELECT folder_id, key, external_id FROM mail_locations WHERE mailbox_id = $1 AND gone_in IS NULL",
                self.observed.mailbox_id,
            )
        return {(str(row["folder_id"]), int(row["key"])): row["external_id"] for row in rows}


@asynccontextmanager
async def mailbox_at(servers: Servers, profile: str) -> AsyncIterator[Mailbox]:
    """Yield a mailbox after the first pass and a listing."""
    async with open_servers(MESSAGES) as at_provider:

        async def connect() -> Connection:
            port = at_provider.ports[profile]
            connection = await dial("localhost", port, tls=at_provider.tls, patience=Patience(first=2, next=2, done=2))
            try:
                await log_in(connection, Credentials(user=EMAIL, token=at_provider.token, host="localhost", port=port))
            except BaseException:
                connection.close()
                raise
            await enable(connection, "QRESYNC")
            return connection

        session = ImapSession(connect)
        async with servers.pool.acquire() as database:
            row = await add_mailbox(database)
        limits = HistoryLimits(missing=0.0, restarts=0.0)
        observed = ObservedHistory(servers.pool, row.mailbox_id, ImapFolders(session), limits=limits)
        await observed.begin()
        yield Mailbox(at_provider, observed)
        await session.close()


class TestHistory:
    @pytest.mark.parametrize("profile", ["yandex", "modern"])
    async def test_equals_the_true_log(self, servers: Servers, profile: str) -> None:
        async with mailbox_at(servers, profile) as mailbox:
            assert await mailbox.equals()
            assert mailbox.observed.added == []
            await mailbox.change(1)
            assert await mailbox.equals()
            assert len(mailbox.observed.added) == 2

    @pytest.mark.parametrize(("profile", "method", "kind"), FAULTS)
    async def test_equals_it_after_faults(self, servers: Servers, profile: str, method: str, kind: str) -> None:
        async with mailbox_at(servers, profile) as mailbox:
            await mailbox.change(1)
            await mailbox.at_provider.plan(method=method, kind=kind, count=3)
            await mailbox.observed.settle()
            [rule] = (await mailbox.at_provider.control("GET", "faults"))["rules"]
            await mailbox.at_provider.control("DELETE", "faults")
            await mailbox.change(2)
            assert await mailbox.equals()
            assert rule["fired"] > 0
            assert len(mailbox.observed.added) == 4
            assert mailbox.observed.deleted == []


class TestInboxOfAConnectionThatBeginsToIdle:
    @pytest.mark.parametrize("profile", ["yandex", "modern"])
    async def test_is_looked_at_again_if_a_mark_changes_after_the_pass(self, servers: Servers, profile: str) -> None:
        async with mailbox_at(servers, profile) as mailbox:
            read = await mailbox.at_provider.deliver(subject="read")
            await mailbox.observed.settle()
            assert await mailbox.select_inbox()
            await mailbox.observed.settle()
            await mailbox.at_provider.relabel(read, remove=["UNREAD"])
            assert not await mailbox.select_inbox()
            await mailbox.observed.settle()
            assert await mailbox.select_inbox()

    async def test_has_its_marks_watched_through_polls(self, servers: Servers) -> None:
        async with mailbox_at(servers, "yandex") as mailbox:
            read = await mailbox.at_provider.deliver(subject="read")
            await mailbox.observed.settle()
            assert await mailbox.select_inbox()
            assert not await mailbox.has_news()
            # Between two polls, in which the connection does not idle.
            await mailbox.at_provider.relabel(read, remove=["UNREAD"])
            assert await mailbox.has_news()
            await mailbox.observed.settle()
            assert await mailbox.select_inbox()
            assert not await mailbox.has_news()


class TestPollWithTheAnswersOfAnEarlierOne:
    async def test_does_not_compare_them_again(self, servers: Servers) -> None:
        async with mailbox_at(servers, "yandex") as mailbox:
            assert await mailbox.select_inbox()
            assert not await mailbox.has_news()
            await mailbox.observed.pool.execute("UPDATE mail_folders SET known = known + 1")
            assert not await mailbox.has_news()
            mailbox.quiet = QuietPolls()
            assert await mailbox.has_news()

    async def test_compares_them_after_a_pass(self, servers: Servers) -> None:
        async with mailbox_at(servers, "yandex") as mailbox:
            message = await mailbox.at_provider.deliver(subject="unread", labels=["SENT", "UNREAD"])
            await mailbox.observed.settle()
            assert await mailbox.select_inbox()
            assert not await mailbox.has_news()
            for change in ({"remove": ["UNREAD"]}, {"add": ["UNREAD"]}):
                # After the second one the answers are those of the first poll.
                await mailbox.at_provider.relabel(message, **change)
                assert await mailbox.select_inbox()
                assert await mailbox.has_news()
                await mailbox.observed.settle()
