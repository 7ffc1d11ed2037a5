"""Dates as programs write them: comments anywhere, any case, date(1), Java, slashes; no hour that is guessed."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.mail.content.headers.dates import parse_date

JUNE_3 = datetime(2014, 6, 3, 10, 20, 30, tzinfo=UTC)
# From 2 January 1970 to 30 December 2099, so that every zone's time is in those years.
_MOMENTS = st.integers(86_400, 4_102_357_600).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
PROPERTY = settings(max_examples=300)


def after(hours: float) -> datetime:
    """10:20:30 on 3 June 2014 in a zone so many hours behind UTC."""
    return JUNE_3 + timedelta(hours=hours)


class TestForms:
    """One moment in the forms that are met."""

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("Tue Jun  3 10:20:30 PDT 2014", after(7)),
            ("Tue Jun  3 10:20:30 2014", after(0)),
            ("Tue Jun 03 10:20:30 CEST 2014", after(-2)),
            ("Tue Jun  3 10:20:30 -0700 2014", after(7)),
            ("Tue Jun  3 10:20:30 2014 -0700", after(7)),
            ("Tue Jun 03 2014 10:20:30 GMT+0200 (CEST)", after(-2)),
            ("2014/06/03 Tue 10:20:30 CDT", after(5)),
            ("2014/06/03 10:20:30 +0000", after(0)),
            ("2014.06.03 10:20:30", after(0)),
            ("20140603T102030Z", after(0)),
            ("2014-06-03 10:20:30.123456-07:00", after(7)),
            ("2014年6月3日 10:20:30 +0800", after(-8)),
            ("Tuesday, 03-Jun-14 10:20:30 GMT", after(0)),
            ("3. Juni 2014 10:20:30 MESZ", after(-2)),
            ("3 de junio de 2014 10:20:30", after(0)),
            ("June 3rd, 2014 at 10:20:30 AM EST", after(5)),
            ("Tue, 3 Jun 2014 10:20:30 +2", after(-2)),
            ("Tue, 3 Jun 2014 10:20:30 \u22120500", after(5)),
            ("Tue, 3 Jun 2014 10:20:30 UTC-5", after(5)),
            ("03.06.2014 10.20.30", after(0)),
            ("Tue, 06/03/2014 10:20:30", after(0)),
            ("Tue, 03/06/2014 10:20:30", after(0)),
        ],
    )
    def test_each_is_read(self, value: str, expected: datetime) -> None:
        assert parse_date(value) == expected

    @pytest.mark.parametrize("zone", ["pst", "Pst", "PST"])
    def test_zones_are_named_in_any_case(self, zone: str) -> None:
        assert parse_date(f"tue, 3 JUN 2014 10:20:30 {zone}") == after(8)

    @pytest.mark.parametrize("zone", ["A", "z", "IST", "XYZ", "EST5EDT", "+2500"])
    def test_a_zone_that_says_nothing_is_utc(self, zone: str) -> None:
        assert parse_date(f"Tue, 3 Jun 2014 10:20:30 {zone}") == JUNE_3

    @pytest.mark.parametrize(
        ("value", "day"), [("13/06/2014 10:20:30", 13), ("06/13/2014 10:20:30", 13), ("6/6/2014 10:20:30", 6)]
    )
    def test_numbers_that_can_be_told_apart_are_a_date(self, value: str, day: int) -> None:
        assert parse_date(value) == JUNE_3.replace(day=day)


class TestComments:
    """RFC 5322 appendix A.6.3, section 4.3: comments and space between any tokens."""

    @pytest.mark.parametrize(
        "value",
        [
            "Tue, 3 Jun 2014 10(h):20:30 +0200",
            "Tue, 3 Jun 2014 10 : 20 : 30 +0200",
            "Tue, 3 Jun 2014 10:(min)20(:):30 +0200",
            "Tue(day),3(of)Jun (the (year\\)) is)2014 10:20:30(s)+0200(zone",
        ],
    )
    def test_they_change_nothing(self, value: str) -> None:
        assert parse_date(value) == after(-2)

    _CFWS = st.sampled_from([" ", "  ", "(c)", " (a (b) \\) c) ", "( 99:99 )", "(Jun 4 2015)"])

    @PROPERTY
    @given(
        moment=_MOMENTS,
        zone=st.integers(-14 * 4, 14 * 4),
        gaps=st.lists(_CFWS, min_size=10, max_size=10),
        upper=st.booleans(),
    )
    def test_wherever_they_stand(self, moment: datetime, zone: int, gaps: list[str], upper: bool) -> None:
        moment = moment.astimezone(timezone(timedelta(minutes=15 * zone)))
        tokens = moment.strftime("%a , %d %b %Y %H : %M : %S %z").split()
        tokens = [tokens[0] + ",", *tokens[2:]]
        value = "".join(token + gap for token, gap in zip(tokens, gaps, strict=True))
        assert parse_date(value.upper() if upper else value.lower()) == moment


class TestUnreadableTimes:
    """A silently wrong hour is worse than none."""

    @pytest.mark.parametrize(
        "value",
        [
            "Tue, 3 Jun 2014 10h20",
            "3 Jun 2014 1020",
            "06/03/2014 10:20:30",
            "Fri, 06/03/2014 10:20:30",
            "30 PDT 2014",
            "10:20:30 PDT 2014",
        ],
    )
    def test_they_give_no_date(self, value: str) -> None:
        assert parse_date(value) is None

    def test_a_day_without_a_time_is_its_start(self) -> None:
        assert parse_date("3 Jun 2014") == JUNE_3.replace(hour=0, minute=0, second=0)


class TestRoundTrip:
    """Every form of every moment gives the moment back."""

    _FORMS = (
        "%a %b %e %H:%M:%S %Z %Y",
        "%a %b %e %H:%M:%S %Y",
        "%Y/%m/%d %a %H:%M:%S %Z",
        "%Y-%m-%dT%H:%M:%SZ",
        "%A, %d-%b-%Y %H:%M:%S GMT",
        "%b %d, %Y %I:%M:%S %p",
        "%d.%m.%Y %H:%M:%S",
        "%d %B %Y %H.%M.%S +0000",
        "%Y%m%dT%H%M%S",
    )

    @PROPERTY
    @given(moment=_MOMENTS, form=st.sampled_from(_FORMS))
    def test_in_utc(self, moment: datetime, form: str) -> None:
        assert parse_date(moment.strftime(form)) == moment
