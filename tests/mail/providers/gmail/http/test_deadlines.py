"""A server that does not answer or stops answering: the time until each kind of call fails, and its error."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from services.kit.observe.http_calls import CallObserver
from services.kit.observe.setup import Telemetry
from services.mail.providers.base import Get, Profile
from services.mail.providers.errors import NoAnswerError, ProviderError, ProviderUnavailableError
from services.mail.providers.gmail.http.client import OWN_CONNECTION, create_gmail_client
from services.mail.providers.gmail.http.deadlines import Deadlines
from tests.support.mail.gmail_calls import CALLS, TOKEN, GmailAdapters, GmailCall, gmail_adapters
from tests.support.mail.raw_server import (
    HEAD,
    Behaviour,
    Connection,
    drips_body,
    drips_head,
    is_silent,
    raw_server,
    resets,
    resets_after_head,
    stops_after_head,
)
from tests.support.mail.waiting import eventually

# Seconds: the deadline under test, the other deadlines, and the tolerance for a slow machine.
SHORT = 0.3
LONG = 30.0
SLACK = 2.0
PATIENT = Deadlines(small=LONG, get=LONG, batch=LONG, connect=LONG, between=LONG, whole=LONG, longest=LONG)
# The adapter's number of calls at a time.
PARALLEL_GETS = 4
each_call = pytest.mark.parametrize("call", CALLS, ids=str)


@asynccontextmanager
async def facing(behaviour: Behaviour, deadlines: Deadlines = PATIENT) -> AsyncIterator[GmailAdapters]:
    """Yield the adapters of a server with this behaviour."""
    async with raw_server(behaviour) as server, gmail_adapters(server.url, deadlines=deadlines) as adapters:
        yield adapters


async def seconds_to_fail(call: GmailCall, at: GmailAdapters, error: type[Exception]) -> float:
    """Return the seconds until a call raises exactly this error."""
    began = time.monotonic()
    with pytest.raises(error) as raised:
        await call.make(at)
    assert type(raised.value) is error
    return time.monotonic() - began


def lost(call: GmailCall) -> type[Exception]:
    """Return the error of a call without an answer; one with side effects must not be repeated at once."""
    return ProviderUnavailableError if call.changes else NoAnswerError


@each_call
class TestCall:
    @pytest.mark.parametrize("behaviour", [is_silent, drips_head])
    async def test_without_a_head_fails_at_the_deadline_of_its_kind(
        self, call: GmailCall, behaviour: Behaviour
    ) -> None:
        async with facing(behaviour, replace(PATIENT, **{call.within: SHORT})) as at:
            assert SHORT <= await seconds_to_fail(call, at, lost(call)) < SHORT + SLACK

    async def test_whose_body_stops_fails_after_the_pause(self, call: GmailCall) -> None:
        async with facing(stops_after_head, replace(PATIENT, between=SHORT)) as at:
            assert SHORT <= await seconds_to_fail(call, at, ProviderUnavailableError) < SHORT + SLACK

    async def test_whose_body_trickles_fails_at_its_overall_limit(self, call: GmailCall) -> None:
        async with facing(drips_body, replace(PATIENT, whole=SHORT)) as at:
            assert SHORT <= await seconds_to_fail(call, at, ProviderUnavailableError) < SHORT + SLACK

    async def test_that_is_reset_fails_at_once(self, call: GmailCall) -> None:
        async with facing(resets) as at:
            assert await seconds_to_fail(call, at, lost(call)) < SLACK

    async def test_that_is_reset_in_its_body_fails_at_once(self, call: GmailCall) -> None:
        async with facing(resets_after_head) as at:
            assert await seconds_to_fail(call, at, ProviderUnavailableError) < SLACK

    async def test_without_a_connection_fails_at_its_deadline(self, call: GmailCall) -> None:
        deadlines = replace(PATIENT, connect=SHORT)
        async with (
            raw_server(is_silent) as server,
            gmail_adapters(server.url.replace("http:", "https:"), deadlines=deadlines) as at,
        ):
            assert SHORT <= await seconds_to_fail(call, at, lost(call)) < SHORT + SLACK

    async def test_to_a_closed_port_fails_at_once(self, call: GmailCall, free_port: int) -> None:
        async with gmail_adapters(f"http://127.0.0.1:{free_port}", deadlines=PATIENT) as at:
            assert await seconds_to_fail(call, at, lost(call)) < SLACK


@each_call
class TestRepeat:
    async def test_uses_another_connection(self, call: GmailCall) -> None:
        behave, served = first_ones_go(1, goes_silent)
        deadlines = replace(PATIENT, kept=LONG, **{call.within: SHORT})
        async with facing(behave, deadlines) as at:
            await two_connections(at)
            await seconds_to_fail(call, at, lost(call))
            with contextlib.suppress(ProviderError):
                await call.make(at)
        assert served[:2] == [1, 2]
        assert served[2:]
        assert not {1, 2} & set(served[2:])


class TestGetsOneByOne:
    async def test_to_a_silent_server_wait_only_once(self) -> None:
        gets = [Get(external_ids=(f"m{n}",), thread_id=None, units=20) for n in range(30)]
        async with (
            raw_server(is_silent) as server,
            gmail_adapters(server.url, deadlines=replace(PATIENT, get=SHORT)) as at,
        ):
            began = time.monotonic()
            results = await at.provider.fetch(TOKEN, gets)
            assert SHORT <= time.monotonic() - began < SHORT + SLACK
            assert server.connections == PARALLEL_GETS
        # Those behind them were never sent: they have no result, and cost their messages no attempt.
        assert {id_: type(result) for id_, result in results.items()} == {
            f"m{number}": NoAnswerError for number in range(PARALLEL_GETS)
        }

    async def test_return_the_others_after_one_is_lost(self) -> None:
        async def loses_the_first(connection: Connection) -> None:
            while True:
                head = await connection.request()
                if b"/messages/m0?" in head:
                    await connection.wait()
                    return
                await connection.answer(b'{"payload": {}}')

        gets = [Get(external_ids=(f"m{n}",), thread_id=None, units=20) for n in range(30)]
        async with facing(loses_the_first, replace(PATIENT, get=2 * SLACK)) as at:
            results = await at.provider.fetch(TOKEN, gets)
        assert [id_ for id_, result in results.items() if isinstance(result, NoAnswerError)] == ["m0"]


class TestLargeBodies:
    """Bodies of 20 chunks of a kilobyte, 50 ms apart."""

    @staticmethod
    async def sends_slowly(connection: Connection) -> None:
        await connection.request()
        body = b'{"historyId": "7", "x": "' + b"x" * (20 * 1024) + b'"}'
        await connection.send(HEAD.replace(b"100000", b"%d" % len(body)))
        for start in range(0, len(body), 1024):
            await connection.send(body[start : start + 1024])
            await asyncio.sleep(0.05)

    async def test_get_more_time_as_they_arrive(self) -> None:
        async with facing(self.sends_slowly, replace(PATIENT, whole=0.4, bytes_per_second=4 * 1024)) as at:
            assert await at.provider.profile(TOKEN) == Profile(cursor=7)

    async def test_get_that_time_after_a_late_head(self) -> None:
        async def pauses_after_head(connection: Connection) -> None:
            await connection.request()
            await connection.send(HEAD.replace(b"100000", b"18"))
            await asyncio.sleep(2 * SHORT)
            await connection.send(b'{"historyId": "7"}')

        async with facing(pauses_after_head, replace(PATIENT, small=SHORT)) as at:
            assert await at.provider.profile(TOKEN) == Profile(cursor=7)

    async def test_have_an_upper_limit(self) -> None:
        deadlines = replace(PATIENT, whole=0.4, bytes_per_second=4 * 1024, longest=0.6)
        async with facing(self.sends_slowly, deadlines) as at:
            assert 0.6 <= await seconds_to_fail(CALLS[0], at, ProviderUnavailableError) < 0.6 + SLACK


class TestDefaults:
    def test_are_these_seconds(self) -> None:
        deadlines = Deadlines()
        assert (deadlines.small, deadlines.get, deadlines.batch) == (5, 10, 12)
        assert (deadlines.connect, deadlines.between) == (5, 10)
        assert [round(deadlines.for_call(mib * 1024 * 1024)) for mib in (0, 1, 4, 47)] == [25, 41, 89, 120]


def first_ones_go(after: int, silent: Behaviour) -> tuple[Behaviour, list[int]]:
    """Return a server whose first two connections change behaviour after `after` requests each.

    The list fills with the connection number of each request.
    """
    served: list[int] = []

    async def behave(connection: Connection) -> None:
        for turn in range(1000):
            if connection.number <= 2 and turn == after:
                await silent(connection)
                return
            await connection.request()
            served.append(connection.number)
            await connection.answer(b'{"historyId": "7"}')

    return behave, served


async def goes_silent(connection: Connection) -> None:
    """Read and never answer, as after a router lost the connection."""
    await connection.wait()


async def two_connections(at: GmailAdapters) -> None:
    """Make two concurrent calls, whose connections are kept."""
    await asyncio.gather(at.provider.profile(TOKEN), at.provider.profile(TOKEN))


class TestConnections:
    async def test_kept_before_a_reset_are_not_used_after_it(self) -> None:
        behave, served = first_ones_go(1, resets)
        async with facing(behave, replace(PATIENT, kept=LONG)) as at:
            await two_connections(at)
            with pytest.raises(NoAnswerError):
                await at.provider.profile(TOKEN)
            # The other connection is dead as well.
            assert await at.provider.profile(TOKEN) == Profile(cursor=7)
        assert served == [1, 2, 3]

    async def test_are_kept_again_after_the_old_ones_expired(self) -> None:
        behave, served = first_ones_go(1, goes_silent)
        async with facing(behave, replace(PATIENT, small=SHORT, kept=SHORT)) as at:
            await two_connections(at)
            with pytest.raises(NoAnswerError):
                await at.provider.profile(TOKEN)
            began = time.monotonic()
            while served[-1] != served[-2]:
                await at.provider.profile(TOKEN)
            assert SHORT <= time.monotonic() - began < SLACK
        assert served[:2] == [1, 2]
        assert not {1, 2} & set(served[2:])

    async def test_are_kept_while_calls_are_answered(self) -> None:
        behave, served = first_ones_go(5, goes_silent)
        async with facing(behave) as at:
            for _ in range(3):
                await at.provider.profile(TOKEN)
        assert served == [1, 1, 1]

    async def test_waiting_for_answers_do_not_block_others(self) -> None:
        many = 200

        async def answers_after_many(connection: Connection) -> None:
            if connection.number <= many:
                await connection.wait()
            await connection.request()
            await connection.answer(b'{"historyId": "7"}')

        async with raw_server(answers_after_many) as server, gmail_adapters(server.url, deadlines=PATIENT) as at:
            waiting = [asyncio.create_task(at.provider.profile(TOKEN)) for _ in range(many)]

            async def all_wait() -> bool:
                return server.connections == many

            await eventually(all_wait)
            began = time.monotonic()
            assert await at.provider.profile(TOKEN) == Profile(cursor=7)
            assert time.monotonic() - began < SLACK
            for call in waiting:
                call.cancel()
            await asyncio.wait(waiting)

    @pytest.mark.parametrize("own", [False, True])
    async def test_without_acknowledgements_are_closed(self, own: bool) -> None:
        observer = CallObserver(Telemetry(CollectorRegistry()))
        behave, _ = first_ones_go(5, goes_silent)
        async with (
            raw_server(behave) as server,
            create_gmail_client(observer=observer) as http,
            http.stream("GET", server.url, extensions={OWN_CONNECTION: own}) as answer,
        ):
            connection = answer.extensions["network_stream"].get_extra_info("socket")
            option: Callable[[int, int], int] = connection.getsockopt
            assert option(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 10_000
            assert option(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert option(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 5
