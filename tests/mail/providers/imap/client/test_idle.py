"""IDLE: news end it, and so do its time, a stop, and a server that is gone."""

import asyncio
import random

import pytest

from services.mail.providers.imap.client.errors import ConnectionLostError, RefusedError, SilenceError
from services.mail.providers.imap.client.folders import examine
from services.mail.providers.imap.client.idle import LONGEST, SHORTEST, idle, some_seconds
from tests.support.imap.scripted_server import CUT, SILENCE, Step, conversation, hears

SELECTED = hears(b'EXAMINE "INBOX"', b"* 3 EXISTS\r\nTAG OK done\r\n")
DONE = hears(b"DONE", b"TAG OK done\r\n")
IDLING = b"+ idling\r\n"


async def idle_at(*script: Step, seconds: float = 5.0, stop: bool = False) -> tuple[int, list[bytes]]:
    """Idle in a folder with three messages; return the count of news, and what the server heard since."""
    async with conversation(SELECTED, *script) as (connection, server):
        await examine(connection, b"INBOX")
        stopped = asyncio.Event()
        if stop:
            stopped.set()
        found = await idle(connection, seconds=seconds, stop=stopped)
        assert connection.is_open
        return found, server.heard[1:]


class TestIdle:
    @pytest.mark.parametrize(
        "news", [b"* 4 EXISTS\r\n", b"* 2 EXPUNGE\r\n", b"* VANISHED 7\r\n", b"* 1 FETCH (FLAGS (\\Seen))\r\n"]
    )
    async def test_ends_with_news(self, news: bytes) -> None:
        assert await idle_at(hears(b"IDLE", IDLING, news), DONE) == (1, [b"IDLE", b"DONE"])

    async def test_ends_with_its_time(self) -> None:
        still_here = b"* OK still here\r\n* 3 EXISTS\r\n"
        assert await idle_at(hears(b"IDLE", IDLING, still_here), DONE, seconds=0.02) == (0, [b"IDLE", b"DONE"])

    async def test_ends_when_it_is_told_to(self) -> None:
        assert await idle_at(hears(b"IDLE", IDLING), DONE, stop=True, seconds=1e6) == (0, [b"IDLE", b"DONE"])

    async def test_notices_news_that_came_before_it(self) -> None:
        """The server does not announce them again (rust-imap 263)."""
        assert await idle_at(hears(b"IDLE", b"* 4 EXISTS\r\n", IDLING), DONE, seconds=1e6) == (1, [b"IDLE", b"DONE"])

    async def test_does_not_end_with_what_was_heard_before(self) -> None:
        script = [hears(b"IDLE", b"* 4 EXISTS\r\n", IDLING), DONE, hears(b"IDLE", IDLING, b"* 5 EXISTS\r\n"), DONE]
        async with conversation(SELECTED, *script) as (connection, server):
            await examine(connection, b"INBOX")
            stop = asyncio.Event()
            assert await idle(connection, seconds=1e6, stop=stop) == 1
            assert await idle(connection, seconds=1e6, stop=stop, heard=1) == 2
            assert server.heard[1:] == [b"IDLE", b"DONE", b"IDLE", b"DONE"]

    async def test_takes_responses_with_literals_that_its_end_cuts(self) -> None:
        rest = b"c) FLAGS ())\r\nTAG OK done\r\n"
        script = [hears(b"IDLE", IDLING, b"* 1 FETCH (X ({3}\r\nab"), hears(b"DONE", rest)]
        assert await idle_at(*script, stop=True) == (1, [b"IDLE", b"DONE"])

    @pytest.mark.parametrize("answers", [[b"* BYE\r\n", CUT], [CUT], [IDLING, CUT], [IDLING, b"TAG OK odd\r\n"]])
    async def test_of_a_server_that_ends_it_is_an_error_or_over(self, answers: list[object]) -> None:
        if answers[-1] is not CUT:
            assert await idle_at(hears(b"IDLE", *answers)) == (0, [b"IDLE"])
            return
        with pytest.raises(ConnectionLostError):
            await idle_at(hears(b"IDLE", *answers))

    @pytest.mark.parametrize(("seconds", "stop"), [(0.01, False), (3_600.0, True)])
    async def test_of_a_connection_that_is_dead_ends_within_its_deadline(self, seconds: float, stop: bool) -> None:
        with pytest.raises(SilenceError):
            await asyncio.wait_for(
                idle_at(hears(b"IDLE", IDLING), hears(b"DONE", SILENCE), seconds=seconds, stop=stop), 20
            )

    async def test_of_a_server_without_it_is_refused(self) -> None:
        with pytest.raises(RefusedError):
            await idle_at(hears(b"IDLE", b"TAG BAD unknown\r\n"))

    async def test_that_is_cancelled_closes_the_connection(self) -> None:
        async with conversation(SELECTED, hears(b"IDLE", IDLING, SILENCE)) as (connection, server):
            await examine(connection, b"INBOX")
            running = asyncio.create_task(idle(connection, seconds=5, stop=asyncio.Event()))
            await server.until_heard(2)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            assert not connection.is_open
            await server.ended.wait()

    async def test_needs_a_folder(self) -> None:
        async with conversation() as (connection, _):
            with pytest.raises(ValueError, match="no folder"):
                await idle(connection, seconds=1, stop=asyncio.Event())


def test_some_seconds_are_between_9_and_14_minutes() -> None:
    drawn = [some_seconds(random.Random(seed)) for seed in range(100)]
    assert SHORTEST <= min(drawn) < max(drawn) <= LONGEST
    assert (SHORTEST, LONGEST) == (540, 840)
