"""A lease that is renewed during a block; turns of workers are in test_turn.py."""

import asyncio

import pytest
import structlog

from services.mail.store.control.leases import LeaseLostError
from services.mail.sync.turns.lease_renewal import LeaseRenewal
from tests.mail.conftest import OpenStage
from tests.support.mail.turns import claim


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
