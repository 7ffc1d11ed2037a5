"""Sets of UIDs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.mail.providers.imap.client.errors import MalformedResponseError
from services.mail.providers.imap.client.uids import HIGHEST_UID, UidRange, ranges_of, sets_of, within

_UIDS = st.sets(st.integers(min_value=1, max_value=300))
EVERYTHING = UidRange(1, HIGHEST_UID)


@given(uids=_UIDS)
def test_sets_name_each_uid_once(uids: set[int]) -> None:
    texts = list(sets_of(uids))
    found = [uid for text in texts for uid in within(ranges_of(text.encode()), EVERYTHING)]
    assert found == sorted(uids)


def test_sets_are_short_enough_for_a_command() -> None:
    uids = range(1_000_000_000, 1_000_010_000, 2)
    texts = list(sets_of(uids))
    assert max(map(len, texts)) <= 7_000
    assert [uid for text in texts for uid in within(ranges_of(text.encode()), EVERYTHING)] == list(uids)


@pytest.mark.parametrize(
    ("text", "ranges"),
    [
        (b"", []),
        (b"7", [UidRange(7, 7)]),
        (b"9,3:1,5", [UidRange(1, 3), UidRange(5, 5), UidRange(9, 9)]),
        (b"1:", [UidRange(1, 1)]),
        (b"4:*", [UidRange(4, HIGHEST_UID)]),
    ],
)
def test_ranges_are_read_in_any_order(text: bytes, ranges: list[UidRange]) -> None:
    assert ranges_of(text) == ranges


@pytest.mark.parametrize("text", [b"x", b"0", b"1:2:3", b"4294967296", b"-1", b"1" * 5_000])
def test_ranges_of_what_is_no_set_are_an_error(text: bytes) -> None:
    with pytest.raises(MalformedResponseError):
        ranges_of(text)


def test_an_endless_range_costs_only_what_was_asked_for() -> None:
    assert within([UidRange(1, HIGHEST_UID), UidRange(5, 6)], UidRange(4, 7)) == [4, 5, 6, 7]
