"""What answers mean, and when an event is tried again."""

from datetime import UTC, datetime
from itertools import accumulate

import pytest

from services.mail.webhooks.model import Attempt
from services.mail.webhooks.retries import RetryRules, Verdict, seconds_asked, verdict_of

NOW = datetime(2026, 11, 30, 6, 0, tzinfo=UTC)
RULES = RetryRules()


def verdict(status: int | None) -> Verdict:
    return verdict_of(Attempt(at=NOW, milliseconds=1, status=status))


class TestVerdict:
    @pytest.mark.parametrize(
        ("expected", "statuses"),
        [
            (Verdict.DELIVERED, (200, 201, 202, 204, 299)),
            (Verdict.DOWN, (None, 100, 301, 302, 307, 308, 408, 429, 500, 502, 503, 504, 599)),
            (Verdict.REFUSED, (400, 401, 403, 404, 409, 413, 422)),
            (Verdict.GONE, (410,)),
        ],
    )
    def test_of_a_status(self, expected: Verdict, statuses: tuple[int | None, ...]) -> None:
        assert {verdict(status) for status in statuses} == {expected}


class TestPause:
    @pytest.mark.parametrize(("draw", "part"), [(0.0, 0.9), (0.5, 1.0), (1.0, 1.1)])
    def test_follows_the_published_schedule_within_a_tenth(self, draw: float, part: float) -> None:
        pauses = [RULES.pause(Verdict.DOWN, tries=tries, asked=None, draw=lambda: draw) for tries in range(1, 12)]
        hours = (2, 5, 10, 14, 20, 24, 24, 24)
        published = [5, 300, 1800, *(3600 * each for each in hours)]
        assert pauses == pytest.approx([part * seconds for seconds in published])

    def test_of_a_refused_event_parks_it_within_five_minutes(self) -> None:
        pauses = [RULES.pause(Verdict.REFUSED, tries=tries, asked=None, draw=lambda: 1.0) for tries in (1, 2)]
        assert list(accumulate(pauses))[-1] < 300

    def test_is_as_long_as_the_receiver_asks_but_a_day_at_most(self) -> None:
        def asked(seconds: float) -> float:
            return RULES.pause(Verdict.DOWN, tries=1, asked=seconds, draw=lambda: 0.5)

        assert [asked(1), asked(60), asked(10**9)] == [5.0, 60, 86_400]


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("header", "seconds"),
        [
            ("120", 120.0),
            ("0", 0.0),
            ("Mon, 30 Nov 2026 06:02:00 GMT", 120.0),
            ("Mon, 30 Nov 2026 05:00:00 GMT", 0.0),
            ("soon", None),
            ("Fri, 31 Dec 99999999999999999999 23:59:59 GMT", None),
            ("Mon, 30 Nov 2026 06:02:00 +99999999999999999999", None),
            ("-1", None),
            ("1.5", None),
            ("", None),
            (None, None),
        ],
    )
    def test_is_read(self, header: str | None, seconds: float | None) -> None:
        assert seconds_asked(header, now=NOW) == seconds
