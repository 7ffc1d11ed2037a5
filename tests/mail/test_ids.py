"""Public ids."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.mail.ids import FeedPosition, PublicId, parse_id, parse_position

BIGINT = st.integers(0, 2**63 - 1)


class TestIds:
    @given(BIGINT, BIGINT)
    def test_parse_to_the_original(self, mailbox_id: int, local_id: int) -> None:
        assert parse_id(str(PublicId(mailbox_id, local_id))) == PublicId(mailbox_id, local_id)

    @given(BIGINT, BIGINT)
    def test_need_no_escaping_in_a_url(self, mailbox_id: int, local_id: int) -> None:
        assert set(str(PublicId(mailbox_id, local_id))) <= set(
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        )

    @given(st.text(max_size=40) | st.text("ABCDabcd0189-_=", min_size=18, max_size=26))
    def test_of_other_text_are_none_or_have_one_spelling(self, value: str) -> None:
        found = parse_id(value)
        assert found is None or str(found) == value

    @pytest.mark.parametrize(
        "value",
        [
            "",
            "=",
            "\0",
            "Ж" * 22,
            str(PublicId(1, 2)) + "=",
            str(PublicId(1, 2)) + "==",
            " " + str(PublicId(1, 2)),
            str(PublicId(1, 2))[:-1] + "B",  # the same bits in another spelling
            str(PublicId(2**63, 1)),
            str(PublicId(1, 2**64 - 1)),
        ],
    )
    def test_that_are_malformed_are_none(self, value: str) -> None:
        assert parse_id(value) is None


class TestPositions:
    @given(BIGINT, BIGINT, BIGINT)
    def test_parse_to_the_original(self, mailbox_id: int, incarnation: int, seq: int) -> None:
        position = FeedPosition(mailbox_id, incarnation, seq)
        assert parse_position(str(position)) == position

    @given(BIGINT, BIGINT)
    def test_without_an_incarnation_belong_to_the_first(self, mailbox_id: int, seq: int) -> None:
        assert parse_position(str(PublicId(mailbox_id, seq))) == FeedPosition(mailbox_id, 0, seq)

    @given(st.text(max_size=40) | st.text("ABCDabcd0189-_=", min_size=26, max_size=34))
    def test_of_other_text_are_none_or_have_one_spelling(self, value: str) -> None:
        found = parse_position(value)
        assert found is None or value in (str(found), str(PublicId(found.mailbox_id, found.seq)))

    @pytest.mark.parametrize(
        "value", ["", str(FeedPosition(1, 2, 3))[:-1], str(FeedPosition(1, 2, 3)) + "=", str(FeedPosition(1, 2**63, 3))]
    )
    def test_that_are_malformed_are_none(self, value: str) -> None:
        assert parse_position(value) is None

    def test_are_no_ids(self) -> None:
        assert parse_id(str(FeedPosition(1, 2, 3))) is None
