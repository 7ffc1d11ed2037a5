"""The threads of messages in any order of arrival, stored and moved in transactions that are cut anywhere."""

from itertools import pairwise, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.mail.store import changes, messages, threads
from services.mail.store.connection import Pool
from services.mail.sync.threads.join import with_threads
from tests.support.mail.servers import Servers
from tests.support.mail.stored import add_mailbox, stored_message
from tests.support.mail.threaded_mailbox import Letter, ThreadedMailbox, parts_of

_IDS = st.sampled_from("abcdefgh")
_LETTERS = st.lists(
    st.builds(
        Letter,
        name=st.just(""),
        own=st.one_of(st.just(""), _IDS),
        references=st.lists(_IDS, max_size=3).map(tuple),
        in_reply_to=st.one_of(st.just(""), _IDS),
    ),
    min_size=1,
    max_size=9,
)
# Whether a transaction is cut, and then whether it commits.
_CUT = st.sampled_from([(False, False), (False, False), (True, False), (True, True)])

# The counts are those since the last flush, which would else be up to a second ago.
_CHANGED_ROWS = """
    SELECT max(pg_stat_force_next_flush()::text), sum(n_tup_ins + n_tup_upd)::int FROM pg_stat_xact_user_tables
    WHERE relname IN ('messages', 'message_changes', 'thread_merges', 'thread_references')
"""


async def new_mailbox(pool: Pool) -> ThreadedMailbox:
    """Return an empty mailbox."""
    async with pool.acquire() as connection:
        return ThreadedMailbox(pool, (await add_mailbox(connection)).mailbox_id)


@pytest.fixture
async def mailbox(servers: Servers) -> ThreadedMailbox:
    return await new_mailbox(servers.pool)


A, B, C = Letter("1", own="a"), Letter("2", own="b"), Letter("3", own="c")


class TestThreads:
    @settings(max_examples=60)
    @given(letters=_LETTERS, data=st.data())
    async def test_are_those_of_union_find_in_any_order_with_any_cut(
        self, servers: Servers, letters: list[Letter], data: st.DataObject
    ) -> None:
        letters = [Letter(str(n), each.own, each.references, each.in_reply_to) for n, each in enumerate(letters)]
        mailbox = await new_mailbox(servers.pool)
        left = data.draw(st.permutations(letters))
        while left:
            count = data.draw(st.integers(1, 3))
            cut, commits = data.draw(_CUT)
            await mailbox.store(left[:count], cut=cut, commits=commits)
            if not cut:
                left = left[count:]
            for cut, commits in data.draw(st.lists(_CUT, max_size=2)):
                await mailbox.move_some(limit=1, cut=cut, commits=commits)
            there = await mailbox.threads()
            assert {await mailbox.thread_of(each) for each in mailbox.shown} <= there.keys()
        await mailbox.settle(limit=1)
        there = await mailbox.threads()
        assert {frozenset(names) for names in there.values()} == parts_of(letters)
        for thread_id, names in mailbox.shown.items():
            assert names <= there[await mailbox.thread_of(thread_id)]

    async def test_of_a_message_that_refers_to_itself_and_of_a_circle_are_one_each(
        self, mailbox: ThreadedMailbox
    ) -> None:
        alone = Letter("1", own="a", references=("a",), in_reply_to="a")
        circle = [Letter("2", own="b", references=("d",)), Letter("3", own="c", references=("b",))]
        await mailbox.store([alone, *circle, Letter("4", own="d", references=("c",))])
        assert sorted(map(sorted, (await mailbox.threads()).values())) == [["1"], ["2", "3", "4"]]

    async def test_of_different_messages_with_one_id_are_one(self, mailbox: ThreadedMailbox) -> None:
        await mailbox.store([Letter("1", own="a"), Letter("2", own="a")])
        await mailbox.store([Letter("3", own="a")])
        assert list((await mailbox.threads()).values()) == [{"1", "2", "3"}]

    async def test_of_messages_without_ids_are_theirs_alone(self, mailbox: ThreadedMailbox) -> None:
        await mailbox.store([Letter("1"), Letter("2")])
        assert await mailbox.threads() == {"1": {"1"}, "2": {"2"}}
        count = "SELECT count(*) FROM thread_references WHERE mailbox_id = $1"
        assert await mailbox.pool.fetchval(count, mailbox.mailbox_id) == 0

    async def test_of_a_provider_that_has_some_stay(self, mailbox: ThreadedMailbox) -> None:
        async with mailbox.pool.acquire() as connection:
            given = [stored_message("x"), A.message()]
            x, a = await with_threads(connection, mailbox.mailbox_id, given)
        assert (x.thread_id, a.thread_id is None) == ("t", False)

    async def test_of_two_mailboxes_do_not_meet(self, servers: Servers, mailbox: ThreadedMailbox) -> None:
        other = await new_mailbox(servers.pool)
        await mailbox.store([A])
        await mailbox.store([B])
        await other.store([Letter("9", own="c", references=("a", "b"))])
        await other.settle()
        assert sorted(map(sorted, (await mailbox.threads()).values())) == [["1"], ["2"]]

    async def test_survive_the_message_that_linked_them(self, mailbox: ThreadedMailbox) -> None:
        link = Letter("3", references=("a", "b"))
        await mailbox.store([A, B, link])
        await mailbox.pool.execute("DELETE FROM messages WHERE external_id = '3'")
        await mailbox.store([A, B])
        [names] = (await mailbox.threads()).values()
        assert names == {"1", "2"}


class TestMerge:
    async def test_keeps_the_older_id_and_records_each_moved_message_once(self, mailbox: ThreadedMailbox) -> None:
        for letter in (A, B):
            await mailbox.store([letter])
        older, newer = await mailbox.threads()
        async with mailbox.pool.acquire() as connection:
            before = await changes.position(connection, mailbox.mailbox_id)
        await mailbox.store([Letter("3", references=("b", "a"))])
        # Until its messages have moved, a thread answers for itself.
        assert await mailbox.threads() == {older: {"1", "3"}, newer: {"2"}}
        assert await mailbox.thread_of(newer) == newer
        await mailbox.settle()
        assert await mailbox.threads() == {older: {"1", "2", "3"}}
        assert await mailbox.thread_of(newer) == older
        rows = await mailbox.pool.fetch(
            """
            SELECT m.external_id, c.kind FROM message_changes c JOIN messages m USING (mailbox_id, message_id)
            WHERE mailbox_id = $1 AND seq > $2 ORDER BY seq
            """,
            mailbox.mailbox_id,
            before.seq,
        )
        assert [tuple(row) for row in rows] == [("3", "created"), ("2", "updated")]

    @pytest.mark.parametrize("links", [*permutations(("ab", "bc", "cd"))])
    async def test_under_way_meets_another_and_both_end_in_the_oldest(
        self, mailbox: ThreadedMailbox, links: tuple[str, ...]
    ) -> None:
        letters = [Letter(f"{id_}{number}", own=id_) for id_ in "abcd" for number in range(3)]
        for number in range(0, 12, 3):
            await mailbox.store(letters[number : number + 3])
        first, *_ = seen = list(await mailbox.threads())
        for link in links:
            await mailbox.store([Letter(link, references=tuple(link))])
            # Of three messages one has moved when the next merge comes.
            await mailbox.move_some(limit=1)
        await mailbox.settle(limit=2)
        assert (await mailbox.threads()).keys() == {first}
        assert [await mailbox.thread_of(each) for each in seen] == [first] * 4

    # Each thread has two ids, of which each link knows another one.
    @pytest.mark.parametrize("links", [*permutations(("ad", "Db", "Bc"))])
    async def test_of_threads_that_one_batch_joins_in_a_chain_is_one(
        self, mailbox: ThreadedMailbox, links: tuple[str, ...]
    ) -> None:
        for id_ in "abcd":
            await mailbox.store([Letter(id_, own=id_, in_reply_to=id_.upper())])
        first, *_ = seen = list(await mailbox.threads())
        await mailbox.store([Letter(link, references=tuple(link)) for link in links])
        await mailbox.settle()
        assert (await mailbox.threads()).keys() == {first}
        assert [await mailbox.thread_of(each) for each in seen] == [first] * 4

    async def test_of_a_large_thread_takes_transactions_of_so_many_messages(self, mailbox: ThreadedMailbox) -> None:
        await mailbox.store([Letter("old", own="a")])
        await mailbox.store([Letter(str(number), own="b") for number in range(20)])
        older, newer = await mailbox.threads()
        await mailbox.store([Letter("link", references=("a", "b"))])
        assert await mailbox.settle(limit=5) == 4
        assert len((await mailbox.threads())[older]) == 22
        assert await mailbox.thread_of(newer) == older

    async def test_keeps_the_oldest_thread_but_for_those_that_are_small_beside_the_largest(
        self, mailbox: ThreadedMailbox
    ) -> None:
        await mailbox.store([A])
        await mailbox.store([Letter(f"b{number}", own="b") for number in range(100)])
        await mailbox.store([Letter(f"c{number}", own="c") for number in range(200)])
        oldest, older, largest = await mailbox.threads()
        await mailbox.store([Letter("link", references=("a", "b", "c"))])
        await mailbox.settle()
        assert (await mailbox.threads()).keys() == {older}
        assert [await mailbox.thread_of(each) for each in (oldest, largest)] == [older] * 2

    async def test_of_ever_older_threads_changes_few_rows(self, mailbox: ThreadedMailbox) -> None:
        assert await rows_of_merges(mailbox, 200) < 7_000


async def rows_of_merges(mailbox: ThreadedMailbox, merges: int) -> int:
    """Return how many rows change while so many threads, the newest one first, are joined with the next older one."""
    await mailbox.store([Letter(str(number), own=str(number)) for number in range(merges + 1)])
    # Threads that began together are ordered by their ids.
    own = [name for _, [name] in sorted((await mailbox.threads()).items(), reverse=True)]
    rows = 0
    for newer, older in pairwise(own):
        async with mailbox.transaction() as connection:
            link = Letter(f"{newer} and {older}", references=(newer, older)).message()
            made = await with_threads(connection, mailbox.mailbox_id, [link])
            await messages.upsert(connection, mailbox.mailbox_id, made)
            while await threads.move_some(connection, mailbox.mailbox_id, limit=500):
                pass
            rows += await connection.fetchval(_CHANGED_ROWS, column=1)
    assert len(await mailbox.threads()) == 1
    return rows
