"""Real mail: parsed within bounds, like Python's `email` does it where it can, and the same from Gmail as raw."""

import time
from dataclasses import fields

import pytest

from services.mail.content import ParsedMessage, parse_raw
from services.sandbox.generator import Generator
from services.sandbox.mime_tree import Part
from tests.mail.content.comparison import DOCUMENTED, compare_with_email
from tests.mail.content.samples import parse_as_gmail, read_corpus

_ONLY_SEEN_RAW = {"8-bit-header", "header-line-without-field", "multipart-not-closed", "boundary-guessed"}


@pytest.fixture(scope="module")
def corpus() -> list[tuple[str, bytes]]:
    return read_corpus()


def test_every_message_parses_within_bounds(corpus: list[tuple[str, bytes]]) -> None:
    started = time.process_time()
    messages = [parse_raw(data) for _, data in corpus]
    assert time.process_time() - started < 0.005 * len(corpus)
    assert not [name for (name, _), message in zip(corpus, messages, strict=True) if message.truncated]
    for message in messages:
        repr(message).encode()
        assert "\0" not in (message.text or "") + (message.html or "")


def test_what_differs_from_the_email_package_is_documented(corpus: list[tuple[str, bytes]]) -> None:
    differences = [(name, each) for name, data in corpus for each in compare_with_email(data)]
    unknown = [(name, each) for name, each in differences if each.kind not in DOCUMENTED]
    assert unknown == []
    # Were nothing compared, nothing would differ.
    assert {each.kind for _, each in differences} >= {"name-in-comment", "date-without-zone", "further-parts"}


def test_gmail_and_raw_give_the_same_message(corpus: list[tuple[str, bytes]]) -> None:
    different = [(name, field) for name, data in corpus for field in _differing_fields(data, data)]
    assert different == []


@pytest.mark.parametrize("ugly", [False, True])
def test_messages_of_the_sandbox_are_the_same_in_both_formats(ugly: bool) -> None:
    generator = Generator(seed=3, email="ada@example.com", name="Ada Lovelace", ugly=ugly)
    contents = [generator.content(index, date_ms=1_700_000_000_000 + index) for index in range(600)]
    different = [
        (index, field)
        for index, content in enumerate(contents)
        for field in _differing_fields(content.raw(), content.tree())
    ]
    assert different == []


def _differing_fields(data: bytes, tree: bytes | Part) -> list[str]:
    """Fields that differ, except for what Gmail's format cannot carry."""
    raw, gmail = parse_raw(data), parse_as_gmail(tree)
    names = [field.name for field in fields(ParsedMessage) if getattr(raw, field.name) != getattr(gmail, field.name)]
    return [name for name in names if not _is_lost_by_gmail(name, raw, gmail)]


def _is_lost_by_gmail(field: str, raw: ParsedMessage, gmail: ParsedMessage) -> bool:
    if field == "defects":
        # Raw headers and boundaries are not there to be found broken.
        return set(raw.defects) - set(gmail.defects) <= _ONLY_SEEN_RAW
    if field in ("headers", "subject", "from_", "authors"):
        # Raw 8-bit header bytes have become U+FFFD.
        return "8-bit-header" in raw.defects and "\ufffd" in repr(getattr(gmail, field))
    if field == "attachments":
        # The sandbox writes a delivery status anew, which changes its size.
        statuses = {each.part_id for each in raw.attachments if each.mime_type == "message/delivery-status"}
        others = [[each for each in message.attachments if each.part_id not in statuses] for message in (raw, gmail)]
        return bool(statuses) and others[0] == others[1]
    return False
