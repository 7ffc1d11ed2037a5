"""Date headers (RFC 5322 section 3.3), and what senders take for them."""

import re
from datetime import UTC, datetime, timedelta

_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(2100, 1, 1, tzinfo=UTC)
_USUAL = re.compile(
    r"(?:[A-Za-z]{3}, ?)?(\d{1,2}) ([A-Z][a-z]{2}) (\d{4}) (\d{2}):(\d{2}):(\d{2}) ([+-]\d{4}|GMT|UTC)(?: \([^()]*\))?"
)
_COMMENT = re.compile(r"\([^()]*\)?")
_TIME = re.compile(r"(?<![\d.])(\d{1,2})([:.])(\d{1,2})(?:\2(\d{1,2}))?(?!\d)(?:[.,]\d+)?\s*([AaPp]\.?[Mm]\b)?")
_ISO = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})")
_DAY_MONTH_YEAR = re.compile(r"\b(\d{1,2})\.?[\s/-]+([^\W\d_]{3,})[.,]?[\s/-]+(\d{2,4})\b")
_MONTH_DAY_YEAR = re.compile(r"\b([^\W\d_]{3,})\.?\s+(\d{1,2}),?\s+(\d{4})\b")
_UNIX = re.compile(r"\b([A-Z][a-z]{2})\s+(\d{1,2})\s+[\d:]+\s+(?:[A-Z]{2,5}\s+)?(\d{4})\b")
_NUMERIC_ZONE = re.compile(r"(?<!\d)([+-]?)(\d{2}):?(\d{2})\b")
_NAMED_ZONE = re.compile(r"\b(?:(UTC?|GMT|Z)|([ECMP])([SD])T)\b")
_ZONE_HOURS = {"E": -5, "C": -6, "M": -7, "P": -8}
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


def parse_date(value: str) -> datetime | None:
    """The moment that a Date header names, aware UTC; None when it is unreadable or outside 1970..2099.

    Without a readable zone the time counts as UTC (RFC 5322 section 4.3: such a zone carries no information).
    """
    usual = _USUAL.fullmatch(value)
    if usual:
        day, month, year, hour, minute, second, zone = usual.groups()
        number = _MONTH_NUMBERS.get(month.lower())
        if number:
            return _build(_expand_year(year), number, int(day), (int(hour), int(minute), int(second)), zone)
    return _parse_leniently(" ".join(_COMMENT.sub(" ", value[:_LONGEST_VALUE]).split()))


def _parse_leniently(value: str) -> datetime | None:
    date = _find_date(value)
    if date is None:
        return None
    time = _TIME.search(value)
    if time is None:
        return _build(*date, (0, 0, 0), "")
    hour = int(time.group(1))
    if time.group(5):
        hour = hour % 12 + (12 if time.group(5)[0] in "Pp" else 0)
    zone = value[time.end() :] if _has_date_before(value, time) else value[time.end() :].replace(str(date[0]), " ")
    return _build(*date, (hour, int(time.group(3)), int(time.group(4) or 0)), zone)


def _has_date_before(value: str, time: re.Match[str]) -> bool:
    return _find_date(value[: time.start()]) is not None


def _find_date(value: str) -> tuple[int, int, int] | None:
    """Year, month and day."""
    if iso := _ISO.search(value):
        return int(iso.group(1)), int(iso.group(2)), int(iso.group(3))
    if written := _DAY_MONTH_YEAR.search(value):
        day, month, year = written.groups()
    elif american := _UNIX.search(value) or _MONTH_DAY_YEAR.search(value):
        month, day, year = american.groups()
    else:
        return None
    number = _find_month(month.lower())
    return (_expand_year(year), number, int(day)) if number else None


def _find_month(name: str) -> int | None:
    return _MONTH_NUMBERS.get(name[:4]) or _MONTH_NUMBERS.get(name[:3])


def _expand_year(year: str) -> int:
    """RFC 5322 section 4.3: two digits up to 49 are 20xx, above and three digits count from 1900."""
    number = int(year)
    if len(year) == 2:
        return number + (2000 if number < 50 else 1900)
    # A year written as 0102 is the same mistake as 102.
    return number + 1900 if number < 1000 else number


def _build(year: int, month: int, day: int, time: tuple[int, int, int], zone: str) -> datetime | None:
    hour, minute, second = time
    try:
        # A leap second, and 24:00, are the start of what follows.
        local = datetime(year, month, day, tzinfo=UTC) + timedelta(hours=hour, minutes=minute, seconds=min(second, 60))
        moment = local - _read_zone(zone)
    except (ValueError, OverflowError):
        return None
    is_time = hour <= 24 and minute < 60 and second <= 60
    return moment if is_time and _EARLIEST <= moment < _LATEST else None


def _read_zone(zone: str) -> timedelta:
    numeric = _NUMERIC_ZONE.search(zone)
    if numeric:
        hours, minutes = int(numeric.group(2)), int(numeric.group(3))
        if hours >= 24 or minutes >= 60:
            return timedelta()
        offset = timedelta(hours=hours, minutes=minutes)
        return -offset if numeric.group(1) == "-" else offset
    named = _NAMED_ZONE.search(zone)
    if named is None or named.group(1):
        return timedelta()
    return timedelta(hours=_ZONE_HOURS[named.group(2)] + (named.group(3) == "D"))
