"""The searchable form of extreme messages: Postgres takes all of them, and what the limits leave is found."""

import random
from dataclasses import replace

import pytest

from services.kit.settings import Postgres
from services.kit.stores.postgres import create_pool
from services.mail.content.model import Address, ParsedMessage
from services.mail.search.syntax import Node, Text
from services.mail.search.terms import query_terms
from services.mail.search.vector import LAST_PLACE, Field, vector_of
from services.mail.store.reading.query_sql import Compiler
from tests.support.mail.generated_mail import some_message

MAILBOX = 7_654_321
_MATCHES = "SELECT $1::text::tsvector @@ $2::text::tsquery"


def content(**fields: object) -> ParsedMessage:
    """A message with nothing but these."""
    made = some_message(1, random.Random(0)).content
    bare = replace(made, subject=None, text=None, authors=(), to=(), cc=(), bcc=(), attachments=(), message_id=None)
    return replace(bare, **fields)  # type: ignore[arg-type]


async def finds(database: Postgres, message: ParsedMessage, *texts: str, field: Field | None = None) -> list[bool]:
    """Whether each text is found in the message."""
    pool = await create_pool(database, application_name="vector-tests", size=1)
    try:
        vector = vector_of(message, mailbox_id=MAILBOX)
        nodes: list[Node] = [Text(field, tuple(query_terms(text))) for text in texts]
        queries = [Compiler(MAILBOX, {}).compile(node).lexemes for node in nodes]
        return [await pool.fetchval(_MATCHES, vector, query) for query in queries]
    finally:
        await pool.close()


class TestLimits:
    @pytest.mark.parametrize(
        "text",
        [
            " ".join(f"{number:x}" for number in range(60_000)),
            "".join(chr(0x4E00 + number % 20_000 + number // 20_000) for number in range(60_000)),
            "".join(chr(0x20000 + number % 40_000) for number in range(60_000)),
            " ".join("é" * 199 + chr(0x400 + number) for number in range(500)),
            "word " * 60_000,
            "a " * 120_000,
        ],
        ids=["words", "pairs", "rare pairs", "long words", "one word", "one letter"],
    )
    async def test_postgres_takes_the_largest_texts(self, mail_database: Postgres, text: str) -> None:
        people = tuple(Address(f"Somebody {number}", f"{number}@example.com") for number in range(2000))
        message = content(text=text, subject="First", to=people)
        assert await finds(mail_database, message, "first", "1999") == [True, True]

    async def test_words_far_behind_are_found_but_not_as_phrases(self, mail_database: Postgres) -> None:
        message = content(text="begin here " + "x " * LAST_PLACE + "end there")
        found = await finds(mail_database, message, "begin here", "end", "there", "end there", "there end")
        assert found == [True, True, True, False, False]


class TestFields:
    async def test_no_phrase_spans_two_texts(self, mail_database: Postgres) -> None:
        ada, grace = Address("Ada", "ada@example.com"), Address("Grace", "grace@example.org")
        message = content(subject="one two", to=(ada, grace), text="three four")
        assert await finds(mail_database, message, "one two", "two ada", "com grace", "three four") == [
            True,
            False,
            False,
            True,
        ]

    async def test_the_name_of_a_field_is_no_word_of_it(self, mail_database: Postgres) -> None:
        message = content(subject="invoice", text="body")
        assert await finds(mail_database, message, "s", "si") == [False, False]
        [prefix] = query_terms("s", prefix=True)
        pool = await create_pool(mail_database, application_name="vector-tests", size=1)
        query = Compiler(MAILBOX, {}).compile(Text(None, (prefix,))).lexemes
        vector = vector_of(message, mailbox_id=MAILBOX)
        assert not await pool.fetchval(_MATCHES, vector, query)
        await pool.close()
