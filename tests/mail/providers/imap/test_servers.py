"""What a mailbox may ask of a mail server."""

from services.mail.providers.imap.servers import imap_limits
from tests.support.mail.quota import shared_quota
from tests.support.mail.servers import Servers


class TestLimits:
    async def test_let_a_mailbox_copy_ten_thousand_messages_without_a_pause(self, servers: Servers) -> None:
        """A unit is a message, and a call brings a hundred of them: a pause would be one for the worker alone."""
        await servers.forget_quota()
        limits = imap_limits("yandex")
        quota = shared_quota(servers.redis, servers.mail_pool, limits=limits, provider="yandex")
        for _ in range(10_000 // limits.batch_units):
            quota.end(await quota.take("yandex:1", limits.batch_units, live=False))
