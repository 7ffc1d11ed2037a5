"""Sign-ins of mailboxes: few of them, and none that locks the account."""

from dataclasses import replace
from datetime import datetime
from uuid import UUID, uuid4

import pytest

from services.mail.model import Mailbox, MailboxStatus, SyncState
from services.mail.provider_access.provider_tokens import MailboxTokens, ProviderTokenCache
from services.mail.provider_access.quota import Quota
from services.mail.providers.errors import ProviderError, ProviderUnavailableError, RateLimitedError
from services.mail.providers.imap.client.login import log_out
from services.mail.providers.imap.servers import imap_limits
from services.mail.providers.imap.sign_in import SignIn
from services.mail.sync.accounts.access import Patience
from tests.support.imap.mailbox_stage import ImapStage, open_imap_stage, server_of
from tests.support.mail.numbered_tokens import NumberedTokens
from tests.support.mail.servers import Servers
from tests.support.mail.waiting import eventually
from tests.support.sandbox.imap_servers import EMAIL, open_servers
from tests.support.sandbox.imap_servers import Servers as ImapServers

AT_ONCE = Patience(denials=1, seconds=0, pause=0.01, lasting_pause=0.01)


ADA = Mailbox(
    mailbox_id=1,
    account_id=uuid4(),
    user_id=uuid4(),
    provider="yandex",
    email=EMAIL,
    status=MailboxStatus.ACTIVE,
)


def counted_apart() -> Mailbox:
    """Return ADA's mailbox with counts of its own: workers of other tests may still report theirs."""
    return replace(ADA, limits_identity=uuid4().hex)


class Tokens(NumberedTokens):
    """Issues the token of the servers, which is refused where theirs is."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self.token = token

    async def access_token(self, *ids: UUID, refused_fingerprint: str = "") -> tuple[str, datetime]:
        """Return the token."""
        _, expiry = await super().access_token(*ids, refused_fingerprint=refused_fingerprint)
        return self.token, expiry


def sign_in_with(at_provider: ImapServers, quota: Quota, *, live: bool = True) -> SignIn:
    """Return the sign-ins of one process."""
    return SignIn(server_of(at_provider, "yandex"), tls=at_provider.tls, quota=quota, live=live)


async def switch_imap(stage: ImapStage, *, on: bool) -> None:
    """Let the user switch IMAP on or off."""
    await stage.imap.control("PUT", f"users/{EMAIL}/yandex", {"imap": on})
    if not on:
        await stage.imap.control("DELETE", f"users/{EMAIL}/connections")


class TestSignIn:
    async def test_is_made_once_for_many_turns(self, servers: Servers) -> None:
        async with open_imap_stage(servers, "yandex", messages=20) as stage:
            await stage.sync(count=5)
            await stage.sync(count=None)
            for _ in range(3):
                await stage.hint()
                await stage.until_idle()
            assert (await stage.imap.account())["logins"] == 1

    async def test_of_a_mailbox_without_imap_tells_at_once_what_the_user_must_do(self, servers: Servers) -> None:
        """Two answers agree, so that it need not be denied for minutes; a second attempt meets no passing fault."""
        patience = Patience(confirmed_pause=0.01, lasting_pause=0.01)
        async with open_imap_stage(servers, "yandex", patience=patience) as stage:
            assert stage.accounts is not None
            await switch_imap(stage, on=False)
            report = await stage.sync(count=5)
            assert (report.sync.state, report.sync.error) == (SyncState.FAILED, "access_denied")
            assert report.mailbox.access_denied_reason == "imap_disabled"
            assert stage.accounts.token == stage.imap.token
            assert (await stage.imap.account())["refused_logins"] >= 2
            await switch_imap(stage, on=True)
            await stage.imap.deliver(subject="hello")
            assert (await stage.sync(count=5)).sync.state is SyncState.COMPLETED
            assert stage.accounts.denials[-1] == ""

    async def test_with_a_dead_token_asks_for_a_sign_in_of_the_user(self, servers: Servers) -> None:
        async with open_imap_stage(servers, "yandex", patience=AT_ONCE) as stage:
            await stage.imap.control_api.revoke(stage.imap.token)
            report = await stage.sync(count=5)
            assert (report.sync.state, report.sync.error) == (SyncState.FAILED, "reauth_required")
            assert (await stage.imap.account())["refused_logins"] == 1

    async def test_that_is_refused_again_and_again_locks_no_account(self, servers: Servers) -> None:
        async with open_imap_stage(servers, "yandex", patience=AT_ONCE) as stage:
            await stage.imap.control("PATCH", "imap", {"refusals_before_lock": 20})
            await stage.sync(count=1)
            await switch_imap(stage, on=False)

            async def is_paused() -> bool:
                await stage.hint()
                refused: int = (await stage.imap.account())["refused_logins"]
                # With the first sign-in these are all that five minutes have.
                return refused == 9

            await eventually(is_paused)

            async def is_at_rest() -> bool:
                return bool(
                    await stage.fetchval(
                        "SELECT bool_and(lease_owner IS NULL AND due_at > now()) FROM mailbox_schedule"
                    )
                )

            for _ in range(20):
                await stage.hint()
                await eventually(is_at_rest)
            account = await stage.imap.account()
            assert (account["refused_logins"], account["locked"]) == (9, False)


class TestLimits:
    async def test_of_refused_sign_ins_hold_for_an_hour_and_all_processes(self, servers: Servers) -> None:
        mailbox = counted_apart()
        async with open_servers() as at_provider:
            await at_provider.control("PATCH", "imap", {"refusals_before_lock": 20})
            await at_provider.control("PUT", f"users/{EMAIL}/yandex", {"imap": False})
            now = [1_700_000_000.0]
            quotas = [
                Quota(
                    servers.redis,
                    limits=imap_limits("yandex"),
                    redis_time=lambda: now[0],
                    monotonic=lambda: now[0],
                )
                for _ in range(2)
            ]
            tokens = MailboxTokens(ProviderTokenCache(Tokens(at_provider.token)), mailbox)
            for number in range(20):
                with pytest.raises(ProviderError):
                    await sign_in_with(at_provider, quotas[number % 2]).open(mailbox, tokens)
                for quota in quotas:
                    await quota.flush()
                now[0] += 150.0
            account = await at_provider.account()
            assert (account["refused_logins"], account["locked"]) == (10, False)
            # An hour later it goes on.
            await at_provider.control("PUT", f"users/{EMAIL}/yandex", {"imap": True})
            now[0] += 3_600.0
            await log_out(await sign_in_with(at_provider, quotas[0]).open(mailbox, tokens))
            for quota in quotas:
                await quota.close()

    async def test_do_not_count_an_account_with_all_its_connections_as_refused(self, servers: Servers) -> None:
        mailbox = counted_apart()
        async with open_servers() as at_provider:
            await at_provider.control("PATCH", "imap", {"connections": 1})
            now = [1_700_000_000.0]
            quota = Quota(
                servers.redis, limits=imap_limits("yandex"), redis_time=lambda: now[0], monotonic=lambda: now[0]
            )
            worker = sign_in_with(at_provider, quota)
            tokens = MailboxTokens(ProviderTokenCache(Tokens(at_provider.token)), mailbox)
            kept = await worker.open(mailbox, tokens)
            for _ in range(11):
                now[0] += 150.0
                with pytest.raises(ProviderUnavailableError):
                    await worker.open(mailbox, tokens)
                await quota.flush()
            await log_out(kept)
            now[0] += 150.0
            await log_out(await worker.open(mailbox, tokens))
            await quota.close()

    async def test_leave_some_of_the_sign_ins_to_workers(self, servers: Servers) -> None:
        mailbox = counted_apart()
        async with open_servers() as at_provider:
            quota = Quota(servers.redis, limits=imap_limits("yandex"))
            downloads, worker = (sign_in_with(at_provider, quota, live=live) for live in (False, True))
            tokens = MailboxTokens(ProviderTokenCache(Tokens(at_provider.token)), mailbox)
            for _ in range(6):
                await log_out(await downloads.open(mailbox, tokens))
            with pytest.raises(RateLimitedError):
                await downloads.open(mailbox, tokens)
            for _ in range(4):
                await log_out(await worker.open(mailbox, tokens))
            with pytest.raises(RateLimitedError):
                await worker.open(mailbox, tokens)
            await quota.close()
