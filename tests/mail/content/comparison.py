"""Compares the parser with Python's `email` package (policy.default) and names each class of difference.

The classes, and why ours is right, are listed in docs/content.md; `DOCUMENTED` reads them from there.
"""

import email
import email.policy
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path

from services.mail.content import Address, ParsedMessage, clean_line, html_to_text, parse_raw, sanitise_filename

DOCS = Path(__file__).resolve().parents[3] / "docs" / "content.md"
DOCUMENTED = frozenset(re.findall(r"^\| `([a-z0-9-]+)` \|", DOCS.read_text(), re.MULTILINE))


@dataclass(frozen=True)
class Difference:
    """One field in which the two disagree. `kind` is the class of difference, "unknown" if it has none."""

    kind: str
    field: str
    theirs: object
    ours: object


def compare_with_email(data: bytes) -> Iterator[Difference]:
    """Every difference in subject, addresses, date, text, HTML and attachment names; none where `email` fails."""
    ours = parse_raw(data)
    theirs = email.message_from_bytes(data, policy=email.policy.default)
    assert isinstance(theirs, EmailMessage)
    yield from _compare_subject(theirs, ours)
    yield from _compare_addresses(theirs, ours)
    yield from _compare_date(theirs, ours)
    yield from _compare_body(theirs, ours)
    yield from _compare_names(theirs, ours)


def _succeeds[T](read: Callable[[], T]) -> list[T]:
    """What `read` returns, as the only item; [] where the email package raises, as it does on broken mail."""
    try:
        return [read()]
    except Exception:  # noqa: BLE001 - any failure of the other parser means that there is nothing to compare
        return []


def _compare_subject(theirs: EmailMessage, ours: ParsedMessage) -> Iterator[Difference]:
    for subject in _succeeds(lambda: None if theirs["subject"] is None else str(theirs["subject"])):
        expected = None if subject is None else clean_line(subject)
        if expected != ours.subject:
            yield Difference(_classify_text(expected, ours.subject), "subject", expected, ours.subject)


def _classify_text(theirs: str | None, ours: str | None) -> str:
    return "8-bit-header" if theirs and ours and "\ufffd" in theirs and "\ufffd" not in ours else "unknown"


def _compare_addresses(theirs: EmailMessage, ours: ParsedMessage) -> Iterator[Difference]:
    for name, found in (("from", ours.authors), ("to", ours.to), ("cc", ours.cc), ("reply-to", ours.reply_to)):
        for expected in _succeeds(lambda name=name: _read_addresses(theirs, name)):  # type: ignore[misc]
            if expected != list(found):
                yield from _classify_addresses(theirs, name, expected, list(found))


def _read_raw(theirs: EmailMessage, name: str) -> str:
    """All values of a header as they stand in the message, on one line."""
    return " ".join(" ".join(str(value).split()) for key, value in theirs.raw_items() if key.lower() == name)


def _read_addresses(theirs: EmailMessage, name: str) -> list[Address]:
    header = theirs[name]
    return [] if header is None else [Address(clean_line(a.display_name), a.addr_spec) for a in header.addresses]


def _classify_addresses(
    theirs: EmailMessage, name: str, expected: list[Address], found: list[Address]
) -> Iterator[Difference]:
    value = _read_raw(theirs, name)
    if len(theirs.get_all(name, [])) > 1 and found[: len(expected)] == expected:
        yield Difference("repeated-header", name, expected, found)
        return
    if len(expected) != len(found):
        yield Difference("unknown", name, expected, found)
        return
    for one, other in zip(expected, found, strict=True):
        if one != other:
            yield Difference(_classify_address(one, other, value), name, one, other)


def _classify_address(theirs: Address, ours: Address, header: str) -> str:
    if theirs.email == ours.email:
        return _classify_name(theirs.name, ours.name, header)
    if ours.email == "" and ("@" not in theirs.email or ":" in ours.name):
        return "no-address"
    if theirs.email.replace('"', "") == ours.email.replace('"', "") or theirs.email == "<>":
        return "quotes-in-address"
    return "unknown"


def _classify_name(theirs: str, ours: str, header: str) -> str:
    if theirs == "" and f"({ours})" in header:
        return "name-in-comment"
    if theirs.strip("'") == ours:
        return "apostrophes-around-name"
    return "8-bit-header" if "\ufffd" in theirs and "\ufffd" not in ours else "unknown"


def _compare_date(theirs: EmailMessage, ours: ParsedMessage) -> Iterator[Difference]:
    for moment in _succeeds(lambda: None if theirs["date"] is None else theirs["date"].datetime):
        if moment == ours.sent_at:
            continue
        yield Difference(_classify_date(moment, ours.sent_at, _read_raw(theirs, "date")), "date", moment, ours.sent_at)


def _classify_date(theirs: datetime | None, ours: datetime | None, header: str) -> str:
    if theirs is None or ours is None:
        return "unknown"
    if theirs.year < 1000:
        return "year-since-1900"
    if theirs.tzinfo is None:
        theirs = theirs.replace(tzinfo=UTC)
        if theirs == ours:
            return "date-without-zone"
        if theirs + timedelta(hours=12) == ours and "PM" in header:
            return "twelve-hour-clock"
    return "odd-zone" if "+-" in header else "unknown"


def _compare_body(theirs: EmailMessage, ours: ParsedMessage) -> Iterator[Difference]:
    for kind, found in (("plain", ours.text), ("html", ours.html)):
        for expected in _succeeds(lambda kind=kind: _read_body(theirs, kind)):  # type: ignore[misc]
            if kind == "plain" and ours.text_from_html:
                if expected is not None and found == html_to_text(ours.html or ""):
                    yield Difference("text-that-says-nothing", "text", expected, found)
            elif expected != found:
                yield Difference(_classify_body(expected, found), kind, expected, found)


def _read_body(theirs: EmailMessage, kind: str) -> str | None:
    body = theirs.get_body(preferencelist=(kind,))
    content = body.get_content() if body is not None else None
    return None if content is None else content.replace("\r\n", "\n").replace("\r", "\n")


def _classify_body(theirs: str | None, ours: str | None) -> str:
    if theirs is None or ours is None:
        return "unknown"
    if ours.startswith(theirs.removesuffix("\n")) and len(ours) > len(theirs):
        return "further-parts"
    if _ascii_of(theirs) == _ascii_of(ours):
        return "c1-controls" if re.search("[\x80-\x9f]", theirs) else "body-charset"
    return "body-charset" if "\ufffd" in theirs or re.search("[\x80-\xff]{2}", theirs) else "unknown"


def _ascii_of(text: str) -> str:
    return "".join(character for character in text if character < "\x80")


def _compare_names(theirs: EmailMessage, ours: ParsedMessage) -> Iterator[Difference]:
    for expected in _succeeds(lambda: _read_names(theirs)):
        found = [each.filename for each in ours.attachments if each.filename]
        if expected != found:
            yield Difference("unknown", "names", expected, found)


def _read_names(theirs: EmailMessage) -> list[str]:
    names = [part.get_filename() for part in theirs.walk() if not part.is_multipart()]
    return [safe for name in names if name and (safe := sanitise_filename(name))]
