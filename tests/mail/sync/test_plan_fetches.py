"""The choice of calls for queued messages."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from services.mail.model import FetchItem, Lane
from services.mail.providers.gmail.limits import GMAIL_COSTS
from services.mail.sync.plan_fetches import in_one_way, plan_gets

COSTS = GMAIL_COSTS["2026-05"]


def queue(*threads: str | None) -> list[FetchItem]:
    """Return messages 0, 1 and so on with these thread ids."""
    ids = [str(place) for place in range(len(threads))]
    return [
        FetchItem(
            external_id=id_,
            thread_id=thread,
            siblings=tuple(other for other, its in zip(ids, threads, strict=True) if its == thread) if thread else (),
            lane=Lane.BACKFILL,
        )
        for id_, thread in zip(ids, threads, strict=True)
    ]


class TestPlan:
    def test_of_an_empty_queue_is_empty(self) -> None:
        assert plan_gets([], costs=COSTS, most_gets=10, most_units=200) == []

    def test_gets_two_messages_of_a_thread_one_by_one(self) -> None:
        gets = plan_gets(queue("t", "t"), costs=COSTS, most_gets=10, most_units=200)
        assert [(get.external_ids, get.thread_id) for get in gets] == [(("0",), None), (("1",), None)]

    def test_gets_three_messages_of_a_thread_together(self) -> None:
        [get] = plan_gets(queue("t", "t", "t"), costs=COSTS, most_gets=10, most_units=200)
        assert (get.external_ids, get.thread_id, get.units) == (("0", "1", "2"), "t", 40)

    def test_gets_messages_without_a_thread_id_one_by_one(self) -> None:
        gets = plan_gets(queue(None, None, None), costs=COSTS, most_gets=10, most_units=200)
        assert [get.thread_id for get in gets] == [None, None, None]

    def test_gets_no_thread_that_the_quota_can_never_pay(self) -> None:
        gets = plan_gets(queue("t", "t", "t"), costs=COSTS, most_gets=1, most_units=20)
        assert [get.units for get in gets] == [20]

    @given(
        st.lists(st.none() | st.sampled_from("abcdef"), max_size=60),
        st.integers(1, 30),
        st.integers(COSTS.fetch, 25 * COSTS.fetch),
    )
    def test_stays_within_limits_and_gets_no_message_twice(
        self, threads: list[str | None], most_gets: int, most_units: int
    ) -> None:
        gets = plan_gets(queue(*threads), costs=COSTS, most_gets=most_gets, most_units=most_units)
        ids = [id_ for get in gets for id_ in get.external_ids]
        assert len(gets) <= most_gets
        assert sum(get.units for get in gets) <= most_units
        assert len(ids) == len(set(ids))
        assert bool(gets) == bool(threads)
        assert all(get.units <= COSTS.fetch * len(get.external_ids) for get in gets)


class TestOneWay:
    def test_leaves_backfill_out_of_the_calls_of_live_mail(self) -> None:
        items = [replace(item, lane=Lane.LIVE) if item.external_id < "2" else item for item in queue(*[None] * 4)]
        assert in_one_way(items) == (items[:2], False)
        assert in_one_way(items[2:]) == (items[2:], False)

    def test_is_that_of_the_first(self) -> None:
        items = [replace(item, is_doubted=item.external_id in "02") for item in queue(*[None] * 4)]
        assert in_one_way(items) == ([items[2], items[0]], True)
        assert in_one_way([]) == ([], False)

    def test_mixes_no_message_that_failed_with_others(self) -> None:
        items = [replace(item, attempts=int(item.external_id in "02")) for item in queue(*[None] * 4)]
        assert in_one_way(items) == ([items[2], items[0]], True)
        assert in_one_way(items[1:2]) == (items[1:2], False)
