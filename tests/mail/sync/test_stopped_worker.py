"""A worker that is stopped after any write: others continue, lose nothing and store nothing twice."""

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from services.mail.providers.gmail.adapter import GmailProvider
from services.mail.store.connection import Pool
from tests.mail.conftest import OpenStage
from tests.support.mail.stage import Stage
from tests.support.mail.turns import claim, sandbox_provider, turn_runner

# Turns after which a mailbox must have nothing left to do.
_MOST_TURNS = 200
_NEVER = 10**9
_WRITES = ("INSERT", "UPDATE", "DELETE", "WITH")


class WorkerStoppedError(BaseException):
    """The process has ended: nothing handles it."""


class Writes:
    """The writes of a worker that Postgres has committed; it is stopped after so many."""

    def __init__(self, *, stop_after: int) -> None:
        self.done = 0
        self._stop_after = stop_after

    async def run(
        self, connection: "asyncpg.Connection[asyncpg.Record]", query: str, send: Coroutine[Any, Any, Any]
    ) -> Any:
        """Run a statement and count it, unless the worker was stopped. Raises WorkerStoppedError."""
        if self.done >= self._stop_after:
            send.close()
            connection.terminate()
            raise WorkerStoppedError
        by_itself = not connection.is_in_transaction() and query.split(maxsplit=1)[0] in _WRITES
        answer = await send
        self.done += by_itself or query == "COMMIT;"
        return answer


def _connection_class(writes: Writes) -> type["asyncpg.Connection[asyncpg.Record]"]:
    """Return a class of connections whose statements these are."""

    class Stoppable(asyncpg.Connection):
        async def execute(self, query: str, *args: Any, **options: Any) -> Any:
            sent = super().execute(query, *args, **options)
            # With arguments it goes through _execute, like every fetch.
            return await (sent if args else writes.run(self, query, sent))

        async def _execute(self, query: str, *args: Any, **options: Any) -> Any:
            return await writes.run(self, query, super()._execute(query, *args, **options))  # type: ignore[misc]  # of no stub

    return Stoppable


@asynccontextmanager
async def stoppable_pool(s: Stage, writes: Writes) -> AsyncIterator[Pool]:
    """Yield a worker's pool, whose connections count its writes."""
    database = s.servers.worker_database
    async with asyncpg.create_pool(
        host=database.host,
        port=database.port,
        user=database.user,
        password=database.password.get_secret_value(),
        database=database.database,
        min_size=0,
        max_size=4,
        connection_class=_connection_class(writes),
    ) as pool:
        yield pool


async def work(s: Stage, provider: GmailProvider, *, writes_each: int = _NEVER) -> int:
    """Run turns until the mailbox has nothing left to do, each by a worker that is stopped after so many writes.

    Returns how many were stopped.
    """
    stopped = 0
    for _ in range(_MOST_TURNS):
        # As after the death of a worker, and after all pauses.
        await s.pool.execute(
            "UPDATE mailbox_schedule SET lease_owner = NULL, lease_until = NULL, lane = 0, due_at = now(), attempts = 0"
        )
        await s.pool.execute("UPDATE fetch_queue SET not_before = '-infinity'")
        async with stoppable_pool(s, Writes(stop_after=writes_each)) as pool:
            try:
                await turn_runner(s, provider, pool=pool).run(await claim(s.pool))
            except WorkerStoppedError:
                stopped += 1
        if not await has_work(s):
            return stopped
    raise AssertionError("the mailbox still has work")


async def has_work(s: Stage) -> bool:
    """Return whether a turn is needed."""
    return bool(
        await s.fetchval(
            """
            SELECT s.caught_up_hint < q.hint_seq OR s.listing IS NOT NULL OR EXISTS (SELECT FROM fetch_queue)
                OR EXISTS (SELECT FROM syncs WHERE ended_at IS NULL)
            FROM sync_states s JOIN mailbox_schedule q USING (mailbox_id)
            """
        )
    )


async def sync(s: Stage) -> None:
    """Ask for the whole mailbox."""
    await s.request(count=None)


async def change(s: Stage) -> None:
    """Change messages at the provider in each way."""
    first, second, third, fourth = (await s.at_provider.visible())[:4]
    label = await s.at_provider.create_label("new")
    for labels in (["INBOX"], ["INBOX", label]):
        await s.at_provider.deliver(labels=labels)
    await s.at_provider.relabel(first, add=(label,), remove=("INBOX",))
    await s.at_provider.relabel(second, add=("TRASH",))
    await s.at_provider.delete(third)
    await s.at_provider.relabel(fourth, add=("STARRED",), remove=("UNREAD",))
    await s.hint()


async def lose_history(s: Stage) -> None:
    """Change messages, and lose the history that tells of it."""
    await change(s)
    await s.at_provider.lose_history()


async def damage(s: Stage) -> None:
    """Lose and change rows of the copy, and ask for a verification."""
    lost, changed = (await s.at_provider.visible())[:2]
    await s.pool.execute("DELETE FROM messages WHERE external_id = $1", lost)
    await s.pool.execute("UPDATE messages SET label_ids = '{}' WHERE external_id = $1", changed)
    await s.syncs.verify(await s.mailbox())


@pytest.mark.parametrize(
    ("begin", "writes_each"),
    [
        (sync, 2),
        (change, 1),
        # A comparison is saved by its third write.
        *(pytest.param(begin, n, marks=pytest.mark.long) for begin in (lose_history, damage) for n in (3, 4, 5)),
    ],
    ids=lambda value: value if isinstance(value, int) else value.__name__,
)
async def test_leaves_all_to_others(
    stage: OpenStage, begin: Callable[[Stage], Awaitable[None]], writes_each: int
) -> None:
    async with stage(messages=7, workers=0) as s, sandbox_provider(s, page_size=3) as provider:
        if begin is not sync:
            await s.request(count=None)
            await work(s, provider)
        await begin(s)
        assert await work(s, provider, writes_each=writes_each) > 2
        assert await s.stored() == await s.at_provider.truth()
        await check(s)


async def check(s: Stage) -> None:
    """Assert that syncs have ended well, and that the feed tells of each message once."""
    assert await s.fetchval("SELECT bool_and(state = 'completed' AND error = '') FROM syncs")
    assert await s.fetchval("SELECT covered_all FROM sync_states")
    assert await s.fetchval("SELECT count(*) FROM dead_letters") == 0
    assert await s.fetchval("SELECT max(seq) = count(*) FROM message_changes")
    twice = await s.fetchval(
        """
        SELECT count(*) FROM (
            SELECT FROM message_changes WHERE kind IN ('created', 'deleted') AND message_id > 0
            GROUP BY message_id, kind HAVING count(*) > 1) AS told
        """
    )
    assert twice == 0
