"""Announcements that overtake the history: the mail is not left to the next look, which can be far away."""

from dataclasses import dataclass

import pytest
from starlette.responses import Response

from services.mail.model import Lane
from services.mail.store.control import schedule
from services.mail.sync.accounts.access import Patience
from tests.mail.conftest import OpenStage
from tests.support.mail.proxied_gmail import ProxiedCall, as_json, proxied
from tests.support.mail.servers import Servers
from tests.support.mail.stage import Stage
from tests.support.mail.waiting import eventually

TOPIC = "projects/p/topics/t"


@dataclass
class LaggingHistory:
    """A provider whose history ends at `present` while that is set."""

    present: int | None = None
    looks: int = 0

    async def answer(self, call: ProxiedCall) -> Response | None:
        """See Answer."""
        if not call.request.url.path.endswith("/history"):
            return None
        self.looks += 1
        return None if self.present is None else as_json({"historyId": str(self.present)})


async def announce(s: Stage, cursor: int) -> None:
    """Announce changes up to this history record."""
    async with s.servers.mail_pool.acquire() as connection, connection.transaction():
        assert (
            await schedule.hint(connection, provider="google", email=s.account.email, cursor=cursor, echo_seconds=1.1)
            == 1
        )


async def cursor(s: Stage) -> int:
    """Return the history record up to which history was read."""
    return int(await s.fetchval("SELECT cursor FROM sync_states"))


async def until_idle(s: Stage) -> None:
    """Wait until the mailbox is idle."""

    async def is_idle() -> bool:
        return bool(await s.fetchval("SELECT bool_and(lane = $1) FROM mailbox_schedule", Lane.IDLE))

    await eventually(is_idle)


class TestAnnouncedChange:
    async def test_that_history_shows_late_is_fetched_without_another_hint(
        self, servers: Servers, stage: OpenStage
    ) -> None:
        history = LaggingHistory()
        async with (
            proxied(servers.sandbox, history.answer) as url,
            stage(messages=2, api_url=url, push_topic=TOPIC) as s,
        ):
            await s.sync()
            await until_idle(s)
            history.present = await cursor(s)
            new = await s.at_provider.deliver()
            looks = history.looks
            await announce(s, history.present + 1)

            async def was_looked_at_often() -> bool:
                # By the turn, by the look for an echo, and by those that follow.
                return history.looks >= looks + 4

            await eventually(was_looked_at_often)
            history.present = None
            await s.until_stored(new)

    async def test_that_history_never_shows_costs_few_looks(self, servers: Servers, stage: OpenStage) -> None:
        history = LaggingHistory()
        async with (
            proxied(servers.sandbox, history.answer) as url,
            stage(messages=2, api_url=url, push_topic=TOPIC) as s,
        ):
            await s.sync()
            await until_idle(s)
            await announce(s, await cursor(s) + 1)
            await until_idle(s)
            # The next one comes after as long as the last announcement is ago.
            await s.pool.execute("UPDATE mailbox_schedule SET announced_at = announced_at - interval '5 minutes'")
            looks = history.looks

            async def was_looked_at() -> bool:
                return history.looks > looks

            await eventually(was_looked_at)

            async def is_planned() -> bool:
                return bool(await s.fetchval("SELECT look_at > now() + interval '4 minutes' FROM mailbox_schedule"))

            await eventually(is_planned)
            await s.pool.execute(
                "UPDATE mailbox_schedule SET announced_at = announced_at - interval '6 minutes', look_at = now()"
            )
            await eventually(was_looked_at)

            async def has_ended() -> bool:
                return bool(await s.fetchval("SELECT look_at IS NULL FROM mailbox_schedule"))

            await eventually(has_ended)


class TestCursor:
    @pytest.mark.parametrize(("ago", "reaches"), [(1, 9), (3600, 5)])
    async def test_is_the_furthest_of_a_burst(self, stage: OpenStage, ago: int, reaches: int) -> None:
        """They arrive in any order. An old one can be of a history that has begun anew since."""
        async with stage(messages=2, workers=0) as s:
            await s.sync_with_worker()
            known = await cursor(s)
            await announce(s, known + 9)
            await s.pool.execute(
                "UPDATE mailbox_schedule SET announced_at = now() - make_interval(secs => $1::int)", ago
            )
            await announce(s, known + 5)
            assert await s.fetchval("SELECT announced_cursor FROM mailbox_schedule") == known + reaches


class TestAccess:
    async def test_that_is_back_brings_a_new_watch(self, stage: OpenStage) -> None:
        """A watch ends with its grant, and would be renewed only a day after it was made."""
        async with stage(messages=2, push_topic=TOPIC) as s:
            await s.sync()
            await until_idle(s)
            assert await s.at_provider.calls("gmail.watch") == 1
            await s.at_provider.control("POST", "revoke")
            await s.sync()
            assert await s.fetchval("SELECT expires_at <= now() FROM watches")
            await s.auth.connect(s.account.email)
            await s.sync()

            async def is_watched() -> bool:
                return bool(await s.fetchval("SELECT expires_at > now() FROM watches"))

            await eventually(is_watched)
            assert await s.at_provider.calls("gmail.watch") == 2

    async def test_that_is_denied_for_long_ends_the_watch(self, stage: OpenStage) -> None:
        async with stage(messages=2, push_topic=TOPIC, patience=Patience(denials=1, seconds=0)) as s:
            await s.sync()
            await until_idle(s)
            await s.at_provider.fail({"method": "*", "kind": "error", "status": 403, "reason": "domainPolicy"})
            assert (await s.sync()).sync.error == "access_denied"
            assert await s.fetchval("SELECT expires_at <= now() AND renew_at <= now() FROM watches")
