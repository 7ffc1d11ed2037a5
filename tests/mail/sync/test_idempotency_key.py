"""Requests for syncs with an idempotency key."""

import asyncio
from uuid import UUID, uuid4

import pytest

from services.kit.errors import AppError
from services.mail.model import MailboxStatus, SyncReport, SyncState
from services.mail.syncs import MOST_KEYS
from tests.mail.conftest import OpenStage
from tests.support.mail.stage import Stage, connect_user, id_of


async def start(s: Stage, key: str, *, count: int | None = 10) -> SyncReport:
    return await s.syncs.start(await s.mailbox(), newest_count=count, idempotency_key=key)


async def ended(s: Stage, report: SyncReport) -> SyncReport:
    """End a sync, so that the next request starts another one."""
    return await s.syncs.cancel(s.user_id, id_of(report))


async def age(s: Stage, hours: float) -> None:
    async with s.pool.acquire() as connection:
        await connection.execute(
            "UPDATE sync_requests SET created_at = created_at - make_interval(secs => 3600 * $1::float8)", hours
        )


async def stored_keys(s: Stage) -> list[str]:
    async with s.pool.acquire() as connection:
        return [row["key"] for row in await connection.fetch("SELECT key FROM sync_requests ORDER BY key")]


async def hints(s: Stage) -> int:
    """Count the requests that have made the mailbox due."""
    async with s.pool.acquire() as connection:
        return int(await connection.fetchval("SELECT hint_seq FROM mailbox_schedule"))


class TestRepeat:
    async def test_returns_the_sync_of_the_first_as_it_is_by_then(self, stage: OpenStage) -> None:
        async with stage(workers=0) as s:
            first = await start(s, "a")
            await ended(s, first)
            before = await hints(s)
            again = await start(s, "a")
            assert (id_of(again), again.sync.state) == (id_of(first), SyncState.CANCELLED)
            assert await hints(s) == before
            # Another key, or none, is another request.
            others = [await ended(s, await start(s, "b")), await ended(s, await s.request())]
            assert len({id_of(first), *map(id_of, others)}) == 3

    async def test_answers_so_for_24_hours(self, stage: OpenStage) -> None:
        async with stage(workers=0) as s:
            first = await start(s, "a")
            await ended(s, first)
            await age(s, 23.99)
            assert id_of(await start(s, "a")) == id_of(first)
            await age(s, 0.02)
            assert id_of(await start(s, "a")) != id_of(first)

    async def test_that_comes_at_once_starts_one_sync(self, stage: OpenStage) -> None:
        async with stage(workers=0) as s:
            reports = await asyncio.gather(*(start(s, "a") for _ in range(8)))
            assert len({id_of(report) for report in reports}) == 1
            assert await hints(s) == 1

    async def test_of_another_request_is_refused(self, stage: OpenStage) -> None:
        async with stage(workers=0) as s:
            other, _ = await connect_user(s.servers.sandbox, s.auth, user_id=s.user_id)
            first = await start(s, "a")
            elsewhere = await s.mailboxes.find(s.user_id, account_id=other.account_id)
            before = await hints_of_all(s)
            for mailbox, count in ((await s.mailbox(), 11), (await s.mailbox(), None), (elsewhere, 10)):
                with pytest.raises(AppError, match="idempotency_key_reused"):
                    await s.syncs.start(mailbox, newest_count=count, idempotency_key="a")
            assert await hints_of_all(s) == before
            assert id_of(await start(s, "a")) == id_of(first)

    async def test_of_another_user_is_another_request(self, stage: OpenStage) -> None:
        async with stage(workers=0) as s:
            first = await start(s, "a")
            grace, _ = await connect_user(s.servers.sandbox, s.auth, user_id=uuid4())
            hers = await s.mailboxes.find(grace.user_id, account_id=grace.account_id)
            report = await s.syncs.start(hers, newest_count=10, idempotency_key="a")
            assert id_of(report) != id_of(first)

    async def test_is_answered_although_access_has_ended_since(self, stage: OpenStage) -> None:
        async with stage(workers=0) as s:
            first = await start(s, "a")
            await s.pool.execute("UPDATE mailboxes SET status = $1", MailboxStatus.REAUTH_REQUIRED.value)
            s.auth.is_down = True
            assert id_of(await start(s, "a")) == id_of(first)
            with pytest.raises(AppError, match="service_unavailable"):
                await start(s, "b")


class TestFailure:
    async def test_leaves_the_key_free(self, stage: OpenStage) -> None:
        async with stage(workers=0) as s:
            with pytest.raises(AppError, match="invalid_count"):
                await start(s, "a", count=0)
            assert await stored_keys(s) == []
            assert (await start(s, "a")).sync.state is SyncState.QUEUED


class TestKeys:
    async def test_that_have_expired_are_deleted_by_later_requests(self, stage: OpenStage) -> None:
        async with stage(workers=0) as s:
            for number in range(12):
                await start(s, f"old {number:02}")
            await age(s, 25)
            await start(s, "new 1")
            assert len(await stored_keys(s)) == 3
            await start(s, "new 2")
            assert await stored_keys(s) == ["new 1", "new 2"]

    async def test_go_with_their_mailbox(self, stage: OpenStage) -> None:
        async with stage() as s:
            await start(s, "a")
            await s.until_erased()
            assert await stored_keys(s) == []


async def hints_of_all(s: Stage) -> dict[UUID, int]:
    async with s.pool.acquire() as connection:
        rows = await connection.fetch(
            "SELECT m.account_id, s.hint_seq FROM mailbox_schedule s JOIN mailboxes m USING (mailbox_id)"
        )
    return {row["account_id"]: row["hint_seq"] for row in rows}


class TestTooMany:
    async def test_keys_of_a_user_in_24_hours_are_refused_and_known_ones_answered(self, stage: OpenStage) -> None:
        async with stage(workers=0) as s:
            first = await start(s, "a")
            await ended(s, first)
            async with s.pool.acquire() as connection:
                await connection.execute(
                    """
                    INSERT INTO sync_requests (user_id, key, mailbox_id, sync_id)
                    SELECT $1, 'key ' || number, $2, $3 FROM generate_series(2, $4::int) number
                    """,
                    s.user_id,
                    first.sync.mailbox_id,
                    first.sync.sync_id,
                    MOST_KEYS,
                )
            with pytest.raises(AppError, match="too_many_requests") as refused:
                await start(s, "b")
            assert float(refused.value.metadata["retry_after"]) > 0
            assert id_of(await start(s, "a")) == id_of(first)
            await age(s, 24.01)
            assert id_of(await start(s, "b")) != id_of(first)
