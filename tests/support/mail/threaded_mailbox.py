"""A mailbox whose threads are made from references: messages are put into it directly, and users see its threads."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

from services.mail.model import ProviderMessage
from services.mail.store import messages, threads
from services.mail.store.connection import Connection, Pool
from services.mail.sync.threads.join import with_threads
from tests.support.mail.samples import parse
from tests.support.mail.stored import stored_message


@dataclass(frozen=True)
class Letter:
    """A message with what its headers say."""

    name: str
    own: str = ""
    references: tuple[str, ...] = ()
    in_reply_to: str = ""

    @property
    def ids(self) -> set[str]:
        """All message ids in it."""
        return {*filter(None, (self.own, self.in_reply_to)), *self.references}

    def message(self) -> ProviderMessage:
        """Return it as a provider without threads gives it."""
        headers = {
            "Message-ID": f"<{self.own}>" if self.own else "",
            "References": " ".join(f"<{each}>" for each in self.references),
            "In-Reply-To": f"<{self.in_reply_to}>" if self.in_reply_to else "",
        }
        content = parse(*(f"{name}: {value}" for name, value in headers.items() if value))
        return replace(stored_message(self.name), thread_id=None, content=content)


class CutError(Exception):
    """The process ends within a transaction."""


@dataclass
class ThreadedMailbox:
    """The copy of a mailbox. `shown` are the threads that users have ever seen, each with the messages in it."""

    pool: Pool
    mailbox_id: int
    shown: dict[str, set[str]] = field(default_factory=dict)

    @asynccontextmanager
    async def transaction(self, *, cut: bool = False, commits: bool = False) -> AsyncIterator[Connection]:
        """Open a transaction; where it is cut, its end is not heard of, whether it `commits` or not."""
        with suppress(CutError):
            async with self.pool.acquire() as connection, connection.transaction():
                yield connection
                if cut and not commits:
                    raise CutError

    async def store(self, letters: Iterable[Letter], *, cut: bool = False, commits: bool = False) -> None:
        """Store messages as a turn does."""
        async with self.transaction(cut=cut, commits=commits) as connection:
            made = await with_threads(connection, self.mailbox_id, [letter.message() for letter in letters])
            await messages.upsert(connection, self.mailbox_id, made)
        await self.look()

    async def move_some(self, *, limit: int, cut: bool = False, commits: bool = False) -> bool:
        """Move messages of merged threads as a turn does; return whether there were such threads."""
        async with self.transaction(cut=cut, commits=commits) as connection:
            found = await threads.move_some(connection, self.mailbox_id, limit=limit)
        await self.look()
        return found

    async def look(self) -> None:
        """Note the threads that users see."""
        for thread_id, names in (await self.threads()).items():
            self.shown.setdefault(thread_id, set()).update(names)

    async def threads(self) -> dict[str, set[str]]:
        """Return the messages of each thread, the thread with the message that was stored first as the first one."""
        rows = await self.pool.fetch(
            "SELECT thread_id, external_id FROM messages WHERE mailbox_id = $1 ORDER BY message_id", self.mailbox_id
        )
        found: dict[str, set[str]] = {}
        for row in rows:
            found.setdefault(row["thread_id"], set()).add(row["external_id"])
        return found

    async def thread_of(self, thread_id: str) -> str:
        """Return the thread that answers for an id."""
        kept = threads.kept_id(mailbox="$1", thread="$2::text")
        return str(await self.pool.fetchval(f"SELECT {kept}", self.mailbox_id, thread_id))

    async def settle(self, *, limit: int = 500) -> int:
        """Move all messages of merged threads; return the number of transactions."""
        for steps in range(10_000):
            if not await self.move_some(limit=limit):
                return steps
        raise AssertionError("the moves do not end")


def parts_of(letters: Sequence[Letter]) -> set[frozenset[str]]:
    """Return the messages that share ids, directly or by way of others."""
    parts: list[tuple[set[str], set[str]]] = []
    for letter in letters:
        names, ids = {letter.name}, letter.ids
        apart = []
        for other_names, other_ids in parts:
            if ids & other_ids:
                names, ids = names | other_names, ids | other_ids
            else:
                apart.append((other_names, other_ids))
        parts = [*apart, (names, ids)]
    return {frozenset(names) for names, _ in parts}
