"""Generated mail: reproducible, varied, and the same as bytes and as a tree."""

import unicodedata
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from services.sandbox.clock import Clock
from services.sandbox.generate.correspondents import PARAGRAPHS, paragraphs
from services.sandbox.generate.generator import Generator
from services.sandbox.generate.malformed_mail import MAKERS
from services.sandbox.generate.phrases import LANGUAGES, Language
from services.sandbox.google.gmail.labels import GmailLabels
from services.sandbox.instruments.audit_log import AuditLog
from services.sandbox.mailboxes.mailbox import Mailbox
from services.sandbox.mailboxes.registry import Mailboxes
from services.sandbox.mailboxes.user import User
from services.sandbox.mime.content import Content
from services.sandbox.mime.part_tree import Part, parse_message

DATE_MS = 1_790_000_000_000
ADA = User("1", "ada@example.com", "Ada Lovelace")


def _generator(*, seed: int = 1, ugly: bool = False) -> Generator:
    return Generator(seed=seed, email=ADA.email, name=ADA.name, ugly=ugly)


def _contents(count: int, *, ugly: bool = False) -> Iterator[Content]:
    generator = _generator(ugly=ugly)
    return (generator.content(i, date_ms=DATE_MS + i * 1000) for i in range(count))


def _flat(part: Part, part_id: str = "") -> Iterator[tuple[object, ...]]:
    yield part_id, part.mime_type, part.filename, part.headers, part.size, part.read(), part.is_attachment, part.charset
    for i, child in enumerate(part.parts):
        yield from _flat(child, f"{part_id}.{i}".removeprefix("."))


def _mailbox(count: int, *, seed: int = 3) -> Mailbox:
    clock = Clock(lambda: DATE_MS / 1000)
    mailboxes = Mailboxes(clock=clock, seed=seed, retention=1e6, log=AuditLog(clock), label_scheme=GmailLabels())
    mailboxes.populate(ADA, messages=count, seed=None, ugly=False)
    return mailboxes.of(ADA)


def _memory_mb() -> float:
    """Return the peak memory of this process; see VmHWM in proc_pid_status(5)."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def _growth_mb(count: int) -> float:
    before = _memory_mb()
    mailbox = _mailbox(count)
    assert len(mailbox.order) == count
    return _memory_mb() - before


class TestContent:
    def test_the_tree_is_what_a_parser_makes_of_the_bytes(self) -> None:
        for content in _contents(400):
            assert list(_flat(content.tree())) == list(_flat(parse_message(content.raw())))

    def test_the_tree_with_encoded_headers_is_what_a_parser_makes_of_the_bytes(self) -> None:
        for content in _contents(100):
            parsed = parse_message(content.raw(), headers="encoded")
            assert content.tree(headers="encoded").headers == parsed.headers

    def test_the_same_seed_and_number_give_the_same_bytes(self) -> None:
        assert [c.raw() for c in _contents(40)] == [c.raw() for c in _contents(40)]
        other = _generator(seed=2)
        assert [c.raw() for c in _contents(40)] != [other.content(i, date_ms=DATE_MS).raw() for i in range(40)]

    def test_the_size_is_near_the_truth(self) -> None:
        for content in _contents(200):
            assert 0.5 < content.size() / len(content.raw()) < 1.6

    @pytest.mark.parametrize("language", LANGUAGES, ids=lambda language: language.code)
    def test_every_language_can_be_written_in_its_charsets(self, language: Language) -> None:
        for charset in language.charsets:
            if charset != "us-ascii" or language.code == "en":
                assert len(paragraphs(language, charset)) == PARAGRAPHS

    def test_charsets_encodings_scripts_and_structures_vary(self) -> None:
        parts = [part for content in _contents(1500) for part in _flat(content.tree())]
        assert len({part[7] for part in parts}) >= 10
        assert {"multipart/mixed", "multipart/alternative", "multipart/related", "text/calendar"} <= {
            p[1] for p in parts
        }
        subjects = "".join(value for part in parts for name, value in part[3] if name == "Subject")  # type: ignore[attr-defined]
        scripts = {unicodedata.name(letter, "").split(" ")[0] for letter in subjects if letter.isalpha()}
        assert {"LATIN", "CYRILLIC", "CJK"} < scripts
        assert len(scripts) > 6

    def test_every_sixth_message_of_an_ugly_mailbox_is_malformed(self) -> None:
        contents = list(_contents(6 * len(MAKERS), ugly=True))
        ugly = [content.raw() for content in contents[5::6]]
        assert len({raw.split(b"Subject:")[-1][:40] for raw in ugly}) > len(MAKERS) * 0.8
        assert all(list(_flat(content.tree())) for content in contents)


class TestMailbox:
    def test_nothing_is_kept_of_a_message_but_its_number(self) -> None:
        assert all(isinstance(message.source, int) for message in _mailbox(300).order)

    def test_most_threads_are_short_and_some_are_long(self) -> None:
        sizes = Counter(len(thread) for thread in _mailbox(5000).threads.values())
        assert sizes[1] > sizes.total() * 0.6
        assert sum(count for size, count in sizes.items() if size > 5) > 10

    def test_labels_and_read_state_are_mixed(self) -> None:
        labels = Counter(label for message in _mailbox(3000).order for label in message.labels)
        assert 200 < labels["UNREAD"] < 900
        for label in ("INBOX", "SENT", "SPAM", "TRASH", "STARRED", "CATEGORY_PROMOTIONS", "Label_3"):
            assert labels[label] > 20
        assert any(not message.labels for message in _mailbox(300).order)

    def test_messages_lie_in_the_past_in_order_of_their_ids(self) -> None:
        order = _mailbox(500).order
        assert order[-1].internal_date <= DATE_MS
        assert [message.id for message in order] == sorted(message.id for message in order)
        assert all(int(message.id, 16) >> 20 == message.internal_date for message in order)

    def test_replies_name_their_parents(self) -> None:
        mailbox = _mailbox(500)
        by_name = {mailbox.content(m).tree().header("Message-ID"): m for m in mailbox.order}
        replies = [m for m in mailbox.order if mailbox.content(m).tree().header("In-Reply-To")]
        assert len(replies) > 50
        for reply in replies:
            assert by_name[mailbox.content(reply).tree().header("In-Reply-To")].thread_id == reply.thread_id

    def test_arrivals_continue_the_numbering_and_reach_the_top(self) -> None:
        clock = Clock(lambda: DATE_MS / 1000)
        mailboxes = Mailboxes(clock=clock, seed=3, retention=1e6, log=AuditLog(clock), label_scheme=GmailLabels())
        mailboxes.populate(ADA, messages=50, seed=None, ugly=False)
        mailbox = mailboxes.of(ADA)
        arrived = mailboxes.deliver(mailbox, 5)
        assert sorted(mailbox.order[-5:], key=lambda m: m.history_id) == arrived
        assert [message.source for message in arrived] == [50, 51, 52, 53, 54]

    @pytest.mark.long
    def test_a_million_messages_take_half_a_kilobyte_each(self) -> None:
        with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as process:
            assert process.submit(_growth_mb, 1_000_000).result() < 512
