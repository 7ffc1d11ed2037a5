"""How often idle mailboxes are looked at, and which of a group are due in the rounds since it was checked."""

import math
from dataclasses import dataclass

from services.mail.providers.limits import CallCosts
from services.mail.store.control.idle_groups import IdleGroup
from services.mail.store.control.idle_mailboxes import Activity

# A mailbox is looked at again after this part of the time for which it has been quiet.
_QUIET_SHARE = 1 / 4
# Labels are looked at with every so many looks: no history and no announcement tells of them.
_CHECKS_PER_LABELS = 4
# Seconds between two comparisons of an address with the provider's, at most: history does not tell of a new one.
_ADDRESSES = 86_400.0
_DAY = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleIntervals:
    """Between two looks pass `shortest` seconds or a power of two times that, never more than `longest`.

    Every so often, within `addresses` seconds, a look is at the mailbox's address, too.
    """

    shortest: float
    longest: float
    addresses: float = _ADDRESSES

    @property
    def longest_in_effect(self) -> float:
        """The longest interval of those that there are."""
        return self.shortest * self._most_rounds

    def rounds_between_checks(self, activity: Activity) -> int:
        """Long where changes are announced; else shorter, the less time has passed since the last one."""
        if activity.is_announced:
            return self._most_rounds
        return _power_of_two(min(self.longest, activity.quiet_seconds * _QUIET_SHARE) / self.shortest)

    def least_units(self, costs: CallCosts) -> float:
        """Units that looks at one mailbox take in a day at least."""
        checks = (costs.list_changes + costs.list_labels / _CHECKS_PER_LABELS) * _DAY / self.longest_in_effect
        return checks + costs.profile * _DAY / (self.shortest * self.rounds_between_addresses(self._most_rounds))

    def rounds_between_addresses(self, rounds_between_checks: int) -> int:
        """A multiple of the rounds between two looks, so that it costs no look of its own."""
        return max(rounds_between_checks, _power_of_two(self.addresses / self.shortest))

    @property
    def _most_rounds(self) -> int:
        return _power_of_two(self.longest / self.shortest)


@dataclass(frozen=True, slots=True, kw_only=True)
class DueChecks:
    """Ids of the mailboxes that are due: for a look, and of these for a look at their labels, or address, too."""

    mailbox_ids: list[int]
    with_labels: set[int]
    with_address: set[int]


def due_checks(group: IdleGroup, activities: list[Activity], intervals: IdleIntervals) -> DueChecks:
    """Return the looks that became due since the group was checked.

    Intervals are powers of two, so that one that grows skips no look: every round of the longer is one of the shorter.
    """
    last, present = group.rounds(intervals.shortest)
    due = DueChecks(mailbox_ids=[], with_labels=set(), with_address=set())
    for activity in activities:
        between = intervals.rounds_between_checks(activity)
        if _is_due(activity.mailbox_id, every=between, last=last, present=present):
            due.mailbox_ids.append(activity.mailbox_id)
        if _is_due(activity.mailbox_id, every=between * _CHECKS_PER_LABELS, last=last, present=present):
            due.with_labels.add(activity.mailbox_id)
        if _is_due(activity.mailbox_id, every=intervals.rounds_between_addresses(between), last=last, present=present):
            due.with_address.add(activity.mailbox_id)
    return due


def _is_due(mailbox_id: int, *, every: int, last: float, present: int) -> bool:
    """Return whether one of the mailbox's rounds lies behind the last one, up to the present. Mailboxes take turns."""
    turn = mailbox_id % every
    return math.isinf(last) or (present - turn) // every > (last - turn) // every


def _power_of_two(rounds: float) -> int:
    """Return the largest power of two that is not above, 1 at least."""
    # What is exactly a power may come out a little below.
    return 1 << math.floor(math.log2(max(1.0, rounds)) + 1e-9)
