"""Watches: their ends and their renewals."""

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from services.mail.model import Mailbox, MailboxStatus
from services.mail.store.connection import Connection
from services.mail.store.control import mailbox_access, watches
from tests.support.mail.stored import row_of, rows_of

UNKNOWN = 10**15


async def keep(
    connection: Connection, mailbox_id: int, *, expires_in: float = 7 * 86400, renew_seconds: float = 86400
) -> datetime:
    """Record a watch; return its end."""
    expires_at = datetime.now(UTC) + timedelta(seconds=expires_in)
    await watches.keep(connection, mailbox_id, expires_at=expires_at, renew_seconds=renew_seconds)
    return expires_at


async def seconds_until_renewal(connection: Connection) -> float:
    seconds: float = await connection.fetchval("SELECT extract(epoch FROM renew_at - now())::float8 FROM watches")
    return seconds


class TestIsDue:
    async def test_holds_until_a_watch_is_made(self, connection: Connection, mailbox_id: int, other_id: int) -> None:
        await keep(connection, other_id)
        assert await watches.is_due(connection, mailbox_id)
        await keep(connection, mailbox_id)
        assert not await watches.is_due(connection, mailbox_id)
        await connection.execute("UPDATE watches SET renew_at = now()")
        assert await watches.is_due(connection, mailbox_id)


class TestKeep:
    async def test_replaces_the_former_watch(self, connection: Connection, mailbox_id: int) -> None:
        await keep(connection, mailbox_id, expires_in=100, renew_seconds=50)
        expires_at = await keep(connection, mailbox_id, expires_in=2000, renew_seconds=1000)
        assert (await row_of(connection, "watches", mailbox_id))["expires_at"] == expires_at
        assert 900 < await seconds_until_renewal(connection) <= 1000

    async def test_refuses_an_unknown_mailbox(self, connection: Connection) -> None:
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await keep(connection, UNKNOWN)


class TestPostpone:
    async def test_delays_the_first_watch(self, connection: Connection, mailbox_id: int) -> None:
        await watches.postpone(connection, mailbox_id, seconds=1000)
        assert not await watches.is_due(connection, mailbox_id)
        assert 900 < await seconds_until_renewal(connection) <= 1000
        assert (await row_of(connection, "watches", mailbox_id))["expires_at"] is None

    async def test_keeps_the_end_of_a_watch(self, connection: Connection, mailbox_id: int) -> None:
        expires_at = await keep(connection, mailbox_id)
        await watches.postpone(connection, mailbox_id, seconds=1000)
        assert (await row_of(connection, "watches", mailbox_id))["expires_at"] == expires_at
        assert 900 < await seconds_until_renewal(connection) <= 1000


class TestExpiring:
    @pytest.mark.parametrize(("expires_in", "count"), [(-10, 1), (50, 1), (1000, 0)])
    async def test_counts_watches_that_end_soon_or_have_ended(
        self, connection: Connection, mailbox_id: int, expires_in: float, count: int
    ) -> None:
        await keep(connection, mailbox_id, expires_in=expires_in)
        assert await watches.expiring(connection, within_seconds=100) == count

    async def test_ignores_mailboxes_without_a_watch_or_access(
        self, connection: Connection, mailbox: Mailbox, other_id: int
    ) -> None:
        await watches.postpone(connection, other_id, seconds=1)
        await keep(connection, mailbox.mailbox_id, expires_in=-10)
        await mailbox_access.set_status(connection, mailbox.mailbox_id, MailboxStatus.REAUTH_REQUIRED)
        assert await watches.expiring(connection, within_seconds=100) == 0


class TestEveryFunction:
    async def test_leaves_other_mailboxes_alone(self, connection: Connection, mailbox_id: int, other_id: int) -> None:
        await keep(connection, other_id)
        before = await rows_of(connection, other_id, "watches")
        await keep(connection, mailbox_id, expires_in=1, renew_seconds=1)
        await watches.postpone(connection, mailbox_id, seconds=1)
        assert await rows_of(connection, other_id, "watches") == before
