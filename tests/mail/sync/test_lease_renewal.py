"""A lease that is renewed during a block; turns of workers are in test_turn.py."""

import asyncio

import pytest
import structlog

from services.mail.store.control.leases import LeaseLostError
from services.mail.sync.turns.lease_renewal import LeaseRenewal, TurnTimeoutError
from tests.mail.conftest import OpenStage
from tests.support.mail.turns import claim


async def end_late() -> None:
    """Wait until a cancellation, and for a second more."""
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        await asyncio.sleep(1.0)
        raise


class TestDuring:
    async def test_cancels_the_block_where_no_renewal_works(self, stage: OpenStage) -> None:
        async with stage(workers=0) as s:
            await s.request()
            lease = await claim(s.pool)
            # No error of a lost database.
            await s.pool.execute("ALTER TABLE mailbox_schedule RENAME COLUMN lease_until TO renamed")
            try:
                with structlog.testing.capture_logs() as logs, pytest.raises(LeaseLostError):
                    async with LeaseRenewal(s.pool, lease_seconds=0.3).during(lease, step=lambda: ""):
                        await asyncio.sleep(30)
            finally:
                await s.pool.execute("ALTER TABLE mailbox_schedule RENAME COLUMN renamed TO lease_until")
            assert {entry["error"] for entry in logs if entry["event"] == "lease not renewed"} == {
                "UndefinedColumnError"
            }

    async def test_tells_of_a_cancelled_turn_that_does_not_end(self, stage: OpenStage) -> None:
        """It would keep its slot in silence: what cancels a turn has done its work then."""
        async with stage(workers=0) as s:
            await s.request()
            lease = await claim(s.pool)
            renewal = LeaseRenewal(s.pool, lease_seconds=0.3, longest_turn=0.2, long_turn=0.1)
            with structlog.testing.capture_logs() as logs, pytest.raises(TurnTimeoutError):
                async with renewal.during(lease, step=lambda: "stuck"):
                    await end_late()
            told = [entry["step"] for entry in logs if entry["event"] == "a cancelled turn does not end"]
            assert set(told) == {"stuck"}
            # Nor does it keep its lease.
            assert await s.fetchval("SELECT lease_until < now() FROM mailbox_schedule")
