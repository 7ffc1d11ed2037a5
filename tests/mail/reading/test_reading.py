"""Lists, threads, labels and exports of stored mail, through the use cases."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from services.kit.errors import AppError, Kind
from services.kit.settings import Postgres
from services.kit.stores.postgres import create_pool
from services.mail.content.model import Address
from services.mail.ids import PublicId
from services.mail.marks import Mark
from services.mail.model import Account, Label, MailboxStatus, OpenMailbox, ProviderMessage
from services.mail.read_model import CountedLabel, MessageFilter
from services.mail.reading.messages import EXPORT_BYTES, Messages
from services.mail.reading.page_tokens import PageTokens
from services.mail.reading.threads import Threads
from services.mail.reading.user_connections import UserConnections
from services.mail.store import labels, messages
from services.mail.store.connection import Pool
from services.mail.store.control import mailboxes
from services.mail.store.messages import LISTED_TEXT
from tests.support.mail.generated_mail import NOW, some_message

ADA = Address("Ada", "ada@example.com")
GRACE = Address("Grace", "grace@example.org")
TOKENS = PageTokens(bytes(16))


def message(number: int, *, thread: str = "", text: str | None = "hello", **fields: object) -> ProviderMessage:
    """Return message `number`, received an hour after the one before."""
    made = some_message(number, random.Random(0))
    content = replace(made.content, authors=(ADA,), from_=ADA, subject=f"Subject {number}", text=text, attachments=())
    plain = replace(
        made,
        thread_id=thread or f"t{number}",
        received_at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=number),
        label_ids=(),
        marks=frozenset({Mark.SEEN}),
        snippet=f"Snippet {number}",
        size=1000,
        content=content,
    )
    return replace(plain, **fields)  # type: ignore[arg-type]


def by(author: Address, made: ProviderMessage) -> ProviderMessage:
    return replace(made, content=replace(made.content, authors=(author,), from_=author))


class Case:
    """A mailbox and the use cases that read it."""

    def __init__(self, pool: Pool, mailbox: OpenMailbox) -> None:
        self.pool = pool
        self.mailbox = mailbox
        self.messages = Messages(pool, UserConnections(pool), tokens=TOKENS, now=lambda: NOW)
        self.threads = Threads(UserConnections(pool), tokens=TOKENS)

    async def store(self, *stored: ProviderMessage) -> None:
        async with self.pool.acquire() as connection:
            await messages.upsert(connection, self.mailbox.mailbox_id, stored)

    async def name_labels(self, **names: str) -> None:
        """Replace the provider's labels; `names` maps label ids to names."""
        known = [Label(label_id=label_id, name=name, type="user") for label_id, name in names.items()]
        async with self.pool.acquire() as connection:
            await labels.record(connection, self.mailbox.mailbox_id, known, confirm_seconds=0)
        self.mailbox = replace(self.mailbox, label_names=names)

    async def delete(self, *numbers: int) -> None:
        async with self.pool.acquire() as connection:
            await messages.delete(connection, self.mailbox.mailbox_id, [f"m{number}" for number in numbers])

    async def pages(self, *, size: int, **fields: object) -> AsyncIterator[list[str]]:
        """Yield the external ids of the matching messages, page by page."""
        token = ""
        while True:
            wanted = MessageFilter(**fields)  # type: ignore[arg-type]
            page = await self.messages.page(self.mailbox, wanted, page_size=size, page_token=token)
            yield [found.external_id for found in page.messages]
            token = page.next_page_token
            if not token:
                return

    async def listed(self, **fields: object) -> list[str]:
        return [external_id async for page in self.pages(size=200, **fields) for external_id in page]


@pytest.fixture(scope="module")
async def pool(mail_database: Postgres) -> AsyncIterator[Pool]:
    pool = await create_pool(mail_database, application_name="reading-tests", size=3)
    yield pool
    await pool.close()


@pytest.fixture
async def case(pool: Pool) -> Case:
    user_id = uuid4()
    account = Account(
        account_id=uuid4(), user_id=user_id, provider="google", email="ada@example.com", status=MailboxStatus.ACTIVE
    )
    async with pool.acquire() as connection:
        await mailboxes.upsert(connection, [account])
        [mailbox] = await mailboxes.of_user(connection, user_id)
        known = [Label(label_id="UNREAD", name="UNREAD", type="system"), Label(label_id="L1", name="Work", type="user")]
        await labels.record(connection, mailbox.mailbox_id, known, confirm_seconds=0)
        [mailbox] = await mailboxes.of_user(connection, user_id)
    return Case(pool, mailbox)


class TestFilters:
    async def test_are_combined_with_and(self, case: Case) -> None:
        await case.store(
            message(1, thread="a", label_ids=("UNREAD", "L1")),
            message(2, thread="a", label_ids=("UNREAD",)),
            message(3, thread="b", label_ids=("UNREAD", "L1"), text="bye"),
            message(4, thread="a", label_ids=("L1",)),
            message(5, thread="a", label_ids=("UNREAD", "L1"), text=None),
        )
        assert await case.listed(label="work") == ["m5", "m4", "m3", "m1"]
        assert await case.listed(label="work", unread=True) == ["m5", "m3", "m1"]
        assert await case.listed(label="work", unread=True, thread_id="a") == ["m5", "m1"]
        assert await case.listed(label="work", unread=True, thread_id="a", query="hello") == ["m1"]
        assert await case.listed(has_attachment=False, unread=False) == ["m4"]
        assert await case.listed(has_attachment=True) == []

    async def test_include_the_first_moment_and_exclude_the_last(self, case: Case) -> None:
        await case.store(*(message(number) for number in range(5)))
        second, fourth = message(1).received_at, message(3).received_at
        assert await case.listed(after=second, before=fourth) == ["m2", "m1"]
        assert await case.listed(query="hello", after=second, before=fourth) == ["m2", "m1"]

    async def test_an_unknown_label_matches_nothing(self, case: Case) -> None:
        await case.store(message(1))
        assert await case.listed(label="nowhere") == []

    @pytest.mark.parametrize("spelling", ["Élan vital", "élan-vital", "E\u0301LAN VITAL"])
    async def test_find_a_label_by_any_spelling_of_its_name(self, case: Case, spelling: str) -> None:
        await case.name_labels(L1="Élan vital")
        await case.store(message(1, label_ids=("L1",)), message(2))
        assert await case.listed(label=spelling) == await case.listed(query=f'label:"{spelling}"') == ["m1"]

    @pytest.mark.parametrize(
        "other",
        [{}, {"query": "hello"}, {"label": "work"}, {"unread": False}, {"after": NOW}, {"has_attachment": False}],
    )
    async def test_bind_the_page_token(self, case: Case, other: dict[str, object]) -> None:
        await case.store(message(1), message(2))
        wanted = MessageFilter(query="hello", thread_id="")
        page = await case.messages.page(case.mailbox, wanted, page_size=1, page_token="")
        assert page.next_page_token
        changed = MessageFilter(**({"query": "hello", "thread_id": "t"} | other))  # type: ignore[arg-type]
        with pytest.raises(AppError) as caught:
            await case.messages.page(case.mailbox, changed, page_size=1, page_token=page.next_page_token)
        assert (caught.value.kind, caught.value.reason) == (Kind.INVALID, "invalid_page_token")

    async def test_of_a_negated_phrase_exclude_its_words_in_their_order_only(self, case: Case) -> None:
        texts = ("alpha bravo charlie", "alpha charlie bravo", "bravo charlie")
        await case.store(*(message(i, text=text) for i, text in enumerate(texts, 1)))
        assert await case.listed(query='alpha -"bravo charlie"') == ["m2"]
        assert await case.listed(query='-"bravo charlie"') == ["m2"]

    async def test_refuse_a_query_that_is_too_long(self, case: Case) -> None:
        with pytest.raises(AppError) as caught:
            await case.listed(query="a" * 1001)
        assert caught.value.reason == "invalid_query"

    @pytest.mark.parametrize("at_once", [False, True])
    @pytest.mark.parametrize("fields", [{}, {"query": "hello"}, {"label": "work"}])
    async def test_what_stays_is_seen_once_while_mail_comes_and_goes(
        self, case: Case, fields: dict[str, object], at_once: bool
    ) -> None:
        def labelled(number: int) -> ProviderMessage:
            made = message(number, label_ids=("L1",))
            return replace(made, received_at=NOW) if at_once else made

        await case.store(*map(labelled, range(20)))
        seen: list[str] = []
        # The first message to be deleted is the last of its page, which the cursor names.
        coming, going = iter(range(20, 99)), iter([16, 0, 19, 5])
        async for page in case.pages(size=4, **fields):
            seen += page
            await case.store(labelled(next(coming)))
            if (number := next(going, None)) is not None:
                await case.delete(number)
        stayed = {f"m{number}" for number in range(20)} - {"m16", "m0", "m19", "m5"}
        assert len(seen) == len(set(seen))
        assert stayed <= set(seen)
        assert seen == sorted(seen, key=lambda external_id: -int(external_id[1:]))


class TestRecipients:
    async def test_beyond_the_limit_are_cut_in_lists_and_whole_in_the_message(self, case: Case) -> None:
        # Lists show the first 100.
        crowd = tuple(Address(f"Person {number:05}", f"{number:06}@in.the.crowds.example") for number in range(30_000))
        made = message(1)
        await case.store(replace(made, content=replace(made.content, to=crowd, cc=crowd[1:], subject="s" * 50_000)))
        [listed] = (await case.messages.page(case.mailbox, MessageFilter(), page_size=1, page_token="")).messages
        assert (listed.to, listed.cc) == (list(crowd[:100]), list(crowd[1:101]))
        assert listed.subject == "s" * LISTED_TEXT
        whole = await case.messages.get(case.mailbox.user_id, PublicId(listed.mailbox_id, listed.message_id))
        assert (whole.summary.to, whole.summary.cc) == (list(crowd), list(crowd[1:]))

    async def test_in_reply_to_and_bcc_are_those_of_the_content(self, case: Case) -> None:
        # The decoded header, `Boss <boss@example.com>, <eve@example.net>`, seems to name another address first.
        answers = (Address("Boss <boss@example.com>,", "eve@example.net"),)
        made = message(1)
        headers = (("Reply-To", "Boss <boss@example.com>, <eve@example.net>"),)
        content = replace(made.content, headers=headers, reply_to=answers, bcc=(GRACE,))
        await case.store(replace(made, content=content))
        [listed] = (await case.messages.page(case.mailbox, MessageFilter(), page_size=1, page_token="")).messages
        whole = await case.messages.get(case.mailbox.user_id, PublicId(listed.mailbox_id, listed.message_id))
        assert (whole.reply_to, whole.bcc) == (list(answers), [GRACE])


class TestHighlight:
    @pytest.mark.parametrize(
        ("query", "shown"),
        [
            ("hello", "<mark>hello</mark> there"),
            ("subject", "<mark>Subject</mark> 1"),
            ("from:ada", "<mark>Ada</mark> <mark>ada</mark>@example.com"),
            ("grace -bye", "<mark>Grace</mark> <mark>grace</mark>@example.org"),
            ("is:read", None),
        ],
    )
    async def test_marks_words_of_body_subject_and_addresses(self, case: Case, query: str, shown: str | None) -> None:
        made = message(1, text="hello there")
        await case.store(replace(made, content=replace(made.content, to=(GRACE,), cc=())))
        wanted = MessageFilter(query=query)
        page = await case.messages.page(case.mailbox, wanted, page_size=1, page_token="", highlighted=True)
        assert [found.highlight for found in page.messages] == [shown]


class TestThreads:
    async def test_lists_the_thread_with_the_newest_message_first(self, case: Case) -> None:
        await case.store(
            by(GRACE, message(1, thread="a", label_ids=("UNREAD",))),
            message(2, thread="b"),
            message(3, thread="a", label_ids=("L1",)),
            by(GRACE, message(4, thread="a")),
            message(5, thread="c"),
        )
        page = await case.threads.page(case.mailbox, page_size=10, page_token="")
        assert [thread.thread_id for thread in page.threads] == ["c", "a", "b"]
        assert page.next_page_token == ""
        a = page.threads[1]
        assert (a.subject, a.snippet, a.message_count, a.unread_count) == ("Subject 1", "Snippet 4", 3, 1)
        assert (a.participants, a.labels, a.has_attachments) == ([GRACE, ADA], ["UNREAD", "Work"], False)
        assert a.last_message_at == message(4).received_at
        assert a.account_id == case.mailbox.account_id

    async def test_lists_each_participant_once(self, case: Case) -> None:
        names = (Address("", "grace@example.org"), ADA, Address("Grace", "Grace@Example.org"), Address("Z", ADA.email))
        await case.store(*(by(author, message(at, thread="a")) for at, author in enumerate(names)))
        thread, _ = await case.threads.find([case.mailbox], "a")
        assert thread.participants == [GRACE, ADA]

    async def test_pages_through_all_threads(self, case: Case) -> None:
        await case.store(*(message(number, thread=f"t{number % 7}") for number in range(30)))
        seen: list[str] = []
        token = ""
        while True:
            page = await case.threads.page(case.mailbox, page_size=3, page_token=token)
            seen += [thread.thread_id for thread in page.threads]
            token = page.next_page_token
            if not token:
                break
        assert seen == ["t1", "t0", "t6", "t5", "t4", "t3", "t2"]

    async def test_shows_the_messages_of_a_thread_oldest_first(self, case: Case) -> None:
        await case.store(message(1, thread="a"), message(2, thread="b"), message(3, thread="a"))
        thread, shown = await case.threads.find([case.mailbox], "a")
        assert (thread.thread_id, thread.message_count) == ("a", 2)
        assert [found.external_id for found in shown] == ["m1", "m3"]

    async def test_does_not_find_a_thread_of_another_mailbox(self, case: Case) -> None:
        await case.store(message(1, thread="a"))
        for stranger in (replace(case.mailbox, user_id=uuid4()), replace(case.mailbox, mailbox_id=2**40)):
            with pytest.raises(AppError) as caught:
                await case.threads.find([stranger], "a")
            assert (caught.value.kind, caught.value.reason) == (Kind.NOT_FOUND, "thread_not_found")
            assert (await case.threads.page(stranger, page_size=10, page_token="")).threads == []

    async def test_does_not_find_a_malformed_id(self, case: Case) -> None:
        for identifier in ("", "\0", "a\0", "x" * 5000, "'"):
            with pytest.raises(AppError, match="thread_not_found"):
                await case.threads.find([case.mailbox], identifier)

    async def test_refuses_the_token_of_another_list(self, case: Case) -> None:
        await case.store(message(1), message(2))
        page = await case.messages.page(case.mailbox, MessageFilter(), page_size=1, page_token="")
        with pytest.raises(AppError) as caught:
            await case.threads.page(case.mailbox, page_size=1, page_token=page.next_page_token)
        assert caught.value.reason == "invalid_page_token"


class TestLabels:
    async def test_count_stored_messages(self, case: Case) -> None:
        await case.store(
            message(1, label_ids=("L1",)), message(2, label_ids=("L1", "UNREAD")), message(3, label_ids=("Unknown",))
        )
        counted = {known.label.name: (known.message_count, known.unread_count) for known in await self._labels(case)}
        assert counted == {"UNREAD": (1, 1), "Work": (2, 1)}

    async def test_without_messages_count_zero(self, case: Case) -> None:
        assert [(known.message_count, known.unread_count) for known in await self._labels(case)] == [(0, 0), (0, 0)]

    async def _labels(self, case: Case) -> list[CountedLabel]:
        return await case.messages.labels(case.mailbox)


class TestExport:
    async def test_yields_every_message_in_full_newest_first(self, case: Case) -> None:
        stored = [message(number, size=700_000 if number % 50 == 0 else 10) for number in range(450)]
        await case.store(*stored)
        exported = [detail async for detail in case.messages.export(case.mailbox, MessageFilter())]
        assert [detail.summary.external_id for detail in exported] == [f"m{number}" for number in reversed(range(450))]
        assert {detail.text for detail in exported} == {"hello"}

    async def test_takes_the_filters_of_lists(self, case: Case) -> None:
        await case.store(message(1, text="bye"), message(2), message(3, label_ids=("L1",)))
        wanted = MessageFilter(query="hello -in:work")
        exported = [detail async for detail in case.messages.export(case.mailbox, wanted)]
        assert [detail.summary.external_id for detail in exported] == ["m2"]

    async def test_of_a_mailbox_disconnected_meanwhile_fails(self, case: Case, pool: Pool) -> None:
        await case.store(*(message(number, size=EXPORT_BYTES) for number in range(3)))
        details = case.messages.export(case.mailbox, MessageFilter())
        await anext(details)
        await pool.execute("UPDATE mailboxes SET user_id = NULL WHERE mailbox_id = $1", case.mailbox.mailbox_id)
        with pytest.raises(AppError, match="mailbox_not_found"):
            [_ async for _ in details]

    async def test_holds_no_connection_while_its_consumer_is_busy(self, case: Case, pool: Pool) -> None:
        await case.store(*(message(number) for number in range(3)))
        async with aclosing(case.messages.export(case.mailbox, MessageFilter())) as details:
            await anext(details)
            assert pool.get_idle_size() == pool.get_size()


class TestShares:
    async def test_of_a_user_s_queries_leave_connections_to_others(self, pool: Pool) -> None:
        connections, ada, grace = UserConnections(pool), uuid4(), uuid4()
        async with AsyncExitStack() as stack, asyncio.timeout(30):
            for _ in range(2):
                await stack.enter_async_context(connections.of(ada))
            third = asyncio.ensure_future(stack.enter_async_context(connections.of(ada)))
            async with connections.of(grace) as connection:
                assert await connection.fetchval("SELECT 1") == 1
            assert not third.done()
            third.cancel()

    async def test_of_exports_are_bounded(self, case: Case) -> None:
        await case.store(message(1))
        async with AsyncExitStack() as stack:
            for _ in range(2):
                export = await stack.enter_async_context(aclosing(case.messages.export(case.mailbox, MessageFilter())))
                await anext(export)
            with pytest.raises(AppError, match="too_many_requests"):
                await anext(case.messages.export(case.mailbox, MessageFilter()))
