"""Compares the parser with Python's `email` package (policy.default) and names each class of difference.

The classes, and why ours is right, are listed in docs/content.md; `DOCUMENTED` reads them from there.
"""

import base64
import email
import email.policy
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.errors import MessageDefect, MissingHeaderBodySeparatorDefect
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


def compare_where_email_is_sure(data: bytes) -> Iterator[Difference]:
    """The same, but for what `email` says itself that it could not read well: random bytes leave both to guess."""
    theirs = email.message_from_bytes(data, policy=email.policy.default)
    assert isinstance(theirs, EmailMessage)
    if any(part.defects for part in theirs.walk()) or b"\r" in data.replace(b"\r\n", b""):
        return
    for difference in compare_with_email(data):
        is_sure = data.isascii() if difference.field == "names" else _is_sure_of(theirs, difference.field)
        if is_sure:
            yield difference


def _is_sure_of(theirs: EmailMessage, field: str) -> bool:
    known = _succeeds(lambda: any(value.defects for value in theirs.get_all(field, [])))
    return known == [False] and _read_raw(theirs, field).isascii()


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


def _classify_date(theirs: datetime | None, ours: datetime | None, header: str) -> str:
    if theirs is not None and ours is None and not 1970 <= theirs.year < 2100:
        return "date-out-of-range"
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
                yield Difference(_classify_body(expected, found, theirs), kind, expected, found)


def _read_body(theirs: EmailMessage, kind: str) -> str | None:
    body = theirs.get_body(preferencelist=(kind,))
    content = body.get_content() if body is not None else None
    return None if content is None else content.replace("\r\n", "\n").replace("\r", "\n")


def _classify_body(theirs: str | None, ours: str | None, message: EmailMessage) -> str:
    if theirs is None or ours is None:
        return _classify_absence(ours, message)
    return _classify_broken(theirs, ours, message) or _classify_charset(theirs, ours)


def _classify_absence(ours: str | None, message: EmailMessage) -> str:
    if ours is not None:
        return "other-text"
    if any(part.get_content_type() == "multipart/encrypted" for part in message.walk()):
        return "encrypted-body"
    return "invalid-type" if any(part["content-type"].defects for part in _typed(message)) else "unknown"


def _classify_broken(theirs: str, ours: str, message: EmailMessage) -> str | None:
    if theirs.replace("\0", "") == ours:
        return "nul"
    if theirs.endswith("\n\n" + ours) and _has_defect(message, MissingHeaderBodySeparatorDefect):
        return "stray-header-line"
    if theirs.startswith("\n") and ours == "":
        return "leading-blank-lines"
    if _claims_base64_without_being(message):
        return "lying-base64"
    if ours == _decode_leniently(theirs):
        return "broken-base64"
    return None


def _classify_charset(theirs: str, ours: str) -> str:
    if ("\x1b" in theirs and "\x1b" not in ours) or (ours.isascii() and not theirs.replace("\0", "").isascii()):
        return "body-charset"
    if ours.startswith(theirs.removesuffix("\n")) and len(ours) > len(theirs):
        return "further-parts"
    if _ascii_of(theirs) == _ascii_of(ours):
        return "c1-controls" if re.search("[\x80-\x9f]", theirs) else "body-charset"
    return "body-charset" if "\ufffd" in theirs or re.search("[\x80-\xff]{2}", theirs) else "unknown"


def _has_defect(message: EmailMessage, kind: type[MessageDefect]) -> bool:
    return any(isinstance(defect, kind) for part in message.walk() for defect in part.defects)


def _typed(message: EmailMessage) -> list[EmailMessage]:
    return [part for part in message.walk() if "content-type" in part]


def _claims_base64_without_being(message: EmailMessage) -> bool:
    claimed = [part for part in message.walk() if str(part["content-transfer-encoding"]).lower() == "base64"]
    return any(re.search(r"[^A-Za-z0-9+/=\s]", str(part.get_payload())) for part in claimed if not part.is_multipart())


def _decode_leniently(text: str) -> str | None:
    """What base64 says that was cut within a group; None for anything else."""
    letters = text.strip().rstrip("=")
    try:
        return base64.b64decode(letters[: len(letters) // 4 * 4]).decode()
    except ValueError:
        return None


def _ascii_of(text: str) -> str:
    return "".join(character for character in text if character < "\x80")


def _compare_names(theirs: EmailMessage, ours: ParsedMessage) -> Iterator[Difference]:
    for expected in _succeeds(lambda: _read_names(theirs)):
        found = [each.filename for each in ours.attachments if each.filename]
        if expected != found:
            lost = [name for name in expected if "\ufffd" not in name]
            yield Difference("broken-name" if lost == found else "unknown", "names", expected, found)


def _read_names(theirs: EmailMessage) -> list[str]:
    names = [part.get_filename() for part in theirs.walk() if not part.is_multipart()]
    return [safe for name in names if name and (safe := sanitise_filename(name))]
