"""A provider that answers no mailbox takes few slots: mailboxes of others would wait for its answers."""

import asyncio
from contextlib import suppress

import pytest
from structlog.testing import capture_logs

from services.mail.model import HistoryDelta
from services.mail.provider_access.outages import ProviderOutages, ProviderOutError
from services.mail.providers.errors import ProviderUnavailableError, RejectedError
from tests.mail.conftest import OpenStage
from tests.support.mail.scripted_history import ScriptedHistory, page
from tests.support.mail.turns import claim, turn_runner


class Clock:
    """Seconds that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        """Return the seconds."""
        return self.now


class WithoutAddresses(ScriptedHistory):
    """A provider that tells of no addresses to send from."""

    async def list_send_as(self, access_token: str) -> list[str]:
        """Return none."""
        del access_token
        return []


def fail(outages: ProviderOutages, *mailbox_ids: int) -> None:
    """Let calls for these mailboxes fail."""
    for mailbox_id in mailbox_ids:
        with pytest.raises(ProviderUnavailableError), outages.asking("google", mailbox_id):
            raise ProviderUnavailableError("silence")


def cancel(outages: ProviderOutages, clock: Clock, *mailbox_ids: int, after: float) -> None:
    """Let calls for these mailboxes be cancelled after some seconds."""
    for mailbox_id in mailbox_ids:
        with suppress(asyncio.CancelledError), outages.asking("google", mailbox_id):
            clock.now += after
            raise asyncio.CancelledError


class TestOutage:
    def test_is_what_several_mailboxes_meet(self) -> None:
        outages = ProviderOutages()
        fail(outages, 1, 2, 1, 2)
        assert not outages.is_under_way("google")
        with capture_logs() as logs:
            fail(outages, 3, 4)
        assert outages.is_under_way("google")
        assert not outages.is_under_way("yandex")
        assert [each["event"] for each in logs] == ["a provider answers no mailbox"]

    def test_shows_by_turns_that_wait_until_they_are_cancelled(self) -> None:
        clock = Clock()
        outages = ProviderOutages(monotonic=clock)
        cancel(outages, clock, 1, 2, 3, after=90.0)
        assert outages.is_under_way("google")

    def test_is_no_loss_of_leases(self) -> None:
        """One of the database cancels all turns at once."""
        clock = Clock()
        outages = ProviderOutages(monotonic=clock)
        cancel(outages, clock, 1, 2, 3, after=5.0)
        assert not outages.is_under_way("google")

    def test_is_no_refusal(self) -> None:
        outages = ProviderOutages()
        for mailbox_id in (1, 2, 3):
            with pytest.raises(RejectedError), outages.asking("google", mailbox_id):
                raise RejectedError("no")
        assert not outages.is_under_way("google")

    def test_ends_with_an_answer(self) -> None:
        outages = ProviderOutages()
        fail(outages, 1, 2, 3)
        outages.answered("google")
        fail(outages, 4, 5)
        assert not outages.is_under_way("google")

    def test_ends_where_no_mailbox_has_failed_for_long(self) -> None:
        clock = Clock()
        outages = ProviderOutages(monotonic=clock)
        fail(outages, 1, 2, 3)
        clock.now = 301.0
        assert not outages.is_under_way("google")
        fail(outages, 4)
        assert not outages.is_under_way("google")

    def test_lets_one_mailbox_at_a_time_ask(self) -> None:
        outages = ProviderOutages()
        fail(outages, 1, 2, 3)
        for mailbox_id in (4, 5):
            with outages.asking("google", mailbox_id):
                fail(outages, 6)
        assert outages.is_under_way("google")

    def test_lets_those_that_have_failed_keep_no_other_from_asking(self) -> None:
        outages = ProviderOutages()
        fail(outages, 1, 2, 3)
        with outages.asking("google", 1, has_failed=True):
            with pytest.raises(ProviderOutError), outages.asking("google", 2, has_failed=True):
                pass
            with outages.asking("google", 4):
                outages.answered("google")
            with outages.asking("google", 2, has_failed=True):
                pass
        assert not outages.is_under_way("google")


async def test_turns_call_no_provider_that_another_mailbox_asks(stage: OpenStage) -> None:
    outages, provider = ProviderOutages(), WithoutAddresses(page(HistoryDelta(), last_record=10))
    fail(outages, 1, 2, 3)
    async with stage(workers=0) as s:
        await s.sync_with_worker()
        await s.hint()
        runner = turn_runner(s, provider, outages=outages)
        with outages.asking("google", 1):
            await runner.run(await claim(s.pool))
        assert provider.asked == []
        schedule = await s.pool.fetchrow(
            "SELECT last_error, attempts, due_at - now() < interval '11 seconds' AS soon FROM mailbox_schedule"
        )
        # It has asked no one: neither does the pause grow, nor counts the mailbox among those that fail.
        assert schedule is not None
        assert tuple(schedule) == ("provider_unavailable", 0, True)
        await s.pool.execute("UPDATE mailbox_schedule SET due_at = now()")
        await runner.run(await claim(s.pool))
        assert len(provider.asked) == 1
        assert not outages.is_under_way("google")
