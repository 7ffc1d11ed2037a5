"""Any sequence of changes, cuts and passes ends with a history that equals the provider."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from services.mail.store.connection import Pool
from tests.support.folder_history.fake_folders import FakeFolders
from tests.support.folder_history.observed_history import ObservedHistory
from tests.support.mail.servers import Servers
from tests.support.mail.stored import add_mailbox

_MARKS = st.sampled_from(["seen", "flagged"])
_CONTENTS = st.sampled_from(["a", "b", "cc", "dd", "eee"])
_CUTS = st.one_of(st.none(), st.integers(min_value=0, max_value=6))


class Mailbox(RuleBasedStateMachine):
    """A mailbox whose owner changes it between and during passes."""

    pool: Pool
    loop: asyncio.AbstractEventLoop

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run work on the loop of the tests, from the thread of the machine."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout=60)

    @initialize(window=st.integers(min_value=1, max_value=4), gives_ids=st.booleans(), contents=st.lists(_CONTENTS))
    def begin(self, window: int, gives_ids: bool, contents: list[str]) -> None:
        self.provider = FakeFolders(window=window, gives_ids=gives_ids)
        self.provider.create("Work")
        for content in contents:
            self.provider.add("Inbox", content)
        self.observed: ObservedHistory = self.run(self._observe())
        self.always: set[str] = set(self.provider.contents())

    async def _observe(self) -> ObservedHistory:
        async with self.pool.acquire() as connection:
            mailbox = await add_mailbox(connection)
        observed = ObservedHistory(self.pool, mailbox.mailbox_id, self.provider)
        await observed.begin()
        return observed

    def _folder(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.provider.by_name)))

    def _message(self, data: st.DataObject) -> tuple[str, int] | None:
        all_of = [(name, number) for name, each in self.provider.by_name.items() for number in each.messages]
        return data.draw(st.sampled_from(sorted(all_of))) if all_of else None

    @rule(data=st.data(), content=_CONTENTS, marks=st.frozensets(_MARKS))
    def deliver(self, data: st.DataObject, content: str, marks: frozenset[str]) -> None:
        self.provider.add(self._folder(data), content, marks)

    @rule(data=st.data())
    def move(self, data: st.DataObject) -> None:
        if (found := self._message(data)) is not None:
            self.provider.move(*found, to=self._folder(data))

    @rule(data=st.data())
    def expunge(self, data: st.DataObject) -> None:
        if (found := self._message(data)) is not None:
            self.provider.remove(*found)

    @rule(data=st.data(), marks=st.frozensets(_MARKS))
    def mark(self, data: st.DataObject, marks: frozenset[str]) -> None:
        if (found := self._message(data)) is not None:
            self.provider.by_name[found[0]].messages[found[1]].marks = marks

    @rule(name=st.sampled_from(["Work", "Play", "Rest"]))
    def create(self, name: str) -> None:
        if name not in self.provider.by_name:
            self.provider.create(name)

    @rule(data=st.data())
    def delete_folder(self, data: st.DataObject) -> None:
        if (name := self._folder(data)) != "Inbox":
            del self.provider.by_name[name]

    @rule(data=st.data(), new_name=st.sampled_from(["Work", "Play", "Rest"]))
    def rename(self, data: st.DataObject, new_name: str) -> None:
        if (name := self._folder(data)) != "Inbox" and new_name not in self.provider.by_name:
            self.provider.rename(name, new_name)

    @rule(data=st.data())
    def reset(self, data: st.DataObject) -> None:
        self.provider.reset(self._folder(data))
        self.run(self._let_time_pass())

    async def _let_time_pass(self) -> None:
        async with self.pool.acquire() as connection:
            await connection.execute("UPDATE mail_folders SET restarted_at = restarted_at - interval '1 day'")

    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        self.provider.failing.add(self._folder(data))

    @rule()
    def heal(self) -> None:
        self.provider.failing.clear()

    @rule(at_provider=_CUTS, in_database=_CUTS, commits=st.booleans(), steps=st.integers(min_value=1, max_value=12))
    def take_steps(self, at_provider: int | None, in_database: int | None, commits: bool, steps: int) -> None:
        self.provider.cut_in, self.observed.cut_in = at_provider, in_database
        self.observed.commits_cut = commits
        self.run(self._take_steps(steps))
        self.provider.cut_in = self.observed.cut_in = None

    async def _take_steps(self, steps: int) -> None:
        await self.observed.take_steps(steps)
        await self.observed.follow()

    @invariant()
    def nothing_that_stayed_was_deleted(self) -> None:
        if hasattr(self, "observed"):
            self.always &= self.provider.contents().keys()
            assert not self.always & set(self.observed.deleted)

    @precondition(lambda self: not self.provider.failing)
    @rule()
    def compare(self) -> None:
        self.run(self._compare())

    async def _compare(self) -> None:
        await self.observed.settle()
        assert await self.observed.named_copy() == self.provider.contents()
        assert all(known == stored for known, stored in await self.observed.counts())

    def teardown(self) -> None:
        if hasattr(self, "observed"):
            self.provider.failing.clear()
            self.run(self._compare())


@pytest.fixture
def machine(servers: Servers) -> type[Mailbox]:
    Mailbox.pool = servers.pool
    return Mailbox


async def test_ends_equal_to_the_provider(machine: type[Mailbox]) -> None:
    Mailbox.loop = asyncio.get_running_loop()
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    few = settings(max_examples=12, stateful_step_count=25, suppress_health_check=checks)
    await asyncio.to_thread(run_state_machine_as_test, machine, settings=few)
