"""Compares the parser with Python's `email` package (policy.default) and names each class of difference.

The classes, and why ours is right, are listed in docs/content.md; `DOCUMENTED` reads them from there.
"""

import email
import email.policy
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage, MIMEPart
from pathlib import Path

from services.mail.content import (
    Address,
    Attachment,
    ParsedMessage,
    clean_line,
    html_to_text,
    parse_raw,
    sanitise_filename,
)
from tests.support.mail.body_differences import UUENCODED_NAME, classify_body

DOCS = Path(__file__).resolve().parents[3] / "docs" / "content.md"
DOCUMENTED = frozenset(re.findall(r"^\| `([a-z0-9-]+)` \|", DOCS.read_text(), re.MULTILINE))
# Codecs of Python that no mail program has: `email` decodes by them all the same.
_PYTHONS_OWN = frozenset({"unicode-escape", "idna"})
_DELIMITERS = str.maketrans("", "", '"<> ')


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


def compare_where_email_is_sure(data: bytes) -> Iterator[Difference]:
    """The same without the fields that `email` reports defects of: random bytes leave both to guess."""
    theirs = email.message_from_bytes(data, policy=email.policy.default)
    assert isinstance(theirs, EmailMessage)
    if any(part.defects for part in theirs.walk()) or b"\r" in data.replace(b"\r\n", b""):
        return
    if any(part.get_content_charset() in _PYTHONS_OWN for part in theirs.walk()):
        return
    for difference in compare_with_email(data):
        is_sure = data.isascii() if difference.field == "names" else _is_sure_of(theirs, difference.field)
        # A replaced character is one that it could not read, and random bytes have no right text.
        if is_sure and "\ufffd" not in str(difference.theirs):
            yield difference


def _is_sure_of(theirs: EmailMessage, field: str) -> bool:
    known = _succeeds(lambda: any(value.defects for value in theirs.get_all(field, [])))
    return known == [False] and _read_raw(theirs, field).isascii()


def _succeeds[T](read: Callable[[], T]) -> list[T]:
    """The result of `read` as the only item; [] where the email package raises, as it does on broken mail."""
    try:
        return [read()]
    except Exception:  # noqa: BLE001 - without a result of the other parser nothing can be compared
        return []


def _compare_subject(theirs: EmailMessage, ours: ParsedMessage) -> Iterator[Difference]:
    for subject in _succeeds(lambda: None if theirs["subject"] is None else str(theirs["subject"])):
        expected = None if subject is None else clean_line(subject)
        if expected != ours.subject:
            yield Difference(_classify_text(expected, ours.subject, theirs), "subject", expected, ours.subject)


def _classify_text(theirs: str | None, ours: str | None, message: EmailMessage) -> str:
    if theirs is None and any(name.lower().rstrip() == "subject" for name in message.keys()):  # noqa: SIM118 - a Message
        return "space-before-colon"
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
    if sum(key.lower() == name for key, _ in theirs.raw_items()) > 1 and found[: len(expected)] == expected:
        yield Difference("repeated-header", name, expected, found)
        return
    if len(expected) != len(found):
        yield Difference(_classify_list(found, value), name, expected, found)
        return
    for one, other in zip(expected, found, strict=True):
        if one != other:
            yield Difference(_classify_address(one, other, value), name, one, other)


def _classify_list(ours: list[Address], header: str) -> str:
    if not ours and re.search(r":\s*;?(?:@|$)", header.translate(_DELIMITERS)):
        return "empty-group"
    return "unknown"


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
    if "=?" in header and theirs.replace(" ", "") == ours.replace(" ", ""):
        return "split-words"
    if theirs.strip("'") == ours:
        return "apostrophes-around-name"
    return "8-bit-header" if "\ufffd" in theirs and "\ufffd" not in ours else "unknown"


def _compare_date(theirs: EmailMessage, ours: ParsedMessage) -> Iterator[Difference]:
    for moment in _succeeds(lambda: None if theirs["date"] is None else theirs["date"].datetime):
        if moment == ours.sent_at:
            continue
        yield Difference(_classify_date(moment, ours.sent_at, _read_raw(theirs, "date")), "date", moment, ours.sent_at)


def _offsets_named(header: str) -> list[timedelta]:
    """The offset that the last word of a Date header gives, or that the tz database gives for it."""
    name = header.split()[-1]
    if hours := re.fullmatch(r"(?:GMT|UTC)?([+-]\d{1,2})", name):
        return [timedelta(hours=int(hours.group(1)))]
    known = {"BST": 1, "CET": 1, "MET": 1, "CEST": 2, "MEST": 2, "EET": 2, "EEST": 3, "MSK": 3, "MSD": 4, "JST": 9}
    return [timedelta(hours=known[name])] if name in known else []


def _classify_date(theirs: datetime | None, ours: datetime | None, header: str) -> str:
    if theirs is not None and ours is None and not 1970 <= theirs.year < 2100:
        return "date-out-of-range"
    if theirs is None or ours is None:
        return "unknown"
    if theirs.year < 1000:
        return "year-since-1900"
    if theirs.tzinfo is None:
        theirs = theirs.replace(tzinfo=UTC)
        if theirs - ours in _offsets_named(header):
            return "named-zone"
        if theirs == ours:
            return "date-without-zone"
        if theirs + timedelta(hours=12) == ours and "PM" in header:
            return "twelve-hour-clock"
    return "odd-zone" if "+-" in header else "unknown"


def _compare_body(theirs: EmailMessage, ours: ParsedMessage) -> Iterator[Difference]:
    for kind, found in (("plain", ours.text), ("html", ours.html)):
        for part in _succeeds(lambda kind=kind: theirs.get_body(preferencelist=(kind,))):  # type: ignore[misc]
            for expected in _succeeds(lambda part=part: _read_content(part)):  # type: ignore[misc]
                if kind == "plain" and ours.text_from_html:
                    if expected is not None and found == html_to_text(ours.html or ""):
                        yield Difference("text-that-says-nothing", "text", expected, found)
                elif expected != found:
                    yield Difference(classify_body(part, expected, found, theirs), kind, expected, found)


def _read_content(part: MIMEPart | None) -> str | None:
    content = part.get_content() if part is not None else None
    return None if content is None else content.replace("\r\n", "\n").replace("\r", "\n")


def _compare_names(theirs: EmailMessage, ours: ParsedMessage) -> Iterator[Difference]:
    for expected in _succeeds(lambda: _read_names(theirs)):
        found = list(_list_names(ours.attachments))
        if expected != found:
            yield Difference(_classify_names(expected, found, theirs), "names", expected, found)


def _classify_names(theirs: list[str], ours: list[str], message: EmailMessage) -> str:
    if [name for name in theirs if "\ufffd" not in name] == ours:
        return "broken-name"
    in_text = [
        sanitise_filename(name)
        for part in message.walk()
        for name in UUENCODED_NAME.findall(str(part.get_payload()) if not part.is_multipart() else "")
    ]
    if in_text and sorted(theirs + in_text) == sorted(ours):
        return "uuencoded"
    named_texts = [part.get_filename() for part in message.walk() if part.get_content_maintype() == "text"]
    lost = [name for name in theirs if name not in ours]
    return "named-body" if lost and len(lost) == 1 and lost[0] in named_texts else "unknown"


def _read_names(theirs: EmailMessage) -> list[str]:
    names = [part.get_filename() for part in theirs.walk() if part.get_content_maintype() != "multipart"]
    return [safe for name in names if name and (safe := sanitise_filename(name))]


def _list_names(attachments: Sequence[Attachment]) -> Iterator[str]:
    """Names of attachments and of those of attached messages, in the order in which they stand."""
    for each in attachments:
        if each.filename:
            yield each.filename
        yield from _list_names(each.message.attachments if each.message else ())
