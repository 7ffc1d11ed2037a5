"""A mailbox's history as the engine sees it: a listing, and then the records."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from services.mail.providers.errors import ProviderError
from services.mail.providers.folder_history.history import FolderHistory
from services.mail.providers.folder_history.model import RecordKind, labels_by_message
from services.mail.providers.folder_history.pass_context import HistoryLimits
from services.mail.providers.folder_history.port import MailFolders
from services.mail.store.connection import Connection, Pool
from services.mail.store.folder_history import folders, locations, passes
from tests.support.folder_history.fake_folders import FakeFolders

# So small that every loop over rows turns more than once.
SMALL = HistoryLimits(rows=2, missing=0.0)
_MOST_STEPS = 2_000


class CutError(Exception):
    """The process ends within a transaction."""


@dataclass
class ObservedHistory[P: MailFolders = FakeFolders]:
    """The history of one mailbox at a fake provider, and the copy that follows from its records.

    `cut_in` is the number of transactions until one is rolled back; `lost` are the messages that records deleted.
    """

    pool: Pool
    mailbox_id: int
    provider: P
    limits: HistoryLimits = SMALL
    cut_in: int | None = None
    commits_cut: bool = False
    revision: int = 0
    copy: dict[str, set[str]] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)

    @property
    def history(self) -> FolderHistory:
        """A new object for each step, as after a restart."""
        return FolderHistory(
            self.mailbox_id,
            folders=self.provider,
            reading=self._reading,
            writing=self._writing,
            limits=self.limits,
        )

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[Connection]:
        async with self.pool.acquire() as connection:
            yield connection

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[Connection]:
        cut = False
        if self.cut_in is not None:
            self.cut_in -= 1
            cut = self.cut_in < 0
            self.cut_in = None if cut else self.cut_in
        async with self.pool.acquire() as connection:
            async with connection.transaction():
                yield connection
                if cut and not self.commits_cut:
                    raise CutError
            if cut:
                raise CutError

    async def look(self) -> int:
        """Run one pass to its end through all cuts; return the number of steps."""
        for steps in range(1, _MOST_STEPS):
            try:
                if await self.history.step():
                    return steps
            except (ProviderError, CutError):
                continue
        raise AssertionError("the pass does not end")

    async def take_steps(self, steps: int) -> None:
        """Take some steps through all cuts, whether a pass ends or not."""
        for _ in range(steps):
            with suppress(ProviderError, CutError):
                await self.history.step()

    async def begin(self) -> None:
        """Run the first pass, list all messages and take their labels."""
        await self.look()
        await self.list_all()

    async def list_all(self) -> None:
        """List all messages and take their labels."""
        token: str | None = None
        while True:
            page = await self.history.list_page(token=token, limit=2)
            for external_id in page.external_ids:
                self.copy.setdefault(external_id, set())
            if page.token is None:
                break
            token = page.token
        async with self.pool.acquire() as connection:
            for external_id, labels in labels_by_message(
                await locations.of_messages(connection, self.mailbox_id, list(self.copy))
            ).items():
                self.copy[external_id] = set(labels)
            self.revision = (await passes.load(connection, self.mailbox_id)).revision

    async def follow(self) -> None:
        """Apply the records since the last time."""
        while records := await self.history.records(self.revision, limit=3):
            for record in records:
                assert record.revision == self.revision + 1
                self.revision = record.revision
                if record.kind is RecordKind.DELETED:
                    del self.copy[record.external_id]
                    self.deleted.append(record.external_id)
                    continue
                if record.kind is RecordKind.ADDED:
                    assert record.external_id not in self.copy
                    self.added.append(record.external_id)
                labels = self.copy.setdefault(record.external_id, set())
                assert not labels & record.added
                assert labels >= record.removed
                labels |= record.added
                labels -= record.removed

    async def settle(self) -> None:
        """Run as many passes as a deletion takes, and follow."""
        for _ in range(4):
            await self.look()
        await self.follow()

    async def named_copy(self) -> dict[str, set[tuple[str, str]]]:
        """Return the copy in the form of `FakeFolders.contents`."""
        names = {f"folder:{folder_id}": name for folder_id, name in (await self.folder_names()).items()}
        return {
            external_id: {("folder", names[label]) if label in names else ("mark", label) for label in labels}
            for external_id, labels in self.copy.items()
        }

    async def folder_names(self) -> dict[int, str]:
        """Return the names of all known folders."""
        async with self.pool.acquire() as connection:
            known = await folders.all_of(connection, self.mailbox_id)
        return {each.folder_id: each.folder.key for each in known}

    async def counts(self) -> list[tuple[int, int]]:
        """Return the number of known messages of each folder, as counted and as stored."""
        async with self.pool.acquire() as connection:
            rows = await connection.fetch(
                """
                SELECT f.known, (SELECT count(*) FROM mail_locations l WHERE l.mailbox_id = f.mailbox_id
                    AND l.folder_id = f.folder_id AND l.generation = f.generation AND l.gone_in IS NULL) AS stored
                FROM mail_folders f WHERE f.mailbox_id = $1
                """,
                self.mailbox_id,
            )
        return [(row["known"], row["stored"]) for row in rows]
