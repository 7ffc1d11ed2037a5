"""Page tokens of lists."""

import base64
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kit.errors import AppError
from services.mail.read_model import Position
from services.mail.reading import page_tokens

SCOPE: dict[str, object] = {"mailbox": 7, "label": "INBOX", "unread": None}
POSITIONS = st.builds(
    lambda moment, message_id: Position(received_at=moment, message_id=message_id),
    st.datetimes(datetime(1970, 1, 1), datetime(9998, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001 - bounds are naive
    st.integers(0, 2**63 - 1),
)


def _token(*fields: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode()


class TestPageTokens:
    @given(POSITIONS)
    def test_decode_to_the_encoded_position(self, position: Position) -> None:
        assert page_tokens.decode(page_tokens.encode(position, scope=SCOPE), scope=SCOPE) == position

    def test_that_are_empty_mean_the_first_page(self) -> None:
        assert page_tokens.decode("", scope=SCOPE) is None

    @given(st.text(min_size=1))
    def test_that_are_malformed_are_refused(self, token: str) -> None:
        with pytest.raises(AppError, match="invalid_page_token"):
            page_tokens.decode(token, scope=SCOPE)

    @given(
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        )
    )
    def test_with_other_json_are_refused(self, value: object) -> None:
        with pytest.raises(AppError, match="invalid_page_token"):
            page_tokens.decode(base64.urlsafe_b64encode(json.dumps(value).encode()).decode(), scope=SCOPE)

    @given(POSITIONS, st.sampled_from([{"mailbox": 8}, {"label": "SENT"}, {"unread": True}, {"label": ""}]))
    def test_of_another_list_are_refused(self, position: Position, change: dict[str, object]) -> None:
        token = page_tokens.encode(position, scope=SCOPE)
        with pytest.raises(AppError, match="invalid_page_token"):
            page_tokens.decode(token, scope=SCOPE | change)

    @pytest.mark.parametrize(
        ("microseconds", "message_id"),
        [(10**30, 1), (0, -1), (0, 2**63), (0, "x"), (None, 1), (float("inf"), 1), (-(10**18), 1)],
    )
    def test_with_impossible_positions_are_refused(self, microseconds: object, message_id: object) -> None:
        genuine = page_tokens.encode(Position(received_at=datetime.now(UTC), message_id=1), scope=SCOPE)
        fingerprint = json.loads(base64.urlsafe_b64decode(genuine + "=="))[2]
        with pytest.raises(AppError, match="invalid_page_token"):
            page_tokens.decode(_token(microseconds, message_id, fingerprint), scope=SCOPE)
