"""Real mail: parsed within bounds, and like Python's `email` does it where it can."""

import time

import pytest

from services.mail.content import parse_raw
from services.sandbox.generate.generator import Generator
from tests.support.mail.comparison import DOCUMENTED, compare_with_email
from tests.support.mail.samples import differences, multipart, parse_as_gmail, read_corpus


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


def test_every_message_says_the_same_when_it_is_attached(corpus: list[tuple[str, bytes]]) -> None:
    for name, data in corpus:
        wrapped = multipart("mixed", b"Content-Type: message/rfc822\n\n" + data, boundary="=outer-boundary=")
        whole, [attachment] = parse_raw(data), parse_raw(wrapped).attachments
        assert differences(parse_raw(wrapped), parse_as_gmail(wrapped)) == {}, name
        part = attachment.message
        assert part is not None
        assert (part.subject, part.from_, part.sent_at, part.cc) == (
            whole.subject,
            whole.from_,
            whole.sent_at,
            whole.cc,
        )
        assert (whole.text or "").startswith((part.text or "").removesuffix("\n")), name
        assert [each.filename for each in part.attachments] == [each.filename for each in whole.attachments], name


@pytest.mark.parametrize("count", [200, pytest.param(3000, marks=pytest.mark.long)])
@pytest.mark.parametrize("ugly", [False, True])
def test_what_differs_in_generated_mail_is_documented(ugly: bool, count: int) -> None:
    generator = Generator(seed=3, email="ada@example.com", name="Ada Lovelace", ugly=ugly)
    messages = [generator.content(index, date_ms=1_700_000_000_000 + index * 10**6).raw() for index in range(count)]
    differences = [each for data in messages for each in compare_with_email(data)]
    assert [each for each in differences if each.kind not in DOCUMENTED] == []
    assert {each.kind for each in differences} >= {"split-words"}


@pytest.mark.parametrize("ugly", [False, True])
def test_messages_of_the_sandbox_are_the_same_in_both_formats(ugly: bool) -> None:
    generator = Generator(seed=3, email="ada@example.com", name="Ada Lovelace", ugly=ugly)
    contents = [generator.content(index, date_ms=1_700_000_000_000 + index) for index in range(200)]
    for index, content in enumerate(contents):
        assert differences(parse_raw(content.raw()), parse_as_gmail(content.tree())) == {}, index
