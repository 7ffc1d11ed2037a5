"""Date headers (RFC 5322 section 3.3), and the forms that senders use instead."""

import re
from datetime import UTC, datetime, timedelta

from services.mail.content.headers.comments import split_comments

_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(2100, 1, 1, tzinfo=UTC)
_USUAL = re.compile(
    r"(?:[A-Za-z]{3}, ?)?(\d{1,2}) ([A-Z][a-z]{2}) (\d{4}) (\d{2}):(\d{2}):(\d{2}) ([+-]\d{4}|GMT|UTC)(?: \([^()]*\))?"
)
_SPACE_AROUND_COLON = re.compile(r"\s*:\s*")
_COMPACT = re.compile(r"\b(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)?", re.IGNORECASE)
_YEAR_FIRST = re.compile(r"(?<!\d)(\d{4})[-/.年](\d{1,2})[-/.月](\d{1,2})(?!\d)日?")
_DAY_MONTH_YEAR = re.compile(
    r"(?<![\w:.])(\d{1,2})(?:\.|st|nd|rd|th)?[\s/-]*(?:(?:de|of) )?"
    r"([^\W\d_]{3,})[.,]?[\s/-]*(?:(?:de|of) )?(\d{2,4})\b",
    re.IGNORECASE,
)
# The year stands behind the time in date(1) and in Java's Date.toString: `Jun  3 10:20:30 PDT 2014`.
_MONTH_DAY_YEAR = re.compile(
    r"(?<!\w)([^\W\d_]{3,})\.?\s+(\d{1,2})(?:st|nd|rd|th)?(?![\d:.]),?(\s[^/]*?)?(?<![\w:.+-])(\d{4})(?![\w:])",
    re.IGNORECASE,
)
_NUMERIC = re.compile(r"(?<![\d:])(\d{1,2})([-/.])(\d{1,2})\2(\d{4})(?!\d)")
_TIME = re.compile(
    r"(?<![\d.])(\d{1,2})(?:([:.])(\d{1,2})(?:\2(\d{1,2}))?(?!\d)(?:[.,]\d+)?\s*([ap]\.?m\b)?|\s*([ap]\.?m\b))",
    re.IGNORECASE,
)
_SIGNED_ZONE = re.compile(r"([+\-\u2212])\s*(\d{1,2})(?::?(\d{2}))?(?!\d)")
_UNSIGNED_ZONE = re.compile(r"(?<![\d:])(\d{2}):?(\d{2})(?!\d)")
_WORD = re.compile(r"(?<![A-Z\d])[A-Z]{2,5}(?![A-Z\d])", re.IGNORECASE)
# Offsets in hours: RFC 5322 section 4.3, then the abbreviations in the tz database that stand for one offset.
_ZONES = {
    name: float(hours)
    for name, hours in re.findall(
        r"([A-Z]+)(\S+)",
        """
        UT0 UTC0 GMT0 EST-5 EDT-4 CST-6 CDT-5 MST-7 MDT-6 PST-8 PDT-7 AKST-9 AKDT-8 HST-10 AST-4 ADT-3 NST-3.5 NDT-2.5
        WET0 WEST1 BST1 CET1 CEST2 MET1 MEST2 MEZ1 MESZ2 EET2 EEST3 MSK3 MSD4 WAT1 CAT2 SAST2 EAT3 PKT5 WIB7 WITA8 WIT9
        HKT8 SGT8 AWST8 JST9 KST9 ACST9.5 ACDT10.5 AEST10 AEDT11 NZST12 NZDT13
        """,
    )
}
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LONGEST_VALUE = 200
# Starts of month names: English, then German, French, Spanish, Italian, Portuguese, Dutch, Polish and Russian.
_MONTHS = (
    "jan gen ene янв sty",
    "feb fév fev фев lut",
    "mar mär mrz мар maa",
    "apr avr abr апр kwi",
    "may mai mag мая май mei maj",
    "jun juin giu июн cze",
    "jul juil lug июл lip",
    "aug aoû ago авг sie",
    "sep set сен wrz",
    "oct okt ott out окт paź",
    "nov ноя lis",
    "dec dez déc dic дек gru",
)
_MONTH_NUMBERS = {prefix: number for number, names in enumerate(_MONTHS, 1) for prefix in names.split()}

type _Day = tuple[int, int, int]


def parse_date(value: str) -> datetime | None:
    """Read the moment that a Date header names, aware UTC; None if it is unreadable or outside 1970..2099.

    Without a readable zone the time counts as UTC (RFC 5322 section 4.3: such a zone carries no information). A time
    that cannot be read makes the whole date unreadable: a wrong hour is worse than none.
    """
    usual = _USUAL.fullmatch(value)
    if usual:
        day, month, year, hour, minute, second, zone = usual.groups()
        number = _MONTH_NUMBERS.get(month.lower())
        if number:
            return _build((_expand_year(year), number, int(day)), (int(hour), int(minute), int(second)), zone)
    return _parse_leniently(" ".join(split_comments(value[:_LONGEST_VALUE])[0].split()))


def _parse_leniently(value: str) -> datetime | None:
    value = _COMPACT.sub(r"\1-\2-\3 \4:\5:\g<6>", _SPACE_AROUND_COLON.sub(":", value))
    found = _find_day(value)
    if found is None:
        return None
    day, rest = found
    time = _TIME.search(rest)
    if time is None:
        is_day_alone = not any(map(str.isdigit, _SIGNED_ZONE.sub("", rest)))
        return _build(day, (0, 0, 0), "") if is_day_alone else None
    hour = int(time.group(1))
    if half := time.group(5) or time.group(6):
        hour = hour % 12 + (12 if half[0] in "Pp" else 0)
    return _build(day, (hour, int(time.group(3) or 0), int(time.group(4) or 0)), rest[time.end() :])


def _find_day(value: str) -> tuple[_Day, str] | None:
    """Find year, month and day; return the value without them too."""
    if match := _YEAR_FIRST.search(value):
        year, month, day = map(int, match.groups())
        return (year, month, day), _cut(value, match)
    for match in _DAY_MONTH_YEAR.finditer(value):
        if number := _find_month(match.group(2)):
            return (_expand_year(match.group(3)), number, int(match.group(1))), _cut(value, match)
    for match in _MONTH_DAY_YEAR.finditer(value):
        if number := _find_month(match.group(1)):
            rest = value[: match.start()] + " " + (match.group(3) or "") + " " + value[match.end() :]
            return (int(match.group(4)), number, int(match.group(2))), rest
    match = _NUMERIC.search(value)
    day_found = _order_numbers(match, value) if match else None
    return (day_found, _cut(value, match)) if match and day_found else None


def _cut(value: str, match: re.Match[str]) -> str:
    return value[: match.start()] + " " + value[match.end() :]


def _order_numbers(match: re.Match[str], value: str) -> _Day | None:
    """Tell day and month of `3/6/2014` apart by dots, a number above 12 or the weekday; None without these."""
    one, other, year = int(match.group(1)), int(match.group(3)), int(match.group(4))
    day_first, month_first = (year, other, one), (year, one, other)
    if match.group(2) == "." or one == other:
        return day_first
    weekday = value[:3].lower()
    fitting = [day for day in (day_first, month_first) if _falls_on(day, weekday)]
    return fitting[0] if len(fitting) == 1 else None


def _falls_on(day: _Day, weekday: str) -> bool:
    """Return whether the day exists and is such a weekday, if that is one."""
    try:
        number = datetime(*day, tzinfo=UTC).weekday()
    except ValueError:
        return False
    return weekday not in _WEEKDAYS or _WEEKDAYS[number] == weekday


def _find_month(name: str) -> int | None:
    name = name.lower()
    return _MONTH_NUMBERS.get(name[:4]) or _MONTH_NUMBERS.get(name[:3])


def _expand_year(year: str) -> int:
    """RFC 5322 section 4.3: two digits up to 49 are 20xx, above and three digits count from 1900."""
    number = int(year)
    if len(year) == 2:
        return number + (2000 if number < 50 else 1900)
    # A year written as 0102 is the same mistake as 102.
    return number + 1900 if number < 1000 else number


def _build(day: _Day, time: tuple[int, int, int], zone: str) -> datetime | None:
    hour, minute, second = time
    try:
        # A leap second, and 24:00, are the start of what follows.
        local = datetime(*day, tzinfo=UTC) + timedelta(hours=hour, minutes=minute, seconds=min(second, 60))
        moment = local - _read_zone(zone)
    except (ValueError, OverflowError):
        return None
    is_time = hour <= 24 and minute < 60 and second <= 60
    return moment if is_time and _EARLIEST <= moment < _LATEST else None


def _read_zone(zone: str) -> timedelta:
    signed = _SIGNED_ZONE.search(zone)
    if signed:
        offset = _offset(int(signed.group(2)), int(signed.group(3) or 0))
        return offset if signed.group(1) == "+" else -offset
    hours = next((_ZONES[word.upper()] for word in _WORD.findall(zone) if word.upper() in _ZONES), None)
    if hours is not None:
        return timedelta(hours=hours)
    unsigned = _UNSIGNED_ZONE.search(zone)
    return _offset(int(unsigned.group(1)), int(unsigned.group(2))) if unsigned else timedelta()


def _offset(hours: int, minutes: int) -> timedelta:
    return timedelta(hours=hours, minutes=minutes) if hours < 24 and minutes < 60 else timedelta()
