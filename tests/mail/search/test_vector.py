"""The searchable form of extreme messages: Postgres takes all of them, and all words within the limits are found."""

import base64
import hashlib
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kit.settings import Postgres
from services.kit.stores.postgres import create_pool
from services.mail.content.model import Address, AttachedMessage, Attachment, ParsedMessage
from services.mail.content.text.clean import clean_line
from services.mail.search.neighbours import pairs_of
from services.mail.search.syntax import HasAddress, InDomain, Node, Text
from services.mail.search.terms import query_terms, terms_of
from services.mail.search.vector import LAST_PLACE, LEXEME_BYTES, Field, vector_of
from services.mail.store.connection import Pool
from services.mail.store.reading.query_sql import Compiler
from tests.support.mail.generated_mail import some_message

MAILBOX = 7_654_321
_MATCHES = "SELECT $1::text::tsvector @@ $2::text::tsquery"
# The bytes that Postgres limits: without the header, and four bytes per lexeme for its length and place.
_LEXEME_BYTES = "SELECT pg_column_size(v) - 8 - 4 * length(v) FROM (SELECT $1::text::tsvector AS v)"


def content(**fields: object) -> ParsedMessage:
    """A message with nothing but these."""
    made = some_message(1, random.Random(0)).content
    bare = replace(made, subject=None, text=None, authors=(), to=(), cc=(), bcc=(), attachments=(), message_id=None)
    return replace(bare, **fields)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
async def pool(mail_database: Postgres) -> AsyncIterator[Pool]:
    """Connections for this module's questions to Postgres."""
    pool = await create_pool(mail_database, application_name="vector-tests", size=1)
    yield pool
    await pool.close()


async def fits(pool: Pool, message: ParsedMessage, *nodes: Node) -> list[bool]:
    """Whether the message fits each condition."""
    vector = vector_of(message, mailbox_id=MAILBOX)
    queries = [Compiler(MAILBOX, {}, {}).compile(node).lexemes for node in nodes]
    return [await pool.fetchval(_MATCHES, vector, query) for query in queries]


async def finds(pool: Pool, message: ParsedMessage, *texts: str, field: Field | None = None) -> list[bool]:
    """Whether each text is found in the message."""
    return await fits(pool, message, *(Text(field, tuple(query_terms(text))) for text in texts))


async def finds_address(pool: Pool, message: ParsedMessage, *emails: str) -> list[bool]:
    """Whether each address is found among the recipients of the message."""
    return await fits(pool, message, *(HasAddress(Field.TO, email) for email in emails))


def _words(count: int, length: int) -> str:
    """Words that do not repeat, as the ids and keys of a log have them."""
    seed = random.Random(count)
    return " ".join("".join(seed.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=length)) for _ in range(count))


def _people(count: int, *, name: int = 12, local: int = 12) -> tuple[Address, ...]:
    """People whose names and addresses have nothing in common."""
    words = iter(_words(count * 3, max(name, local)).split())
    return tuple(Address(next(words)[:name], f"{next(words)[:local]}@{next(words)[:8]}.example") for _ in range(count))


# Made by the tests: texts of a megabyte take longer to make than all other tests to be collected.
_LARGE: dict[str, Callable[[], dict[str, object]]] = {
    "words": lambda: {"text": " ".join(f"{number:x}" for number in range(60_000))},
    "random words": lambda: {"text": _words(60_000, 7)},
    "long random words": lambda: {"text": _words(4_000, 199)},
    "pairs": lambda: {"text": "".join(chr(0x4E00 + number % 20_000 + number // 20_000) for number in range(60_000))},
    "rare pairs": lambda: {"text": "".join(chr(0x20000 + number % 40_000) for number in range(60_000))},
    "long words": lambda: {"text": " ".join("é" * 199 + chr(0x400 + number) for number in range(500))},
    "one word": lambda: {"text": "word " * 60_000},
    "one letter": lambda: {"text": "a " * 120_000},
    "short words": lambda: {"text": _words(100_000, 2)},
    "450 kB of recipients": lambda: {"to": _people(10_000), "text": _words(60_000, 7)},
    "long addresses": lambda: {"cc": _people(1_000, local=240), "text": _words(60_000, 7)},
    "addresses of four bytes a character": lambda: {
        "to": tuple(
            Address("", "".join(chr(0x20000 + (at * 60 + place) % 40_000) for place in range(60)) + f"@{at}.example")
            for at in range(1_400)
        ),
        "text": _words(60_000, 7),
    },
    "a megabyte of people": lambda: {"to": _people(5_000, name=55, local=59), "text": _words(60_000, 7)},
    "long names": lambda: {
        "bcc": (Address(_words(60_000, 7), "x@example.com"), *_people(100)),
        "text": _words(60_000, 7),
    },
    "450 kB of subject": lambda: {"subject": "first " + _words(60_000, 7), "text": _words(60_000, 7)},
    "file names": lambda: {
        "attachments": tuple(
            Attachment(str(at), _words(20, at % 13 + 1), "a/b", 1, False, None) for at in range(2_000)
        ),
        "text": _words(60_000, 7),
    },
    "everything": lambda: {
        "subject": "first " + _words(9_000, 9),
        "to": _people(9_000, local=60),
        "cc": _people(9_000, name=60),
        "text": "".join(chr(0x4E00 + number % 20_000 + number // 20_000) for number in range(60_000)),
    },
}


class TestLimits:
    @pytest.mark.parametrize("fields", _LARGE.values(), ids=_LARGE.keys())
    async def test_postgres_takes_the_largest_messages(
        self, pool: Pool, fields: Callable[[], dict[str, object]]
    ) -> None:
        message = content(**{"subject": "First", **fields()})
        size = await pool.fetchval(_LEXEME_BYTES, vector_of(message, mailbox_id=MAILBOX))
        assert size <= LEXEME_BYTES < 1 << 20
        assert await finds(pool, message, "first", (message.text or "").split()[0][:200]) == [*(True, True)]

    async def test_every_part_of_a_message_has_a_share(self, pool: Pool) -> None:
        people = _people(10_000)
        files = tuple(Attachment(str(at), f"file{at}.pdf", "a/b", 1, False, None) for at in range(100))
        message = content(subject=_words(3_000, 7), to=people, attachments=files, text="body " + _words(60_000, 7))
        words = (message.subject or "").split()
        sought = (words[0], words[-1], people[0].email, people[500].name, "file99.pdf", "body")
        assert await finds(pool, message, *sought) == [True] * len(sought)
        assert await finds_address(pool, message, people[0].email, people[500].email) == [True, True]

    async def test_all_recipients_of_a_large_list_are_found(self, pool: Pool) -> None:
        people = tuple(Address(f"Somebody {number}", f"{number}@example.com") for number in range(2000))
        message = content(text="word " * 60_000, subject="First", to=people)
        assert await finds(pool, message, "first", "1999", "1999 1999") == [True, True, True]
        assert await finds_address(pool, message, "1999@example.com") == [True]

    async def test_words_behind_the_limits_are_not_found(self, pool: Pool) -> None:
        message = content(text=_words(60_000, 7) + " end", to=(*_people(10_000), Address("Last", "last@example.com")))
        assert await finds(pool, message, "end", "last") == [False, False]
        assert await finds_address(pool, message, "last@example.com") == [False]

    def test_a_header_of_any_size_costs_little(self) -> None:
        people = _people(100_000)
        started = time.process_time()
        vector_of(content(to=people), mailbox_id=MAILBOX)
        assert time.process_time() - started < 0.5

    async def test_words_far_behind_are_found_but_not_as_phrases(self, pool: Pool) -> None:
        message = content(text="begin here " + "x " * LAST_PLACE + "end there")
        found = await finds(pool, message, "begin here", "end", "there", "end there", "there end")
        assert found == [True, True, True, False, False]

    @pytest.mark.parametrize("length", [60, 64, 76, 128, 199, 200])
    async def test_long_words_are_found(self, pool: Pool, length: int) -> None:
        word = _words(1, length)
        message = content(text=f"Build {word} failed.\nTry {word[::-1]}\n", subject=word.upper()[:100])
        assert await finds(pool, message, word, word[::-1], word[:-1], f"build {word}") == [*(True, True, False, True)]

    async def test_of_longer_words_encoded_data_is_not_indexed(self, pool: Pool) -> None:
        lines = base64.encodebytes(random.Random(1).randbytes(600)).decode()
        hashes = "\n".join(hashlib.sha256(bytes([number])).hexdigest() for number in range(20))
        message = content(text=f"begin\n{lines}\n{hashes}\n{'ab/' * 100} end")
        sought = ("begin", "end", hashes.split()[0], hashes.split()[-1], lines.split()[0], lines.split()[4], "ab")
        assert await finds(pool, message, *sought) == [True, True, True, True, False, False, False]


class TestPhrasesOfShortWords:
    """Their pairs are in the index, and change nothing that is found."""

    async def test_the_order_counts(self, pool: Pool) -> None:
        message = content(subject="to be or not", text="the cat and a dog")
        sought = ("the cat and a", "and a dog", "a and", "to be or not", "be to", "not the", "to be", "the and")
        assert await finds(pool, message, *sought) == [True, True, False, True, False, False, True, False]

    async def test_the_field_counts(self, pool: Pool) -> None:
        message = content(subject="to be", text="or not to be me")
        assert await finds(pool, message, "to be", "or not", field=Field.SUBJECT) == [True, False]

    async def test_other_orders_are_not_even_candidates(self, pool: Pool) -> None:
        vector = vector_of(content(text="the cat and a dog to the cow"), mailbox_id=MAILBOX)
        phrases = [Text(None, tuple(query_terms(text))) for text in ("and a", "a and", "to the", "the to", "cat cow")]
        phrases.append(Text(None, tuple(query_terms("dog the", prefix=True))))
        queries = [Compiler(MAILBOX, {}, {}).compile(phrase).unordered for phrase in phrases]
        found = [await pool.fetchval(_MATCHES, vector, query) for query in queries]
        assert found == [True, False, True, False, False, True]

    @given(text=st.text(alphabet="abc то 東京.1", max_size=60), start=st.integers(0, 59), length=st.integers(1, 20))
    def test_whatever_part_of_a_text_is_sought_the_text_has_its_pairs(self, text: str, start: int, length: int) -> None:
        part = query_terms(text[start : start + length])
        values = ["" if term.prefix else term.value for term in part]
        if all(term.offset == at and terms_of(text)[at:] for at, term in enumerate(part)):
            whole = terms_of(text)
            contained = any(whole[at : at + len(values)] == values for at in range(len(whole)))
            assert not contained or pairs_of(values) <= pairs_of(whole)


class TestAddresses:
    async def test_only_the_address_itself_is_found(self, pool: Pool) -> None:
        others = ("joann@example.com.evil.test", "jo.ann@example.com", "ann@example.com.au", "ann+x@example.com")
        message = content(to=tuple(Address("ann@example.com", email) for email in others))
        assert await finds_address(pool, message, "ann@example.com", *others) == [
            False,
            True,
            True,
            True,
            True,
        ]

    async def test_in_any_case_and_whatever_characters_it_has(self, pool: Pool) -> None:
        emails = ("O'Neil\\x@Example.COM", '"a b:1"@x.example', "ann@[IPv6:2001:db8::1]", "Łódź@smørrebrød.example")
        message = content(to=tuple(Address("", email) for email in emails))
        assert await finds_address(pool, message, *(email.lower() for email in emails)) == [True] * 4
        assert await finds_address(pool, message, "lodz@smorrebrod.example") == [False]

    @given(local=st.text(min_size=1, max_size=20), domain=st.text(min_size=1, max_size=20))
    async def test_any_address_is_found_by_itself_and_by_its_domain(self, pool: Pool, local: str, domain: str) -> None:
        email = clean_line(f"{local}@{domain}")
        message = content(to=(Address("", email),))
        nodes = HasAddress(Field.TO, email), InDomain(Field.TO, email.rpartition("@")[2])
        assert await fits(pool, message, *nodes) == [True, True]

    @pytest.mark.parametrize(
        ("email", "found"),
        [
            ("ada+shop@example.com", True),
            ("ADA@example.com", True),
            ("ada.x@example.com", False),
            ("adab@example.com", False),
            ("ada+x@example.org", False),
        ],
    )
    async def test_my_addresses_are_found_with_their_tags(self, pool: Pool, email: str, found: bool) -> None:
        mine = HasAddress(Field.TO, "ada@example.com", tagged=True)
        assert await fits(pool, content(to=(Address("", email),)), mine) == [found]


def _message(number: int, *, text: str | None = None, attachments: tuple[Attachment, ...] = ()) -> AttachedMessage:
    return AttachedMessage(
        subject=f"Fwd offer{number}",
        from_=Address(f"Sender{number}", f"sender{number}@example.com"),
        to=(Address("", f"to{number}@example.com"),),
        cc=(Address("", f"cc{number}@example.com"),),
        sent_at=None,
        text=text,
        attachments=attachments,
    )


class TestAttachedMessages:
    """Their texts are found, but not as the message's own subject or people."""

    async def test_their_texts_and_files_are_found(self, pool: Pool) -> None:
        scan = Attachment("0.0.1", "scan77.pdf", "application/pdf", 1, False, None)
        inner = Attachment(
            "0.0", "", "message/rfc822", 1, False, None, message=_message(2, text="deep", attachments=(scan,))
        )
        outer = Attachment(
            "0", "old.eml", "message/rfc822", 1, False, None, message=_message(1, text="to be it", attachments=(inner,))
        )
        message = content(text="See below", attachments=(outer,))
        sought = (
            "offer1",
            "sender1@example.com",
            "to1",
            "cc1",
            "to be",
            "offer2",
            "deep",
            "scan77.pdf",
            "old.eml",
            "be to",
        )
        assert await finds(pool, message, *sought) == [*[True] * 9, False]
        assert await finds(pool, message, "scan77", "old", "offer1", field=Field.FILENAME) == [True, True, False]
        assert await finds(pool, message, "offer1", field=Field.SUBJECT) == [False]
        assert await fits(pool, message, HasAddress(Field.FROM, "sender1@example.com")) == [False]

    async def test_they_have_their_share_of_the_index(self, pool: Pool) -> None:
        many = tuple(
            Attachment(
                str(at),
                f"m{at}.eml",
                "message/rfc822",
                1,
                False,
                None,
                message=_message(at, text=_words(1_000 + at, 7)),
            )
            for at in range(50)
        )
        message = content(text="body " + _words(60_000, 7), to=_people(10_000), attachments=many)
        assert await finds(pool, message, "body", "offer0", "m49.eml") == [True, True, True]
        assert await pool.fetchval(_LEXEME_BYTES, vector_of(message, mailbox_id=MAILBOX)) <= LEXEME_BYTES


class TestFields:
    async def test_no_phrase_spans_two_texts(self, pool: Pool) -> None:
        ada, grace = Address("Ada", "ada@example.com"), Address("Grace", "grace@example.org")
        message = content(subject="one two", to=(ada, grace), text="three four")
        assert await finds(pool, message, "one two", "two ada", "com grace", "three four") == [
            True,
            False,
            False,
            True,
        ]

    async def test_the_name_of_a_field_is_no_word_of_it(self, pool: Pool) -> None:
        message = content(subject="invoice", text="body")
        assert await finds(pool, message, "s", "si") == [False, False]
        assert await fits(pool, message, Text(None, tuple(query_terms("s", prefix=True)))) == [False]
