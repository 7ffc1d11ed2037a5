"""An unavailable batch endpoint: single gets meanwhile, batches afterwards."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import httpx
import pytest
import structlog

from services.mail.model import ProviderMessage
from services.mail.providers.base import Get
from services.mail.providers.errors import ProviderUnavailableError
from services.mail.providers.gmail.batch import BOUNDARY
from services.mail.providers.gmail.batch_endpoint import LONGEST_PAUSE, BatchEndpoint
from tests.support.mail.gmail_calls import COSTS, TOKEN, gmail_that_answers

GETS = [Get(external_ids=(id_,), thread_id=None, units=COSTS.fetch) for id_ in "abc"]
MULTIPART = f"multipart/mixed; boundary={BOUNDARY}"


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def message(id_: str) -> str:
    """Return the answer to a get."""
    return json.dumps({"id": id_, "payload": {}})


def batch_of(ids: str) -> httpx.Response:
    """Return the answer to a batch, with parts for these messages."""
    head = f"--{BOUNDARY}\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"
    text = "".join(f"{head}{message(id_)}\r\n" for id_ in ids) + f"--{BOUNDARY}--"
    return httpx.Response(200, text=text, headers={"Content-Type": MULTIPART})


class Gmail:
    """A server that answers gets, and batches as configured, and counts both."""

    def __init__(self, batches: Iterable[httpx.Response | None]) -> None:
        self.batches = self.gets = 0
        self._answers: Iterator[httpx.Response | None] = iter(batches)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/batch":
            self.batches += 1
            return next(self._answers) or batch_of("abc")
        self.gets += 1
        return httpx.Response(200, text=message(request.url.path[-1]))


def missing(status: int = 404, *, text: str = "", kind: str = "text/html") -> httpx.Response:
    """Return an answer that is not in the batch format."""
    return httpx.Response(status, text=text, headers={"Content-Type": kind})


@contextmanager
def logged() -> Iterator[Callable[[], list[str]]]:
    """Capture the log; yield a function that returns its events."""
    with structlog.testing.capture_logs() as entries:
        yield lambda: [entry["event"] for entry in entries]


class TestFetch:
    @pytest.mark.parametrize(
        "answer",
        [
            missing(404),
            missing(405),
            missing(501),
            missing(400, text="<html>"),
            missing(404, text=json.dumps({"error": {"code": 404, "errors": [{"reason": "notFound"}]}})),
        ],
        ids=lambda answer: f"{answer.status_code} {answer.text[:12]}",
    )
    async def test_falls_back_to_single_gets_and_retries_a_minute_later(self, answer: httpx.Response) -> None:
        gmail, clock = Gmail([answer, None]), Clock()
        async with gmail_that_answers(gmail, monotonic=clock) as at:
            for elapsed, batches, gets in ((0, 1, 3), (59, 1, 6), (1, 2, 6)):
                clock.now += elapsed
                results = await at.batching.fetch(TOKEN, GETS)
                assert all(isinstance(result, ProviderMessage) for result in results.values())
                assert (gmail.batches, gmail.gets) == (batches, gets)

    @pytest.mark.parametrize(
        "answer",
        [
            missing(200, text="<p>Welcome"),
            missing(200, text=f"--{BOUNDARY}--", kind=MULTIPART),
            # In another order, or with a part missing: no Content-ID tells which answer is whose.
            batch_of("cba"),
            batch_of("bc"),
        ],
    )
    async def test_makes_no_call_twice_for_the_same_units(self, answer: httpx.Response) -> None:
        gmail = Gmail([answer])
        async with gmail_that_answers(gmail) as at:
            with pytest.raises(ProviderUnavailableError, match="malformed batch answer"):
                await at.batching.fetch(TOKEN, GETS)
            assert (gmail.batches, gmail.gets) == (1, 0)
            await at.batching.fetch(TOKEN, GETS)
            assert (gmail.batches, gmail.gets) == (1, 3)

    async def test_reopens_after_a_batch_answer(self) -> None:
        gmail, clock = Gmail([missing(), None, missing(), None]), Clock()
        async with gmail_that_answers(gmail, monotonic=clock) as at:
            for elapsed in (0, 60, 0, 60):
                clock.now += elapsed
                await at.batching.fetch(TOKEN, GETS)
            assert (gmail.batches, gmail.gets) == (4, 6)

    @pytest.mark.parametrize("status", [403, 429, 500, 503])
    async def test_keeps_batches_after_other_refusals(self, status: int) -> None:
        gmail, clock = Gmail([missing(status), None]), Clock()
        async with gmail_that_answers(gmail, monotonic=clock) as at:
            with pytest.raises(Exception, match=f"{status}"):
                await at.batching.fetch(TOKEN, GETS)
            await at.batching.fetch(TOKEN, GETS)
            assert (gmail.batches, gmail.gets) == (2, 0)

    async def test_keeps_batches_after_one_that_was_too_large(self) -> None:
        gmail, clock = Gmail([missing(413), None]), Clock()
        async with gmail_that_answers(gmail, monotonic=clock) as at:
            await at.batching.fetch(TOKEN, GETS)
            await at.batching.fetch(TOKEN, GETS)
            assert (gmail.batches, gmail.gets) == (2, 3)


class TestPause:
    def closed_for(self, endpoint: BatchEndpoint, clock: Clock) -> float:
        """Return the seconds until batches are sent again, rounded to the half minute."""
        began = clock.now
        while endpoint.url is None:
            clock.now += 30
        return clock.now - began

    def test_doubles_up_to_an_hour(self) -> None:
        clock = Clock()
        endpoint = BatchEndpoint("http://x/batch", monotonic=clock)
        pauses = []
        for _ in range(8):
            endpoint.refused("404")
            pauses.append(self.closed_for(endpoint, clock))
        assert pauses == [60, 120, 240, 480, 960, 1920, LONGEST_PAUSE, LONGEST_PAUSE]

    def test_counts_concurrent_batches_once(self) -> None:
        clock = Clock()
        endpoint = BatchEndpoint("http://x/batch", monotonic=clock)
        for _ in range(5):
            endpoint.refused("404")
        assert self.closed_for(endpoint, clock) == 60

    def test_starts_again_at_a_minute_after_an_answer(self) -> None:
        clock = Clock()
        endpoint = BatchEndpoint("http://x/batch", monotonic=clock)
        for _ in range(3):
            endpoint.refused("404")
            self.closed_for(endpoint, clock)
        endpoint.answered()
        endpoint.refused("404")
        assert self.closed_for(endpoint, clock) == 60

    def test_ends_with_an_answer_to_an_earlier_batch(self) -> None:
        endpoint = BatchEndpoint("http://x/batch", monotonic=Clock())
        endpoint.refused("404")
        endpoint.answered()
        assert endpoint.url is not None

    def test_is_logged_at_its_begin_and_end(self) -> None:
        clock = Clock()
        endpoint = BatchEndpoint("http://x/batch", monotonic=clock)
        with logged() as events:
            endpoint.answered()
            for _ in range(4):
                endpoint.refused("404")
                self.closed_for(endpoint, clock)
            endpoint.answered()
            endpoint.answered()
            assert events() == ["batches are not answered, fetching one by one", "batches are answered again"]

    def test_never_ends_without_an_endpoint(self) -> None:
        endpoint = BatchEndpoint(None, monotonic=Clock())
        assert endpoint.url is None
