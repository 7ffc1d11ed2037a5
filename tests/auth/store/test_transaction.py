"""Work on whole tables, in batches: one statement on all rows would meet its limit, and begin anew the next time."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.auth.store.transaction import Store, Transaction

LONG_AGO, AFTER = datetime(2001, 1, 1, tzinfo=UTC), datetime(2001, 1, 2, tzinfo=UTC)
OLD = 3
_KEYS = "INSERT INTO api_key_events (key_id, type, created_at) SELECT 'k' || n, 'created', :at"
_EVENTS = "INSERT INTO security_events (user_id, type, created_at) SELECT gen_random_uuid(), 'any', :at"
_ENDED = "INSERT INTO ended_sessions (session_id, ended_at) SELECT gen_random_uuid(), :at"
_SESSIONS = """
    WITH someone AS (
        INSERT INTO users (user_id, login_provider, login_subject) VALUES (gen_random_uuid(), 'google', 'any')
        RETURNING user_id
    )
    INSERT INTO sessions (session_id, user_id, created_at, used_at, expires_at)
    SELECT gen_random_uuid(), (SELECT user_id FROM someone), :at, :at, :at
"""
_CONNECT_SESSIONS = """
    WITH someone AS (
        INSERT INTO users (user_id, login_provider, login_subject) VALUES (gen_random_uuid(), 'google', 'any')
        RETURNING user_id, application_id
    )
    INSERT INTO connect_sessions (session_id, application_id, user_id, access, login_hint, redirect_url, token_digest,
        state, expires_at)
    SELECT gen_random_uuid(), (SELECT application_id FROM someone), (SELECT user_id FROM someone), '{}', '', '',
        decode(lpad(n::text, 4, '0'), 'hex'), 'created', :at
"""
_FORGETTING: dict[str, tuple[str, Callable[[Transaction, int], Awaitable[int]]]] = {
    "events of users": (_EVENTS, lambda done, limit: done.events.forget_before(AFTER, limit=limit)),
    "events of keys": (_KEYS, lambda done, limit: done.api_keys.forget_events_before(AFTER, limit=limit)),
    "ended sessions": (_ENDED, lambda done, limit: done.sessions.forget_ended(before=AFTER, limit=limit)),
    "sessions": (
        _SESSIONS,
        lambda done, limit: done.sessions.forget_expired(now=AFTER, unused_since=LONG_AGO, limit=limit),
    ),
    "connect sessions": (
        _CONNECT_SESSIONS,
        lambda done, limit: done.connect_sessions.forget(before=AFTER, limit=limit),
    ),
}


class TestInBatches:
    @pytest.mark.parametrize(("rows", "forget"), _FORGETTING.values(), ids=_FORGETTING)
    async def test_old_rows_are_deleted_some_at_a_time(
        self,
        rows: str,
        forget: Callable[[Transaction, int], Awaitable[int]],
        fresh_engine: AsyncEngine,
    ) -> None:
        async with fresh_engine.begin() as connection:
            await connection.execute(text(f"{rows} FROM generate_series(1, {OLD}) n"), {"at": LONG_AGO})
        deleted: list[int] = []

        async def note(transaction: Transaction, limit: int) -> int:
            deleted.append(await forget(transaction, limit))
            return deleted[-1]

        await Store(fresh_engine).in_batches(note, batch=2)
        assert deleted == [2, 1]

    async def test_each_has_a_transaction_of_its_own(self, fresh_engine: AsyncEngine) -> None:
        left = [2, 2, 0]
        transactions: list[Transaction] = []

        async def change(transaction: Transaction, limit: int) -> int:
            transactions.append(transaction)
            assert limit == 2
            return left.pop(0)

        await Store(fresh_engine).in_batches(change, batch=2)
        assert left == []
        assert len(set(map(id, transactions))) == 3
