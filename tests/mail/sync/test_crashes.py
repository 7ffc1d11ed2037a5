"""Workers that die during a sync: others, or they themselves after a restart, continue; nothing is stored twice."""

import asyncio
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from services.mail.model import SyncState
from tests.mail.conftest import OpenStage
from tests.support.mail.auth_server import served_auth
from tests.support.mail.stage import Stage
from tests.support.mail.waiting import PATIENCE, eventually
from tests.support.mail.worker_process import LEASE_SECONDS, worker_process


async def logged(directory: Path, words: str) -> bool:
    """Return whether the worker process has logged these words."""
    return words in (directory / "worker.log").read_text()


async def has_session(s: Stage, condition: str) -> bool:
    """Return whether the worker process has a database session of this kind."""
    mine = "application_name = 'mail-worker' AND datname = current_database()"
    return bool(await s.fetchval(f"SELECT EXISTS (SELECT FROM pg_stat_activity WHERE {mine} AND {condition})"))  # noqa: S608 - the tests' own


async def everything(s: Stage) -> dict[str, list[str]]:
    """Return all rows that a turn writes, each with the transaction that wrote it."""
    tables = (
        "messages",
        "message_contents",
        "message_changes",
        "fetch_queue",
        "sync_states",
        "syncs",
        "mailbox_schedule",
    )
    rows = {table: await s.pool.fetch(f"SELECT t.xmin::text || t::text FROM {table} t ORDER BY 1") for table in tables}  # noqa: S608 - the names above
    return {table: [row[0] for row in found] for table, found in rows.items()}


class TestKilledProcess:
    async def test_loses_nothing_and_stores_nothing_twice(self, stage: OpenStage, tmp_path: Path) -> None:
        async with stage(messages=150, workers=0) as s, served_auth(s.auth) as auth_address:
            report = await s.request(count=None)
            async with worker_process(s, tmp_path, auth_address=auth_address) as process:
                await s.until_stored_some(20)
                process.kill()
                assert await process.wait() == -signal.SIGKILL
            assert (await s.report(report)).sync.ended_at is None
            async with worker_process(s, tmp_path, auth_address=auth_address) as process:
                ended = await s.ended(report)
                process.terminate()
                assert await asyncio.wait_for(process.wait(), PATIENCE) == 0
            assert ended.sync.state is SyncState.COMPLETED
            assert await s.stored() == await s.at_provider.truth()
            assert await s.fetchval("SELECT count(*) FROM messages") == 150
            assert (await s.at_provider.quota())["rejected"] == 0


class TestStoppedProcess:
    async def test_writes_nothing_when_continued_after_its_lease(self, stage: OpenStage, tmp_path: Path) -> None:
        async with stage(messages=150, workers=0) as s, served_auth(s.auth) as auth_address:
            async with worker_process(s, tmp_path, auth_address=auth_address) as process:
                # It is stopped while it waits for messages, and finds them when it continues.
                await s.at_provider.fail({"method": "batch", "kind": "slow", "seconds": 1.0, "count": 1})
                report = await s.request(count=None)
                await s.until_fault_fired()
                process.send_signal(signal.SIGSTOP)
                stopped = await s.fetchval("SELECT lease_owner FROM mailbox_schedule")
                async with s.another_worker():
                    ended = await s.ended(report)
                    await s.until_released()
                assert stopped is not None
                assert ended.sync.state is SyncState.COMPLETED
                before = await everything(s)
                process.send_signal(signal.SIGCONT)
                await eventually(lambda: logged(tmp_path, "lease lost"))
                process.terminate()
                assert await asyncio.wait_for(process.wait(), PATIENCE) == 0
            assert await everything(s) == before
            assert await s.stored() == await s.at_provider.truth()
            assert (await s.at_provider.quota())["rejected"] == 0

    @pytest.mark.parametrize(
        ("lock", "state"),
        [
            # It has stored messages and is about to take them off the queue.
            ("SELECT FROM fetch_queue FOR UPDATE", "state = 'idle in transaction'"),
            # It has sent a part of the statement that stores messages; the server waits for the rest.
            ("LOCK TABLE messages IN SHARE MODE", "state = 'active' AND wait_event = 'ClientRead'"),
        ],
        ids=["after a statement", "within a statement"],
    )
    async def test_within_a_transaction_delays_others_for_some_leases_only(
        self, stage: OpenStage, tmp_path: Path, lock: str, state: str
    ) -> None:
        async with stage(messages=150, workers=0) as s, served_auth(s.auth) as auth_address:
            async with worker_process(s, tmp_path, auth_address=auth_address) as process:
                await s.at_provider.fail({"method": "batch", "kind": "slow", "seconds": 1.0, "count": 1})
                report = await s.request(count=None)
                await s.until_fault_fired()
                async with s.pool.acquire() as connection, connection.transaction():
                    await connection.execute(lock)
                    await eventually(lambda: has_session(s, "wait_event_type = 'Lock'"))
                    process.send_signal(signal.SIGSTOP)
                await eventually(lambda: has_session(s, state))
                async with s.another_worker():
                    ended = await s.ended(report, within=LEASE_SECONDS + PATIENCE / 2)
                    await s.until_released()
                assert ended.sync.state is SyncState.COMPLETED
                before = await everything(s)
                process.send_signal(signal.SIGCONT)
                await eventually(lambda: logged(tmp_path, "lease lost"))
                process.terminate()
                assert await asyncio.wait_for(process.wait(), PATIENCE) == 0
            assert await everything(s) == before
            assert await s.stored() == await s.at_provider.truth()


class TestCrashedWorker:
    @pytest.mark.parametrize("least", [0, 10, 35])
    async def test_is_replaced_by_another(self, stage: OpenStage, least: int) -> None:
        async with stage(messages=70, lease_seconds=0.3, page_size=20) as s:
            report = await s.request(count=None)
            await s.until_stored_some(least)
            await s.workers[0].crash()
            async with s.another_worker():
                ended = await s.ended(report)
            assert ended.sync.state is SyncState.COMPLETED
            assert await s.stored() == await s.at_provider.truth()

    async def test_while_catching_up_loses_no_change(self, stage: OpenStage) -> None:
        async with stage(messages=5, lease_seconds=0.3, page_size=5) as s:
            await s.sync(count=None)
            await s.at_provider.deliver_many(30)
            await s.hint()
            await s.until_stored_some(8)
            await s.workers[0].crash()
            for id_ in (await s.at_provider.visible())[:3]:
                await s.at_provider.relabel(id_, add=("STARRED",))
            async with s.another_worker():
                await s.hint()
                await s.mirrors(exactly_paid=False)

    async def test_while_healing_a_lost_cursor_loses_nothing(self, stage: OpenStage) -> None:
        async with stage(messages=20, lease_seconds=0.3, page_size=5) as s:
            await s.sync(count=None)
            newest, second, *_ = await s.at_provider.visible()
            await s.at_provider.delete(newest)
            await s.at_provider.relabel(second, add=("STARRED",))
            await s.at_provider.deliver_many(5)
            await s.at_provider.lose_history()
            async with AsyncExitStack() as stack:
                for _ in range(2):
                    await s.hint()
                    await s.until_healing()
                    await s.workers[-1].crash()
                    await stack.enter_async_context(s.another_worker())
                await s.mirrors(exactly_paid=False)


class TestPausedWorker:
    async def test_writes_nothing_after_another_has_taken_over(self, stage: OpenStage) -> None:
        async with stage(messages=30, lease_seconds=0.3) as s:
            # The first worker is in a call for longer than its lease, which it fails to renew.
            await s.at_provider.fail({"method": "batch", "kind": "slow", "seconds": 2.0, "count": 1})
            report = await s.request(count=None)
            await s.until_fault_fired()
            s.workers[0].worker._turns.lease_seconds = 1000.0
            await s.fetchval("UPDATE mailbox_schedule SET lease_until = now() RETURNING 1")
            async with s.another_worker():
                ended = await s.ended(report)
                assert await s.stored() == await s.at_provider.truth()
                changed_at = await s.fetchval("SELECT max(xmin::text::bigint) FROM messages")
                await s.workers[0].drain()
            assert ended.sync.state is SyncState.COMPLETED
            assert await s.fetchval("SELECT max(xmin::text::bigint) FROM messages") == changed_at
