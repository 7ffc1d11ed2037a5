"""A mailbox of a million messages: listed, and compared after a lost cursor, in bounded memory and short statements."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.kit.stores.postgres import create_pool
from services.mail.model import HistoryDelta, Label, ListedId, Listing, SyncProgress
from services.mail.providers.base import HistoryPage, IdPage, Profile
from services.mail.providers.gmail.adapter import GmailProvider
from services.mail.providers.gmail.api import PAGE_SIZE
from services.mail.providers.gmail.limits import GMAIL_COSTS
from services.mail.store import labels
from services.mail.store.sync import sync_state
from services.mail.sync import listing
from services.mail.sync.turn_context import TurnContext
from tests.mail.conftest import OpenStage
from tests.support.mail.stage import Stage
from tests.support.mail.turns import begin_turn

LATER = Label(label_id="L", name="Later", type="user")
MANY = 1_000_000
# Changes that history does not show.
SOME = 20_000
# A third of a statement's time limit: a server may be slower than this one.
STATEMENT_SECONDS = 10
# The ids alone would take twice as much.
MEMORY_MB = 64


class NumberedMailbox(GmailProvider):
    """A provider of ids, highest first: `everything`, or `labelled` in a label's listing.

    Its history has no changes.
    """

    def __init__(self, everything: range) -> None:
        self.costs = GMAIL_COSTS["2026-05"]
        self.page_size = PAGE_SIZE
        self.watch_times = None
        self.everything = everything
        self.labelled = range(0)

    async def profile(self, access_token: str) -> Profile:
        """Return the number of messages."""
        del access_token
        return Profile(cursor=1, message_count=len(self.everything))

    async def list_labels(self, access_token: str) -> list[Label]:
        """Return the only label."""
        del access_token
        return [LATER]

    async def list_changes(self, access_token: str, *, cursor: int, page_token: str | None) -> HistoryPage:
        """Return a page without changes."""
        del access_token, page_token
        return HistoryPage(changes=HistoryDelta(), last_record=None, latest=cursor, next_page_token=None)

    async def list_ids(
        self,
        access_token: str,
        *,
        page_token: str | None,
        page_size: int,
        include_spam_trash: bool,
        label_id: str | None = None,
    ) -> IdPage:
        """Return a page by offset."""
        del access_token, include_spam_trash
        of = self.everything if label_id is None else self.labelled
        end = len(of) - int(page_token or 0)
        start = max(0, end - page_size)
        listed = [ListedId(external_id=f"{n:016x}", thread_id=f"{n:016x}") for n in reversed(of[start:end])]
        return IdPage(listed=listed, next_page_token=str(len(of) - start) if start else None)


def memory_mb() -> float:
    """Return the memory of this process in MB; see VmRSS in proc_pid_status(5)."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


@asynccontextmanager
async def open_run(s: Stage, provider: GmailProvider) -> AsyncIterator[TurnContext]:
    """Yield a turn with the stage's mailbox, without a time limit and with enough quota."""
    pool = await create_pool(s.servers.database, application_name="million", size=1)
    await pool.execute(f"SET statement_timeout = '{STATEMENT_SECONDS}s'")
    yield await begin_turn(s, provider, pool=pool)
    await pool.close()


async def state_of(run: TurnContext) -> SyncProgress:
    """Return the state of the copy."""
    async with run.reading() as connection:
        return await sync_state.load(connection, run.mailbox_id)


async def list_to_the_end(run: TurnContext) -> float:
    """List until nothing is left to list; return the growth of this process in MB."""
    before = peak = memory_mb()
    while True:
        state = await state_of(run)
        if state.listing is None:
            return peak - before
        await listing.list_page(run, state)
        peak = max(peak, memory_mb())


async def store_what_is_queued(s: Stage) -> None:
    """Store messages without content for the queued ids: this test is not about fetching."""
    async with s.pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL statement_timeout = 0")
        await connection.execute(
            """
            WITH queued AS (DELETE FROM fetch_queue RETURNING mailbox_id, external_id)
            INSERT INTO messages (mailbox_id, external_id, thread_id, version, received_at, to_addresses, cc_addresses,
                snippet, label_ids, has_attachments, size)
            SELECT mailbox_id, external_id, external_id, 1, now(), '[]', '[]', '', '{}', false, 0 FROM queued
            """,
            timeout=600,
        )


class TestMailboxOfAMillion:
    @pytest.mark.long
    async def test_is_listed_and_compared_in_bounded_memory_and_short_statements(self, stage: OpenStage) -> None:
        async with stage(workers=0) as s:
            await s.request(count=None)
            provider = NumberedMailbox(range(MANY))
            async with open_run(s, provider) as run:
                await listing.begin(run, await state_of(run))
                assert await list_to_the_end(run) < MEMORY_MB
                assert await s.fetchval("SELECT count(*) FROM fetch_queue") == MANY
                await store_what_is_queued(s)

                # The oldest messages are deleted, there are new ones, and some have got a label.
                provider.everything = range(SOME, MANY + SOME)
                provider.labelled = range(SOME, MANY, MANY // SOME)
                async with run.writing() as connection:
                    await labels.record(connection, run.mailbox_id, [LATER], confirm_seconds=0)
                    await sync_state.start_listing(connection, run.mailbox_id, Listing.RELIST, target=None)
                assert await list_to_the_end(run) < MEMORY_MB
            # The listing decides nothing: each different message is queued once.
            assert await s.fetchval("SELECT count(*) FROM messages") == MANY
            queued = "SELECT count(*) FROM fetch_queue WHERE external_id "
            assert await s.fetchval(queued + "< $1", f"{SOME:016x}") == SOME
            assert await s.fetchval(queued + ">= $1", f"{MANY:016x}") == SOME
            labelled = [f"{n:016x}" for n in provider.labelled]
            assert await s.fetchval(queued + "= ANY($1::text[])", labelled) == len(labelled)
            assert await s.fetchval("SELECT count(*) FROM fetch_queue") == 2 * SOME + len(labelled)
