"""The count of sign-ins, shared by all processes."""

import pytest

from services.mail.providers.base import RateLimitedError
from services.mail.providers.imap.login_budget import LoginBudget
from tests.support.mail.servers import Servers

MAILBOX, OTHER = 41, 42


@pytest.fixture(autouse=True)
async def _no_earlier_sign_ins(servers: Servers) -> None:
    await servers.forget_quota()


class TestLoginBudget:
    async def test_allows_so_many_sign_ins_of_a_mailbox_within_a_window(self, servers: Servers) -> None:
        first, second = (LoginBudget(servers.redis, logins=(2, 100)) for _ in range(2))
        await first.take(MAILBOX)
        await second.take(MAILBOX)
        with pytest.raises(RateLimitedError) as refused:
            await first.take(MAILBOX)
        assert 98 <= refused.value.retry_after <= 100
        await first.take(OTHER)

    async def test_makes_none_after_so_many_refused_ones(self, servers: Servers) -> None:
        budget = LoginBudget(servers.redis, logins=(100, 100), refusals=(2, 1_000))
        for _ in range(2):
            await budget.take(MAILBOX)
            await budget.refused(MAILBOX)
        with pytest.raises(RateLimitedError) as refused:
            await budget.take(MAILBOX)
        assert 998 <= refused.value.retry_after <= 1_000
        await budget.take(OTHER)
