"""How often an idle mailbox is looked at: by its activity, by what is announced, and never too rarely."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.mail.providers.gmail.limits import GMAIL_COSTS
from services.mail.store.control.idle_groups import GROUP_SIZE, IdleGroup
from services.mail.store.control.idle_mailboxes import Activity
from services.mail.sync.idle.budget import fitting_longest
from services.mail.sync.idle.rounds import IdleIntervals, due_checks

MINUTE = 60.0
INTERVALS = IdleIntervals(shortest=MINUTE, longest=16 * MINUTE)
NOW = 1_800_000_000.0


def activity(mailbox_id: int, *, quiet: float = math.inf, announced: bool = False) -> Activity:
    return Activity(mailbox_id=mailbox_id, quiet_seconds=quiet, is_announced=announced, needs_watch=False)


def group_at(checked_at: float, claimed_at: float, *, group_id: int = 3) -> IdleGroup:
    return IdleGroup(group_id=group_id, checked_at=checked_at, claimed_at=claimed_at, lease_epoch=1)


def checks(mailbox: Activity, *, visits: list[float], of: str = "mailbox_ids") -> list[float]:
    """Return the times at which the mailbox is due in visits of its group: for a look, or for more."""
    found = []
    for checked_at, claimed_at in pairwise(visits):
        due = due_checks(group_at(checked_at, claimed_at), [mailbox], INTERVALS)
        if mailbox.mailbox_id in getattr(due, of):
            found.append(claimed_at)
    return found


def every_minute(hours: float) -> list[float]:
    return [NOW + MINUTE * number for number in range(int(hours * 60) + 1)]


class TestIntervals:
    @pytest.mark.parametrize(
        ("quiet", "rounds"),
        [(0, 1), (7 * MINUTE, 1), (8 * MINUTE, 2), (16 * MINUTE, 4), (63 * MINUTE, 8), (64 * MINUTE, 16), (1e9, 16)],
    )
    def test_grow_with_the_time_since_the_last_change(self, quiet: float, rounds: int) -> None:
        assert INTERVALS.rounds_between_checks(activity(1, quiet=quiet)) == rounds

    def test_are_the_longest_where_changes_are_announced(self) -> None:
        assert INTERVALS.rounds_between_checks(activity(1, quiet=0, announced=True)) == 16

    @pytest.mark.parametrize(
        ("shortest", "longest", "in_effect"), [(60, 960, 960), (60, 959, 480), (60, 60, 60), (0.3, 2.4, 2.4)]
    )
    def test_are_powers_of_two_of_the_shortest_up_to_the_longest(
        self, shortest: float, longest: float, in_effect: float
    ) -> None:
        found = IdleIntervals(shortest=shortest, longest=longest)
        assert found.longest_in_effect == pytest.approx(in_effect)
        assert found.rounds_between_checks(activity(1)) * shortest == pytest.approx(in_effect)


class TestDueChecks:
    @pytest.mark.parametrize(("quiet", "times"), [(0, 60), (8 * MINUTE, 30), (math.inf, 3.75)])
    def test_come_once_in_an_interval(self, quiet: float, times: float) -> None:
        found = checks(activity(1000, quiet=quiet), visits=every_minute(16))
        assert len(found) == 16 * times

    def test_of_labels_are_every_fourth(self) -> None:
        found = checks(activity(1000, quiet=0), visits=every_minute(1), of="with_labels")
        assert len(found) == 15
        assert set(found) <= set(checks(activity(1000, quiet=0), visits=every_minute(1)))

    @pytest.mark.parametrize("quiet", [0, math.inf])
    def test_of_addresses_come_with_a_look_within_a_day(self, quiet: float) -> None:
        mailbox = activity(1000, quiet=quiet)
        found = checks(mailbox, visits=every_minute(100), of="with_address")
        assert max(later - earlier for earlier, later in pairwise(found)) == 1024 * MINUTE
        assert set(found) <= set(checks(mailbox, visits=every_minute(100)))

    def test_of_a_group_are_spread_over_the_interval(self) -> None:
        members = [activity(number) for number in group_at(0, 0).mailbox_ids]
        counts = [
            len(due_checks(group_at(checked_at, claimed_at), members, INTERVALS).mailbox_ids)
            for checked_at, claimed_at in pairwise(every_minute(1))
        ]
        assert set(counts) == {GROUP_SIZE // 16}

    def test_are_all_due_in_a_group_that_was_never_checked_or_after_the_clock_was_set_back(self) -> None:
        for checked_at in (-math.inf, NOW + 100):
            assert due_checks(group_at(checked_at, NOW), [activity(1, announced=True)], INTERVALS).mailbox_ids == [1]

    def test_are_made_up_for_once_after_a_standstill(self) -> None:
        assert len(checks(activity(1, quiet=0), visits=[NOW, NOW + 7200])) == 1

    @given(
        mailbox_id=st.integers(0, 10_000),
        quiet=st.floats(0, 7200),
        pauses=st.lists(st.floats(MINUTE, 2 * MINUTE), min_size=60, max_size=120),
    )
    def test_are_never_further_apart_than_the_longest_interval_and_a_visit(
        self, mailbox_id: int, quiet: float, pauses: list[float]
    ) -> None:
        at, found = NOW, [NOW]
        for pause in pauses:
            growing = activity(mailbox_id, quiet=quiet + at + pause - NOW)
            if due_checks(group_at(at, at + pause), [growing], INTERVALS).mailbox_ids:
                found.append(at + pause)
            at += pause
        assert max(later - earlier for earlier, later in pairwise([*found, at])) <= 16 * MINUTE + max(pauses)


class TestBudget:
    def test_of_a_mailbox_is_that_of_the_longest_interval(self) -> None:
        # 90 times a day a page of history, 2 units, and with every fourth the labels, 1 unit; every 1024 minutes the
        # address, 1 unit.
        assert INTERVALS.least_units(GMAIL_COSTS["2026-05"]) == 90 * 2.25 + 1440 / 1024

    def test_that_is_too_small_asks_for_longer_intervals(self) -> None:
        assert fitting_longest(INTERVALS, units_needed=100, units_allowed=100) == 16 * MINUTE
        assert fitting_longest(INTERVALS, units_needed=101, units_allowed=100) == 32 * MINUTE
        assert fitting_longest(INTERVALS, units_needed=401, units_allowed=100) == 128 * MINUTE
