"""The tries that a deliverer makes at a time, shared by endpoints."""

from uuid import UUID, uuid4

from services.mail.deliverer.slots import Slots


def failing(slots: Slots, number: int) -> list[UUID]:
    """Return so many endpoints to which nothing could be delivered last."""
    endpoints = [uuid4() for _ in range(number)]
    for each in endpoints:
        slots.note(each, is_failing=True)
    return endpoints


class TestFailingEndpoints:
    def test_get_one_slot_each_and_half_of_all_together(self) -> None:
        slots = Slots(total=8, per_endpoint=4)
        endpoints = failing(slots, 9)
        assert [slots.take(each) for each in endpoints] == [True] * 4 + [False] * 5
        assert not slots.take(endpoints[0])
        slots.give(endpoints[0])
        assert slots.take(endpoints[8])

    def test_leave_the_others_what_they_had(self) -> None:
        slots, other = Slots(total=8, per_endpoint=4), uuid4()
        assert sum(slots.take(each) for each in failing(slots, 9)) == 4
        # No endpoint gets more than it leaves free.
        assert [slots.take(other) for _ in range(3)] == [True, True, False]

    def test_are_counted_from_their_failure_to_their_recovery(self) -> None:
        slots, other = Slots(total=8, per_endpoint=4), uuid4()
        assert all(slots.take(other) for _ in range(4))
        slots.note(other, is_failing=True)
        endpoints = failing(slots, 4)
        assert not any(slots.take(each) for each in endpoints)
        slots.note(other, is_failing=False)
        assert sum(slots.take(each) for each in endpoints) == 4

    def test_have_a_try_where_there_is_one_slot(self) -> None:
        slots = Slots(total=1, per_endpoint=1)
        [endpoint] = failing(slots, 1)
        assert slots.take(endpoint)
