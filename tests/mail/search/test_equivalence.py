"""SQL finds exactly what the plain evaluator finds, in the same order."""

import random
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.kit.settings import Postgres
from services.kit.stores.postgres import create_pool
from services.mail.content.text.clean import clean_text
from services.mail.model import Account, MailboxStatus, ProviderMessage, Role
from services.mail.read_model import MessageSummary, Position
from services.mail.search.parser import parse
from services.mail.search.syntax import And, InThread, Node, Text
from services.mail.search.terms import query_terms
from services.mail.search.vector import Field, vector_of
from services.mail.store import labels, messages
from services.mail.store.connection import Connection, Pool
from services.mail.store.control import mailboxes
from services.mail.store.reading.message_list import newest_first
from services.mail.store.reading.query_sql import Compiler
from tests.support.mail.generated_mail import LABELS, ME, NOW, OWN_ADDRESSES, QUERIES, some_message
from tests.support.mail.query_evaluator import matches

NAMES = {label.label_id: label.name for label in LABELS}
ROLES = {label.label_id: label.role for label in LABELS if label.role is not Role.NONE}
SIZE = 150
# Pages that end within the messages looked through first, and pages that do not.
_LIMITS = st.sampled_from([7, 40, 1000])
_PROBED = st.sampled_from([2, 10, 500])
# Matches that are looked at one by one, and compared as sets.
_FEW = st.sampled_from([5, 500])


class Stored:
    """A mailbox as it was stored. (Not a dataclass: hypothesis would print all of its mail.)"""

    def __init__(self, pool: Pool, user_id: UUID, mailbox_id: int, mail: list[ProviderMessage]) -> None:
        self.pool = pool
        self.user_id = user_id
        self.mailbox_id = mailbox_id
        self.messages = mail

    def expected(self, node: Node) -> list[str]:
        """The external ids that the evaluator finds; of the same time, the last stored comes first."""
        found = [
            (message.received_at, at) for at, message in enumerate(self.messages) if matches(node, message, LABELS)
        ]
        return [self.messages[at].external_id for _, at in sorted(found, reverse=True)]

    async def found(self, node: Node, *, limit: int, probed: int, few: int = 500) -> list[str]:
        """The external ids that SQL finds, page by page."""
        ids: list[str] = []
        after = None
        while True:
            page = await self._page(node, after=after, limit=limit, probed=probed, few=few)
            ids += [message.external_id for message in page]
            if len(page) < limit:
                return ids
            after = Position(received_at=page[-1].received_at, message_id=page[-1].message_id)

    async def _page(
        self, node: Node, *, after: Position | None, limit: int, probed: int, few: int
    ) -> list[MessageSummary]:
        async with self.pool.acquire() as connection:
            return await newest_first(
                connection,
                self.user_id,
                self.mailbox_id,
                node,
                after=after,
                limit=limit,
                label_names=NAMES,
                label_roles=ROLES,
                probed=probed,
                few=few,
            )


@pytest.fixture(scope="module")
async def stored(mail_database: Postgres) -> AsyncIterator[Stored]:
    """One mailbox among others whose words are the same."""
    pool = await create_pool(mail_database, application_name="search-tests", size=2)
    async with pool.acquire() as connection:
        for seed in range(3):
            mine = await _store(connection, pool, random.Random(seed))
    yield mine
    await pool.close()


async def _store(connection: Connection, pool: Pool, seed: random.Random) -> Stored:
    user_id = uuid4()
    account = Account(account_id=uuid4(), user_id=user_id, provider="google", email=ME, status=MailboxStatus.ACTIVE)
    await mailboxes.upsert(connection, [account])
    [mailbox] = await mailboxes.of_user(connection, user_id)
    await labels.record(connection, mailbox.mailbox_id, LABELS, confirm_seconds=0)
    mail = [some_message(number, seed) for number in range(SIZE)]
    for message in mail:
        await messages.upsert(connection, mailbox.mailbox_id, [message])
    return Stored(pool, user_id, mailbox.mailbox_id, mail)


class TestEquivalence:
    @settings(max_examples=200)
    @given(query=QUERIES, limit=_LIMITS, probed=_PROBED, few=_FEW)
    async def test_sql_and_evaluator_find_the_same_messages_in_the_same_order(
        self, stored: Stored, query: str, limit: int, probed: int, few: int
    ) -> None:
        node = parse(query, now=NOW, me=OWN_ADDRESSES)
        assert await stored.found(node, limit=limit, probed=probed, few=few) == stored.expected(node)

    @pytest.mark.long
    @settings(max_examples=5000, derandomize=False)
    @given(query=QUERIES, limit=_LIMITS, probed=_PROBED, few=_FEW)
    async def test_they_do_so_for_thousands_of_queries(
        self, stored: Stored, query: str, limit: int, probed: int, few: int
    ) -> None:
        node = parse(query, now=NOW, me=OWN_ADDRESSES)
        assert await stored.found(node, limit=limit, probed=probed, few=few) == stored.expected(node)

    @pytest.mark.parametrize(
        "query",
        ["the is:unread", "the larger:1k", "the -a smaller:1M", "-the", "-(the a)", "is:unread -the", "-the larger:1k"],
    )
    async def test_so_do_sets_of_many_messages(self, stored: Stored, query: str) -> None:
        node = parse(query, now=NOW, me=OWN_ADDRESSES)
        expected = stored.expected(node)
        assert len(expected) > 1
        assert await stored.found(node, limit=len(expected) - 1, probed=1, few=1) == expected

    @settings(max_examples=50)
    @given(query=QUERIES, thread=st.integers(0, 30))
    async def test_the_same_holds_within_a_thread(self, stored: Stored, query: str, thread: int) -> None:
        node = And((parse(query, now=NOW, me=OWN_ADDRESSES), InThread(f"t{thread}")))
        assert await stored.found(node, limit=2, probed=500) == stored.expected(node)

    @settings(max_examples=200)
    @given(text=st.text(max_size=60), sought=st.text(max_size=5), start=st.integers(0, 50), length=st.integers(1, 20))
    async def test_any_text_is_found_by_its_parts_and_by_nothing_else(
        self, stored: Stored, text: str, sought: str, start: int, length: int
    ) -> None:
        message = some_message(1, random.Random(0))
        message = replace(message, content=replace(message.content, subject=clean_text(text)))
        vector = vector_of(message.content, mailbox_id=83)
        for part in (sought, text[start : start + length]):
            node = Text(Field.SUBJECT, tuple(query_terms(part)))
            if node.terms:
                lexemes = Compiler(83, NAMES, ROLES).compile(node).lexemes
                found = await stored.pool.fetchval("SELECT $1::text::tsvector @@ $2::text::tsquery", vector, lexemes)
                assert found == matches(node, message, LABELS)


class TestIsolation:
    async def test_another_user_finds_nothing(self, stored: Stored) -> None:
        node = parse("the", now=NOW, me=OWN_ADDRESSES)
        assert await stored.found(node, limit=1000, probed=500)
        stranger = Stored(stored.pool, uuid4(), stored.mailbox_id, stored.messages)
        assert await stranger.found(node, limit=1000, probed=500) == []
