"""Page tokens of lists."""

import base64
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kit.errors import AppError
from services.mail.read_model import Position
from services.mail.reading.page_tokens import PageTokens

TOKENS = PageTokens(b"k" * 16)
SCOPE: dict[str, object] = {"mailbox": 7, "label": "INBOX", "unread": None}
POSITIONS = st.builds(
    lambda moment, message_id: Position(received_at=moment, message_id=message_id),
    st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001 - bounds are naive
    st.integers(0, 2**63 - 1),
)
POSITION = Position(received_at=datetime(2026, 11, 30, tzinfo=UTC), message_id=1)


def bytes_of(token: str) -> bytes:
    return base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))


class TestPageTokens:
    @given(POSITIONS)
    def test_decode_to_the_encoded_position(self, position: Position) -> None:
        assert TOKENS.decode(TOKENS.encode(position, scope=SCOPE), scope=SCOPE) == position

    def test_that_are_empty_mean_the_first_page(self) -> None:
        assert TOKENS.decode("", scope=SCOPE) is None

    def test_of_a_position_are_always_the_same(self) -> None:
        assert TOKENS.encode(POSITION, scope=SCOPE) == PageTokens(b"k" * 16).encode(POSITION, scope=dict(SCOPE))

    @given(st.text(min_size=1) | st.binary(min_size=1, max_size=64).map(lambda data: base64.b64encode(data).decode()))
    def test_that_are_malformed_are_refused(self, token: str) -> None:
        with pytest.raises(AppError, match="invalid_page_token"):
            TOKENS.decode(token, scope=SCOPE)

    @given(POSITIONS, st.sampled_from([{"mailbox": 8}, {"label": "SENT"}, {"unread": True}, {"label": ""}]))
    def test_of_another_list_are_refused(self, position: Position, change: dict[str, object]) -> None:
        token = TOKENS.encode(position, scope=SCOPE)
        with pytest.raises(AppError, match="invalid_page_token"):
            TOKENS.decode(token, scope=SCOPE | change)

    def test_of_another_database_are_refused(self) -> None:
        with pytest.raises(AppError, match="invalid_page_token"):
            TOKENS.decode(PageTokens(b"l" * 16).encode(POSITION, scope=SCOPE), scope=SCOPE)

    @given(st.integers(0, 255))
    def test_that_are_altered_are_refused(self, bit: int) -> None:
        encrypted = bytearray(bytes_of(TOKENS.encode(POSITION, scope=SCOPE)))
        encrypted[bit // 8] ^= 1 << bit % 8
        with pytest.raises(AppError, match="invalid_page_token"):
            TOKENS.decode(base64.urlsafe_b64encode(encrypted).decode(), scope=SCOPE)

    def test_show_neither_numbers_nor_what_a_guess_could_be_compared_with(self) -> None:
        encrypted = [
            bytes_of(TOKENS.encode(replace(POSITION, message_id=number), scope=SCOPE | {"mailbox": mailbox}))
            for number in range(1, 17)
            for mailbox in range(1, 17)
        ]
        assert {len(each) for each in encrypted} == {32}
        # All bytes differ in any two of them as random ones do.
        for place in range(32):
            assert len({each[place] for each in encrypted}) > 128
