"""One account of a provider that two applications have connected: one quota, one watch, two mailboxes."""

import asyncio
import hashlib
from dataclasses import dataclass

from services.mail.model import Account, OpenMailbox
from services.mail.notifications import Notifications
from services.mail.providers.notifications import HookAnswer, HookRequest, Notification
from services.mail.store.control import mailbox_addresses
from tests.mail.conftest import OpenStage
from tests.support.mail.running_worker import WorkerOptions
from tests.support.mail.stage import Stage, connect_user
from tests.support.mail.waiting import eventually

TOPIC = "projects/p/topics/mail"
OPTIONS = WorkerOptions(push_topic=TOPIC)


@dataclass
class Shared:
    """A stage whose account a second application has connected, too."""

    s: Stage
    second: Account

    @classmethod
    def on(cls, s: Stage) -> "Shared":
        """Connect the stage's account by another application."""
        return cls(s, s.auth.share(s.account))

    async def mailbox(self, account: Account) -> OpenMailbox:
        """Return the mailbox of an application."""
        return await self.s.mailboxes.find(account.user_id, account_id=account.account_id)

    async def synced(self) -> None:
        """Synchronise both at once."""
        reports = [await self.s.syncs.start(await self.mailbox(account), newest_count=None) for account in self.both]
        ended = await asyncio.gather(
            *(self.s.ended(report, user_id=account.user_id) for report, account in zip(reports, self.both, strict=True))
        )
        assert [report.sync.error for report in ended] == ["", ""]

    @property
    def both(self) -> tuple[Account, Account]:
        """The accounts of both applications."""
        return self.s.account, self.second

    async def stored(self, account: Account) -> set[str]:
        """Return the messages that an application has."""
        mailbox = await self.mailbox(account)
        query = "SELECT external_id FROM messages WHERE mailbox_id = $1"
        return {row["external_id"] for row in await self.s.pool.fetch(query, mailbox.mailbox_id)}

    async def until_stored(self, account: Account, external_id: str) -> None:
        """Wait until an application has the message."""

        async def is_stored() -> bool:
            return external_id in await self.stored(account)

        await eventually(is_stored)

    async def disconnect(self, account: Account) -> bool:
        """Disconnect the mailbox of one application; return whether it is erased."""
        return await self.s.disconnections.disconnect(account.user_id, account.account_id)

    async def until_erased(self, account: Account) -> None:
        """Wait until nothing of it is left."""
        await eventually(lambda: self.disconnect(account))

    async def push(self, email: str) -> None:
        """Announce changes at this address."""
        sources = {"google": _Announcing(email)}
        await Notifications(self.s.servers.mail_pool, sources=sources).accept("google", HookRequest())

    async def hints(self) -> list[int]:
        """Return the number of hints of both mailboxes."""
        ids = [(await self.mailbox(account)).mailbox_id for account in self.both]
        query = "SELECT hint_seq FROM mailbox_schedule WHERE mailbox_id = $1"
        return [await self.s.fetchval(query, mailbox_id) for mailbox_id in ids]

    async def stops(self) -> int:
        """Return how often the watch was stopped."""
        return await self.s.at_provider.calls("gmail.stop")

    async def is_revoked(self, token: str) -> bool:
        """Return whether the provider refuses a token of the grant."""
        http = self.s.servers.sandbox.http
        answer = await http.get("/gmail/v1/users/me/profile", headers={"Authorization": f"Bearer {token}"})
        return answer.status_code == 401

    async def token(self) -> str:
        """Return the grant's access token."""
        return (await self.s.auth.access_token(self.second.account_id, self.second.user_id))[0]


class _Announcing:
    """A source that announces changes at an address."""

    def __init__(self, email: str) -> None:
        self._email = email

    async def receive(self, _: HookRequest) -> HookAnswer:
        """Announce them."""
        return HookAnswer(notifications=[Notification(email=self._email, cursor=None)])


class TestQuota:
    async def test_is_one_for_both(self, stage: OpenStage) -> None:
        async with stage(messages=400, workers=2) as s:
            shared = Shared.on(s)
            await shared.synced()
            truth = set(await s.at_provider.truth())
            assert [await shared.stored(account) for account in shared.both] == [truth, truth]
            await s.until_idle()
            # The provider has refused nothing, and each unit was counted.
            await s.is_paid()

    async def test_is_counted_as_by_workers_of_the_release_before(self, stage: OpenStage) -> None:
        async with stage(workers=0) as s:
            shared = Shared.on(s)
            former = hashlib.sha256(f"google {s.account.email.lower()}".encode()).hexdigest()
            assert [(await shared.mailbox(account)).identity for account in shared.both] == [former, former]

    async def test_goes_on_under_its_name_when_the_address_changes(self, stage: OpenStage) -> None:
        async with stage(workers=0) as s:
            shared = Shared.on(s)
            before = (await s.mailbox()).identity
            # As a release left the row that knew addresses only.
            await s.pool.execute("UPDATE mailboxes SET limits_identity = NULL, provider_identity = NULL")
            async with s.pool.acquire() as connection:
                await mailbox_addresses.set_address(connection, (await s.mailbox()).mailbox_id, "new@example.com")
            assert (await s.mailbox()).identity == before
            # The other application learns of it from auth.
            await s.auth.report_account(shared.second.account_id, shared.second.user_id, email="new@example.com")
            await s.mailboxes.refresh(shared.second.user_id)
            second = await shared.mailbox(shared.second)
            assert (second.email, second.identity) == ("new@example.com", before)

    async def test_is_one_also_where_the_second_knows_another_address(self, stage: OpenStage) -> None:
        async with stage(workers=0) as s:
            first = (await s.mailbox()).identity
            shared = Shared.on(s)
            await s.auth.report_account(shared.second.account_id, shared.second.user_id, email="new@example.com")
            assert (await shared.mailbox(shared.second)).identity == first

    async def test_is_another_ones_at_an_address_that_passed_on(self, stage: OpenStage) -> None:
        async with stage(workers=0) as s:
            mailbox = await s.mailbox()
            other, _ = await connect_user(s.servers.sandbox, s.auth)
            await s.auth.report_account(other.account_id, other.user_id, email=s.account.email)
            taken_over = await s.mailboxes.find(other.user_id, account_id=other.account_id)
            assert taken_over.email == mailbox.email
            assert taken_over.identity != mailbox.identity


class TestNotifications:
    async def test_wake_both(self, stage: OpenStage) -> None:
        async with stage(messages=3, push_topic=TOPIC) as s:
            shared = Shared.on(s)
            await shared.synced()
            delivered = await s.at_provider.deliver(subject="news")
            await shared.push(s.account.email)
            for account in shared.both:
                await shared.until_stored(account, delivered)

    async def test_wake_also_the_one_that_does_not_know_the_new_address(self, stage: OpenStage) -> None:
        async with stage(messages=1, workers=0) as s:
            shared = Shared.on(s)
            for account in shared.both:
                await s.syncs.start(await shared.mailbox(account), newest_count=1)
            async with s.another_worker():
                await s.until_idle()
            async with s.pool.acquire() as connection:
                await mailbox_addresses.set_address(connection, (await s.mailbox()).mailbox_id, "new@example.com")
            before = await shared.hints()
            await shared.push("new@example.com")
            assert await shared.hints() == [hints + 1 for hints in before]


class TestDisconnecting:
    async def test_leaves_the_other_its_watch_and_grant(self, stage: OpenStage) -> None:
        async with stage(messages=20, push_topic=TOPIC) as s:
            shared = Shared.on(s)
            await shared.synced()
            token = await shared.token()
            await shared.disconnect(s.account)
            await shared.until_erased(s.account)
            assert await shared.stops() == 0
            assert not await shared.is_revoked(token)
            delivered = await s.at_provider.deliver(subject="still here")
            await shared.push(s.account.email)
            await shared.until_stored(shared.second, delivered)
            await shared.disconnect(shared.second)
            await shared.until_erased(shared.second)
            assert await shared.stops() == 1
            assert await shared.is_revoked(token)

    async def test_of_both_at_once_stops_and_revokes(self, stage: OpenStage) -> None:
        async with stage(messages=20, push_topic=TOPIC, workers=2) as s:
            shared = Shared.on(s)
            await shared.synced()
            token = await shared.token()
            await asyncio.gather(*map(shared.disconnect, shared.both))
            for account in shared.both:
                await shared.until_erased(account)
            assert await shared.stops() > 0
            assert await shared.is_revoked(token)
            assert await s.fetchval("SELECT count(*) FROM mailboxes") == 0

    async def test_by_a_worker_that_dies_is_finished_for_both(self, stage: OpenStage) -> None:
        async with stage(messages=20, push_topic=TOPIC) as s:
            shared = Shared.on(s)
            await shared.synced()
            token = await shared.token()
            await s.workers[0].drain()
            await shared.disconnect(s.account)
            # Auth ends the account, and the worker does not hear of it.
            s.auth.lost_answers = 1
            async with s.another_worker(OPTIONS) as worker:
                await eventually(lambda: _is_true(s.auth.lost_answers == 0))
                await worker.crash()
            await shared.disconnect(shared.second)
            async with s.another_worker(OPTIONS):
                for account in shared.both:
                    await shared.until_erased(account)
            assert await shared.is_revoked(token)

    async def test_has_a_watch_made_anew_that_it_may_have_stopped(self, stage: OpenStage) -> None:
        async with stage(messages=3, push_topic=TOPIC) as s:
            shared = Shared.on(s)
            await shared.synced()
            second = await shared.mailbox(shared.second)
            query = "SELECT renew_at <= now() FROM watches WHERE mailbox_id = $1"
            await eventually(lambda: s.fetchval(f"{query.replace('<=', '>')}", second.mailbox_id))
            await s.workers[0].drain()
            await shared.disconnect(s.account)
            watched = await s.at_provider.calls("gmail.watch")
            async with s.another_worker(OPTIONS):
                await shared.until_erased(s.account)
                await s.hint()
                await eventually(lambda: _has_watched(s, watched))

    async def test_knows_the_other_by_its_address_before_auth_has_named_it(self, stage: OpenStage) -> None:
        async with stage(messages=3, push_topic=TOPIC) as s:
            shared = Shared.on(s)
            await shared.synced()
            await s.pool.execute(
                "UPDATE mailboxes SET provider_identity = NULL WHERE account_id = $1", shared.second.account_id
            )
            await shared.disconnect(s.account)
            await shared.until_erased(s.account)
            assert await shared.stops() == 0


async def _is_true(value: bool) -> bool:
    return value


async def _has_watched(s: Stage, calls: int) -> bool:
    return await s.at_provider.calls("gmail.watch") > calls
