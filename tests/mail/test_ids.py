"""Public ids."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.mail.ids import PublicId, parse_id

BIGINT = st.integers(0, 2**63 - 1)


class TestIds:
    @given(BIGINT, BIGINT)
    def test_come_back_as_they_went(self, mailbox_id: int, local_id: int) -> None:
        assert parse_id(str(PublicId(mailbox_id, local_id))) == PublicId(mailbox_id, local_id)

    @given(BIGINT, BIGINT)
    def test_need_no_escaping_in_a_url(self, mailbox_id: int, local_id: int) -> None:
        assert set(str(PublicId(mailbox_id, local_id))) <= set(
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        )

    @given(st.text(max_size=40) | st.text("ABCDabcd0189-_=", min_size=18, max_size=26))
    def test_of_no_id_are_none_or_have_one_spelling(self, value: str) -> None:
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
