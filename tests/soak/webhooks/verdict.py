"""Compares what a receiver took with the feeds, mailbox by mailbox."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from services.mail.ids import PublicIds
from tests.soak.webhooks.receivers import Arrival


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """The numbers of a feed's changes after the one at which deliveries begin, and those that the receiver refused."""

    start: int
    numbers: Sequence[int]
    refused: frozenset[int] = frozenset()


@dataclass
class Verdict:
    """Differences as sentences. `waits` has the longest wait of each mailbox for its next event, in seconds."""

    taken: int = 0
    repeated: int = 0
    failures: list[str] = field(default_factory=list)
    waits: dict[str, float] = field(default_factory=dict)


def compare(arrivals: Sequence[Arrival], feeds: Mapping[str, Feed], ids: PublicIds) -> Verdict:
    """Compare; `feeds` are those of each mailbox by its public id."""
    verdict = Verdict()
    of_mailbox: dict[str, list[Arrival]] = defaultdict(list)
    for each in arrivals:
        of_mailbox[each.mailbox].append(each)
    for mailbox, feed in feeds.items():
        _compare_ids(mailbox, of_mailbox[mailbox], verdict)
        taken = _first_taken(of_mailbox[mailbox], verdict)
        _compare_one(mailbox, taken, feed, ids, verdict)
        verdict.waits[mailbox] = _longest_wait(taken)
    verdict.failures += [f"{mailbox} is none of the mailboxes" for mailbox in of_mailbox.keys() - feeds.keys()]
    return verdict


def _compare_ids(mailbox: str, arrivals: Sequence[Arrival], verdict: Verdict) -> None:
    """Each position has one webhook-id in all its tries, and no other position has it."""
    pairs = {(each.position, each.event_id) for each in arrivals}
    for kind, number in (("positions", 0), ("ids", 1)):
        if len({pair[number] for pair in pairs}) != len(pairs):
            verdict.failures.append(f"{mailbox}: {kind} of events are not unique")


def _first_taken(arrivals: Sequence[Arrival], verdict: Verdict) -> list[Arrival]:
    first: dict[str, Arrival] = {}
    for each in arrivals:
        if each.is_taken:
            verdict.repeated += each.event_id in first
            first.setdefault(each.event_id, each)
    verdict.taken += len(first)
    return list(first.values())


def _compare_one(mailbox: str, taken: Sequence[Arrival], feed: Feed, ids: PublicIds, verdict: Verdict) -> None:
    numbers = [_number_of(each.position, ids) for each in taken]
    expected = [number for number in feed.numbers if number not in feed.refused]
    if numbers != expected:
        lost, order = sorted(set(expected) - set(numbers)), "" if sorted(numbers) == expected else "not "
        verdict.failures.append(
            f"{mailbox}: {len(numbers)} events of {len(expected)}, lost {lost[:5]}, it is {order}the order alone"
        )
        return
    # Every event names the one before it in the feed, also one that was refused: so the gap shows.
    before = dict(zip(feed.numbers, (feed.start, *feed.numbers), strict=False))
    for each, number in zip(taken, numbers, strict=True):
        if _number_of(each.previous, ids) != before[number] or each.chain_start != (number == feed.numbers[0]):
            verdict.failures.append(f"{mailbox}: the chain breaks at {number}")


def _number_of(position: str, ids: PublicIds) -> int:
    parsed = ids.parse_position(position)
    return -1 if parsed is None else parsed.seq


def _longest_wait(taken: Sequence[Arrival]) -> float:
    """Return the longest time in which nothing was taken though the next event was there."""
    waits = [later.at - max(each.at, later.changed_at) for each, later in pairwise(taken)]
    return max(waits, default=0.0)
