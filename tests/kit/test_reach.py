"""The difference of two clocks, as far as a Date header tells it."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from services.kit.reach import seconds_ahead

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("date", "answered", "off"),
    [
        # Date has whole seconds, and may have been made a second before.
        (timedelta(seconds=-2), timedelta(0), 0),
        (timedelta(0), timedelta(0), 0),
        # The answer took nine seconds, and may have been dated at any time of them.
        (timedelta(0), timedelta(seconds=9), 0),
        (timedelta(seconds=9), timedelta(seconds=9), 0),
        (timedelta(seconds=-77), timedelta(0), 75),
        (timedelta(seconds=75), timedelta(0), -75),
    ],
)
def test_is_no_more_than_a_date_proves(date: timedelta, answered: timedelta, off: int) -> None:
    header = format_datetime(NOW + date, usegmt=True)
    assert seconds_ahead(header, asked=NOW.timestamp(), answered=(NOW + answered).timestamp()) == off
