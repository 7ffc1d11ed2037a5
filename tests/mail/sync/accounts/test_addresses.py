"""Mailboxes whose primary address is renamed at the provider: it is learned, and both names find them."""

from collections.abc import AsyncIterator

import pytest

from services.kit.errors import AppError
from services.mail.model import MailboxQuery
from services.mail.notifications import Notifications
from services.mail.providers.base import Profile
from services.mail.store.control import mailbox_addresses
from services.mail.store.control.leases import LeaseLostError
from services.mail.sync.accounts.addresses import learn, learn_send_as
from tests.mail.conftest import OpenStage
from tests.support.mail.push_sender import PushSender, envelope, pushed
from tests.support.mail.running_worker import WorkerOptions
from tests.support.mail.servers import Servers
from tests.support.mail.stage import Stage, connect_user
from tests.support.mail.turns import begin_turn, sandbox_provider
from tests.support.mail.waiting import eventually

TOPIC = "projects/p/topics/mail"


@pytest.fixture(scope="module")
def sender() -> PushSender:
    return PushSender()


@pytest.fixture
async def notifications(servers: Servers, sender: PushSender) -> AsyncIterator[Notifications]:
    async with sender.receiver() as source:
        yield Notifications(servers.mail_pool, sources={"google": source}, monotonic=lambda: 0.0)


async def rename(s: Stage) -> str:
    """Rename the user at the provider; return the new address."""
    new = f"new.{s.at_provider.email}"
    s.at_provider = await s.at_provider.renamed(new)
    return new


async def let_a_day_pass(s: Stage) -> None:
    """Make the comparison of addresses due, after the end of a turn that makes one."""
    await s.until_released()
    await s.pool.execute("UPDATE mailboxes SET address_checked_at = now() - interval '25 hours'")


async def until_named(s: Stage, email: str) -> None:
    """Wait until the mailbox has this address."""

    async def is_named() -> bool:
        return bool(await s.fetchval("SELECT bool_or(email = $1) FROM mailboxes", email))

    await eventually(is_named)


class TestProfile:
    async def test_teaches_the_new_address_within_a_day(self, stage: OpenStage) -> None:
        async with stage(messages=2) as s:
            await s.sync(count=None)
            new = await rename(s)
            await s.hint()
            await s.until_caught_up()
            await s.until_released()
            assert s.auth.addresses == []
            await let_a_day_pass(s)
            await s.hint()
            await until_named(s, new)
            assert s.auth.addresses == [new]
            [overview] = await s.mailboxes.overviews(MailboxQuery(user_id=s.user_id))
            assert overview.mailbox.email == new

    async def test_is_read_once_a_day(self, stage: OpenStage) -> None:
        async with stage(messages=2) as s:
            await s.sync(count=None)
            await s.until_released()
            calls = await s.at_provider.calls("gmail.profile.get")
            await let_a_day_pass(s)
            for _ in range(3):
                await s.hint()
                await s.until_caught_up()
                await s.until_released()
            assert await s.at_provider.calls("gmail.profile.get") == calls + 1

    async def test_of_the_first_sync_suffices_for_that_day(self, stage: OpenStage) -> None:
        async with stage(messages=2) as s:
            await s.sync(count=None)
            await s.until_released()
            assert await s.fetchval("SELECT address_checked_at IS NOT NULL FROM mailboxes")
            calls = await s.at_provider.calls("gmail.profile.get")
            await s.hint()
            await s.until_caught_up()
            await s.until_released()
            assert await s.at_provider.calls("gmail.profile.get") == calls

    async def test_that_cannot_be_read_harms_no_turn_and_is_read_later(self, stage: OpenStage) -> None:
        async with stage(messages=2) as s:
            await s.sync(count=None)
            new = await rename(s)
            await let_a_day_pass(s)
            await s.at_provider.fail({"method": "gmail.profile.get", "kind": "error", "status": 500, "count": 1})
            await s.hint()
            await s.until_caught_up()
            await s.until_released()
            assert s.workers[0].count("sync_turns_total", outcome="provider_unavailable") == 0
            await s.hint()
            await until_named(s, new)

    async def test_is_told_to_auth_before_it_counts(self, stage: OpenStage) -> None:
        async with stage(messages=2) as s:
            await s.sync(count=None)
            # The turn that ended the sync compares the address, too.
            await s.until_released()
            old, new = s.account.email, await rename(s)
            await let_a_day_pass(s)
            s.auth.refuses_reports = True
            await s.hint()
            await s.until_caught_up()
            await s.until_released()
            assert await s.fetchval("SELECT email FROM mailboxes") == old
            s.auth.refuses_reports = False
            await s.hint()
            await until_named(s, new)


class TestLostLease:
    async def test_learns_no_address(self, stage: OpenStage) -> None:
        async with stage(workers=0) as s, sandbox_provider(s) as provider:
            await s.request(count=None)
            turn = await begin_turn(s, provider)
            turn.profile = Profile(cursor=1, address="new@example.com")
            turn.send_as_is_due = True
            await s.pool.execute("UPDATE mailbox_schedule SET lease_epoch = lease_epoch + 1")
            with pytest.raises(LeaseLostError):
                await learn(turn, await s.mailbox(), auth=s.auth)
            with pytest.raises(LeaseLostError):
                await learn_send_as(turn)
            assert await s.fetchval("SELECT email FROM mailboxes") == s.at_provider.email
            assert await s.fetchval("SELECT send_as FROM mailboxes") == []


class TestSendAs:
    @staticmethod
    async def own_addresses(s: Stage) -> set[str]:
        return set((await s.mailboxes.find(s.user_id, account_id=s.account.account_id)).own_addresses)

    @staticmethod
    async def take_a_turn(s: Stage) -> None:
        await s.hint()
        await s.until_caught_up()
        await s.until_released()

    async def test_addresses_are_the_users_own_from_the_turn_after_the_first_sync_on(self, stage: OpenStage) -> None:
        async with stage(messages=2) as s:
            await s.at_provider.send_as("sales@example.net", "ada@example.org")
            await s.sync(count=None)
            await self.take_a_turn(s)
            assert await self.own_addresses(s) == {s.account.email, "sales@example.net", "ada@example.org"}

    async def test_changes_are_learned_within_a_day(self, stage: OpenStage) -> None:
        async with stage(messages=2) as s:
            await s.sync(count=None)
            await self.take_a_turn(s)
            await s.at_provider.send_as("sales@example.net")
            calls = await s.at_provider.calls("gmail.settings.sendAs.list")
            for _ in range(2):
                await self.take_a_turn(s)
            assert await s.at_provider.calls("gmail.settings.sendAs.list") == calls == 1
            assert await self.own_addresses(s) == {s.account.email}
            await let_a_day_pass(s)
            await self.take_a_turn(s)
            assert await s.at_provider.calls("gmail.settings.sendAs.list") == calls + 1
            assert await self.own_addresses(s) == {s.account.email, "sales@example.net"}

    @pytest.mark.parametrize("known", [True, False])
    @pytest.mark.parametrize("status", [403, 404, 500])
    async def test_without_an_answer_they_stay_and_no_turn_fails(
        self, stage: OpenStage, status: int, known: bool
    ) -> None:
        async with stage(messages=2) as s:
            await s.at_provider.send_as("sales@example.net")
            await s.sync(count=None)
            if known:
                await self.take_a_turn(s)
                await let_a_day_pass(s)
            await s.at_provider.send_as()
            fault = {"method": "gmail.settings.sendAs.list", "kind": "error", "status": status, "count": 9}
            await s.at_provider.fail(fault)
            for _ in range(2):
                await self.take_a_turn(s)
            assert await s.at_provider.fired() == [1]
            assert await self.own_addresses(s) == {s.account.email, *(["sales@example.net"] if known else [])}
            assert await s.fetchval("SELECT status FROM mailboxes") == "active"


class TestBothNames:
    async def test_find_the_mailbox_and_its_mail(self, stage: OpenStage) -> None:
        async with stage(messages=2) as s:
            await s.sync(count=None)
            # The turn that ended the sync compares the address, too.
            await s.until_released()
            old, new = s.account.email, await rename(s)
            await let_a_day_pass(s)
            await s.hint()
            await until_named(s, new)
            for name in (old, new, old.upper(), f" {new.title()} "):
                found = await s.mailboxes.find(s.user_id, email=name)
                assert found.account_id == s.account.account_id
            assert set(found.own_addresses) == {old, new}

    async def test_of_a_sign_in_find_it_too(self, stage: OpenStage) -> None:
        async with stage(messages=2, workers=0) as s:
            await s.mailbox()
            old = s.account.email
            await s.auth.report_account(s.account.account_id, s.user_id, email=f"new.{old}")
            await s.mailboxes.refresh(s.user_id)
            for name in (old, f"new.{old}"):
                assert (await s.mailboxes.find(s.user_id, email=name)).account_id == s.account.account_id

    async def test_differ_where_the_old_one_has_passed_to_another_account(self, stage: OpenStage) -> None:
        async with stage(messages=2, workers=0) as s:
            await s.mailbox()
            old = s.account.email
            await s.auth.report_account(s.account.account_id, s.user_id, email=f"new.{old}")
            await s.mailboxes.refresh(s.user_id)
            heir = s.auth.add_twin(s.account)
            assert heir.email == old.title()
            await s.mailboxes.refresh(s.user_id)
            assert (await s.mailboxes.find(s.user_id, email=old)).account_id == heir.account_id

    async def test_are_ten_former_ones_at_most(self, stage: OpenStage) -> None:
        async with stage(messages=2, workers=0) as s:
            mailbox = await s.mailbox()
            names = [f"n{number}@example.com" for number in range(14)]
            async with s.pool.acquire() as connection:
                for name in (*names, names[9], names[13]):
                    await mailbox_addresses.set_address(connection, mailbox.mailbox_id, name)
            former = list(await s.fetchval("SELECT former_emails FROM mailboxes"))
            assert former[-1] == names[9]
            assert former[-2] == names[12]
            assert len(former) <= 10
            assert len(set(former)) == len(former)
            assert names[13] not in former

    async def test_are_names_of_no_other_user(self, stage: OpenStage) -> None:
        async with stage(messages=2, workers=0) as s:
            await s.mailbox()
            account, other = await connect_user(s.servers.sandbox, s.auth, messages=1)
            await s.auth.report_account(s.account.account_id, s.user_id, email="new@example.com")
            await s.mailboxes.refresh(s.user_id)
            await s.mailboxes.refresh(account.user_id)
            with pytest.raises(AppError, match="mailbox_not_found"):
                await s.mailboxes.find(account.user_id, email=s.account.email)
            with pytest.raises(AppError, match="mailbox_not_found"):
                await s.mailboxes.find(s.user_id, email=other.email)


class TestNotification:
    async def test_by_either_name_makes_the_mailbox_due(
        self, stage: OpenStage, notifications: Notifications, sender: PushSender
    ) -> None:
        async with stage(messages=2, workers=0) as s:
            await s.sync_with_worker()
            async with s.pool.acquire() as connection:
                await mailbox_addresses.set_address(connection, (await s.mailbox()).mailbox_id, "new@example.com")
            for name in (s.account.email, "new@example.com"):
                before = await s.fetchval("SELECT hint_seq FROM mailbox_schedule")
                await notifications.accept("google", pushed(sender.token(), envelope(name, str(2**60))))
                assert await s.fetchval("SELECT hint_seq FROM mailbox_schedule") == before + 1

    async def test_that_names_the_new_address_teaches_it(
        self, stage: OpenStage, notifications: Notifications, sender: PushSender
    ) -> None:
        async with stage(messages=2, push_topic=TOPIC) as s:
            await s.sync(count=None)
            await eventually(lambda: is_watched(s))
            await s.pool.execute("UPDATE mailboxes SET address_checked_at = now() - interval '7 hours'")
            new = await rename(s)
            id_ = await s.at_provider.deliver()
            await notifications.accept("google", pushed(sender.token(), envelope(new, str(2**60))))
            await s.until_stored(id_)
            await until_named(s, new)

    async def test_of_an_unknown_address_is_no_reason_for_many_calls(
        self, stage: OpenStage, notifications: Notifications, sender: PushSender
    ) -> None:
        async with stage(messages=2, workers=0) as s:
            async with s.another_worker(WorkerOptions(push_topic=TOPIC)):
                await s.sync()
                await eventually(lambda: is_watched(s))
            await s.pool.execute("UPDATE mailboxes SET address_checked_at = now() - interval '7 hours'")
            before = await s.fetchval("SELECT hint_seq FROM mailbox_schedule")
            # Neither its domain nor its name is known.
            await notifications.accept("google", pushed(sender.token(), envelope("nobody@elsewhere.example", "9")))
            assert await s.fetchval("SELECT hint_seq FROM mailbox_schedule") == before
            for number in range(5):
                await notifications.accept(
                    "google", pushed(sender.token(), envelope(f"nobody{number}@example.com", "9"))
                )
            assert await s.fetchval("SELECT hint_seq FROM mailbox_schedule") == before + 1


async def is_watched(s: Stage) -> bool:
    """Whether changes of the mailbox are announced."""
    return bool(await s.fetchval("SELECT count(*) FROM watches WHERE expires_at > now()"))
