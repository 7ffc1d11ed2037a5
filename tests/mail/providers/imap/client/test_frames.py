"""Responses as bytes: any chunks give the same responses, and limits hold before memory is used."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.mail.providers.imap.client.errors import ConnectionLostError, FramingError, SilenceError
from services.mail.providers.imap.client.frames import RESPONSE_BYTES, Frame, FrameReader, Limits, Patience, Streamed

SECONDS = 5.0


def reader(
    *chunks: bytes, ends: bool = True, limits: Limits | None = None, patience: Patience | None = None
) -> FrameReader:
    """Return a reader of these chunks, after which the connection ends unless it is to hang."""
    stream = asyncio.StreamReader()
    for chunk in chunks:
        stream.feed_data(chunk)
    if ends:
        stream.feed_eof()
    return FrameReader(stream, limits=limits or Limits(), patience=patience or Patience())


async def read_all(frames: FrameReader) -> list[Frame]:
    """Return the responses up to the end of the connection."""
    found: list[Frame] = []
    try:
        while True:
            found.append(await frames.read(seconds=SECONDS))
    except ConnectionLostError:
        return found


_TEXT = st.binary(max_size=40).map(
    lambda text: text.replace(b"\n", b"").replace(b"\r", b"").replace(b"{", b"").replace(b"~", b"")
)
_FRAMES = st.lists(
    st.tuples(_TEXT, st.lists(st.tuples(st.binary(max_size=60), _TEXT), max_size=3)).map(
        lambda drawn: Frame(
            (b"* 1 FETCH " + drawn[0], *(text for _, text in drawn[1])), tuple(literal for literal, _ in drawn[1])
        )
    ),
    max_size=5,
)


def written(frame: Frame) -> bytes:
    """Return a response as a server writes it."""
    literals = [b"{%d}\r\n" % len(each) + each for each in frame.literals if isinstance(each, bytes)]
    return b"".join(text + literal for text, literal in zip(frame.texts, [*literals, b"\r\n"], strict=True))


@given(frames=_FRAMES, cuts=st.lists(st.integers(min_value=0, max_value=2_000), max_size=30))
async def test_any_chunks_give_the_same_responses(frames: list[Frame], cuts: list[int]) -> None:
    whole = b"".join(map(written, frames))
    ends = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    stream = asyncio.StreamReader()
    read = asyncio.create_task(read_all(FrameReader(stream, limits=Limits(), patience=Patience())))
    for begin, end in pairwise(ends):
        stream.feed_data(whole[begin:end])
        # The reader takes each chunk by itself.
        await asyncio.sleep(0)
    stream.feed_eof()
    assert await read == frames


class TestRead:
    async def test_takes_thousands_of_lines_in_one_chunk(self) -> None:
        found = await read_all(reader(b"* 1 FETCH (UID 1)\r\n" * 5_000))
        assert len(found) == 5_000

    async def test_takes_a_line_of_megabytes(self) -> None:
        line = b"* SEARCH " + b"1234567 " * 600_000
        assert await read_all(reader(line + b"\r\n")) == [Frame((line,))]

    async def test_takes_line_ends_without_a_carriage_return(self) -> None:
        assert await read_all(reader(b"* 1 EXISTS\n* 2 EXISTS\r\n")) == [
            Frame((b"* 1 EXISTS",)),
            Frame((b"* 2 EXISTS",)),
        ]

    async def test_goes_on_after_a_literal(self) -> None:
        [frame] = await read_all(reader(b"* 1 FETCH (BODY[] {4}\r\na\r\nb UID 7)\r\n"))
        assert frame == Frame((b"* 1 FETCH (BODY[] ", b" UID 7)"), (b"a\r\nb",))

    @pytest.mark.parametrize("line", [b"* OK see {3}", b"A7 NO it {12}", b"* BYE {1}", b"+ go {2}", b"* no [X] {9}"])
    async def test_finds_no_literal_in_a_text_for_people(self, line: bytes) -> None:
        assert await read_all(reader(line + b"\r\n* 1 EXISTS\r\n")) == [Frame((line,)), Frame((b"* 1 EXISTS",))]

    async def test_writes_bodies_to_the_sink_and_keeps_other_literals(self) -> None:
        got: list[bytes] = []

        async def sink(piece: bytes) -> None:
            got.append(piece)

        frames = reader(b"* 1 FETCH (X {2}\r\nab BODY[] {6}\r\nsome", b"IT BODY[]<0> {0}\r\n)\r\n")
        frame = await frames.read(seconds=SECONDS, sink=sink)
        assert b"".join(got) == b"someIT"
        assert frame.literals == (b"ab", Streamed(6), Streamed(0))

    @pytest.mark.parametrize(
        "data", [b"", b"* 1 EX", b"* 1 FETCH (BODY[] {50}\r\nabc", b"* 1 FETCH (BODY[] {3}\r\nabc"]
    )
    async def test_notices_the_end_of_the_connection_at_once(self, data: bytes) -> None:
        with pytest.raises(ConnectionLostError, match="closed"):
            await reader(data).read(seconds=SECONDS)

    @pytest.mark.parametrize("data", [b"", b"* 1 EX", b"* 1 FETCH (BODY[] {50}\r\nabc"])
    async def test_does_not_wait_for_ever(self, data: bytes) -> None:
        frames = reader(data, ends=False, patience=Patience(next=0.01))
        with pytest.raises(SilenceError):
            await frames.read(seconds=0.01)

    async def test_has_no_limit_of_time_for_what_flows(self) -> None:
        stream = asyncio.StreamReader()
        frames = FrameReader(stream, limits=Limits(), patience=Patience(next=1.0))
        read = asyncio.create_task(frames.read(seconds=1.0))
        stream.feed_data(b"* 1 FETCH (BODY[] {60}\r\n")
        # The passing of time itself is tested, on machines that stop a process for half a second, too.
        began = asyncio.get_running_loop().time()
        for _ in range(60):
            await asyncio.sleep(0.02)
            stream.feed_data(b"x")
        stream.feed_data(b")\r\n")
        assert (await read).literals == (b"x" * 60,)
        assert asyncio.get_running_loop().time() - began > 1.0

    @pytest.mark.parametrize(
        "data",
        [
            b"* 1 FETCH (BODY[] {99999999999}\r\n",
            b"* 1 FETCH (BODY[] {150}\r\n",
            b"* 1 FETCH (X {60}\r\n" + b"x" * 60 + b" Y {90}\r\n",
            b"* " + b"x" * 200,
            b"* " + b"x" * 200 + b"\r\n",
        ],
    )
    async def test_refuses_what_exceeds_a_limit_before_it_comes(self, data: bytes) -> None:
        with pytest.raises(FramingError):
            await reader(data, ends=False, limits=Limits(line=150, answer=160 + RESPONSE_BYTES)).read(seconds=SECONDS)

    async def test_bounds_an_answer_of_many_responses(self) -> None:
        frames = reader(b"* 1 EXISTS\r\n" * 20, limits=Limits(answer=10 * (10 + RESPONSE_BYTES)))
        for _ in range(10):
            read = await frames.read(seconds=SECONDS)
        with pytest.raises(FramingError):
            await frames.read(seconds=SECONDS)
        frames.forget(read)
        await frames.read(seconds=SECONDS)
        frames.begin_answer()
        await frames.read(seconds=SECONDS)

    async def test_bounds_an_answer_of_line_ends(self) -> None:
        frames = reader(b"\r\n" * 20, limits=Limits(answer=10 * RESPONSE_BYTES))
        for _ in range(10):
            await frames.read(seconds=SECONDS)
        with pytest.raises(FramingError):
            await frames.read(seconds=SECONDS)

    async def test_refuses_a_streamed_literal_beyond_its_limit(self) -> None:
        async def sink(_: bytes) -> None:
            raise AssertionError

        with pytest.raises(FramingError):
            await reader(b"* 1 FETCH (BODY[] {4294967296}\r\n", ends=False).read(seconds=SECONDS, sink=sink)
