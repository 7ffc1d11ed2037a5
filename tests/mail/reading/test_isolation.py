"""Users cannot reach the mail of other users."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

import pytest

from services.kit.errors import AppError
from services.mail.ids import PublicId
from services.mail.model import Account, MailboxQuery
from services.mail.read_model import MessageFilter
from services.mail.store import changes
from tests.mail.conftest import OpenStage
from tests.support.mail.sandbox_control import SandboxMailbox
from tests.support.mail.stage import Stage, connect_user

EVERYTHING = MessageFilter()


@dataclass
class TwoUsers:
    """Ada, the user of the stage, and Grace with a mailbox of her own."""

    s: Stage
    grace: Account
    of_grace: SandboxMailbox


@asynccontextmanager
async def two_users(stage: OpenStage) -> AsyncIterator[TwoUsers]:
    """Give both users ten messages and sync Ada's."""
    async with stage(messages=10) as s:
        await s.sync(count=None)
        grace, of_grace = await connect_user(s.servers.sandbox, s.auth, messages=10)
        yield TwoUsers(s, grace, of_grace)


class TestOtherUsers:
    async def test_do_not_see_the_mailbox(self, stage: OpenStage) -> None:
        async with two_users(stage) as two:
            overviews = await two.s.mailboxes.overviews(MailboxQuery(user_id=two.grace.user_id))
            assert [overview.mailbox.account_id for overview in overviews] == [two.grace.account_id]
            with pytest.raises(AppError, match="mailbox_not_found"):
                await two.s.mailboxes.find(two.grace.user_id, account_id=two.s.account.account_id)
            with pytest.raises(AppError, match="mailbox_not_found"):
                await two.s.mailboxes.find(two.grace.user_id, email=two.s.account.email)

    async def test_do_not_see_a_message(self, stage: OpenStage) -> None:
        async with two_users(stage) as two:
            [message, *_] = await two.s.listed()
            message_id = PublicId(message.mailbox_id, message.message_id)
            assert (await two.s.messages.get(two.s.user_id, message_id)).summary == message
            for user_id in (two.grace.user_id, uuid4()):
                with pytest.raises(AppError, match="message_not_found"):
                    await two.s.messages.get(user_id, message_id)

    async def test_do_not_see_a_message_under_their_own_mailbox(self, stage: OpenStage) -> None:
        async with two_users(stage) as two:
            [message, *_] = await two.s.listed()
            hers = await two.s.mailboxes.find(two.grace.user_id, account_id=two.grace.account_id)
            with pytest.raises(AppError, match="message_not_found"):
                await two.s.messages.get(two.grace.user_id, PublicId(hers.mailbox_id, message.message_id))

    async def test_do_not_see_a_change(self, stage: OpenStage) -> None:
        async with two_users(stage) as two:
            mailbox = await two.s.mailbox()
            async with two.s.pool.acquire() as connection:
                latest = await changes.position(connection, mailbox.mailbox_id)
                seen = {
                    user_id: await changes.between(
                        connection, user_id, mailbox.mailbox_id, 0, latest.seq, limit=100, label_names={}
                    )
                    for user_id in (two.s.user_id, two.grace.user_id)
                }
            assert len(seen[two.s.user_id]) >= 10
            assert seen[two.grace.user_id] == []

    async def test_do_not_see_a_sync(self, stage: OpenStage) -> None:
        async with two_users(stage) as two:
            report = await two.s.sync(count=1)
            sync_id = PublicId(report.sync.mailbox_id, report.sync.sync_id)
            with pytest.raises(AppError, match="sync_not_found"):
                await two.s.syncs.get(two.grace.user_id, sync_id, wait_seconds=0)

    async def test_cannot_use_a_cursor(self, stage: OpenStage) -> None:
        async with two_users(stage) as two:
            page = await two.s.messages.page(await two.s.mailbox(), EVERYTHING, page_size=3, page_token="")
            hers = await two.s.mailboxes.find(two.grace.user_id, account_id=two.grace.account_id)
            with pytest.raises(AppError, match="invalid_page_token"):
                await two.s.messages.page(hers, EVERYTHING, page_size=3, page_token=page.next_page_token)

    async def test_are_synced_side_by_side(self, stage: OpenStage) -> None:
        async with two_users(stage) as two:
            hers = await two.s.mailboxes.find(two.grace.user_id, account_id=two.grace.account_id)
            await two.s.ended(await two.s.syncs.start(hers, newest_count=None), user_id=two.grace.user_id)
            page = await two.s.messages.page(hers, EVERYTHING, page_size=200, page_token="")
            assert [message.external_id for message in page.messages] == list(await two.of_grace.truth())
            assert await two.s.stored() == await two.s.at_provider.truth()


class TestOneUser:
    async def test_with_two_mailboxes_sees_both(self, stage: OpenStage) -> None:
        async with stage(messages=3) as s:
            second, _ = await connect_user(s.servers.sandbox, s.auth, user_id=s.user_id)
            overviews = await s.mailboxes.overviews(MailboxQuery(user_id=s.user_id))
            assert {overview.mailbox.email for overview in overviews} == {s.account.email, second.email}
            assert (await s.mailboxes.find(s.user_id, email=second.email.upper())).account_id == second.account_id

    async def test_with_one_address_twice_has_to_name_the_account(self, stage: OpenStage) -> None:
        async with stage() as s:
            s.auth.add_twin(s.account)
            await s.mailboxes.overviews(MailboxQuery(user_id=s.user_id))
            with pytest.raises(AppError, match="ambiguous_address"):
                await s.mailboxes.find(s.user_id, email=s.account.email)
            assert (await s.mailboxes.find(s.user_id, account_id=s.account.account_id)).email == s.account.email

    async def test_sees_known_mailboxes_while_auth_is_down(self, stage: OpenStage) -> None:
        async with stage() as s:
            await s.mailbox()
            s.auth.is_down = True
            [overview] = await s.mailboxes.overviews(MailboxQuery(user_id=s.user_id))
            assert overview.mailbox.email == s.account.email
            with pytest.raises(AppError, match="service_unavailable"):
                await s.mailboxes.find(s.user_id, email="other@example.com")
