"""Responses as bytes: lines and literals (RFC 9051, sections 2.2.2 and 4.3), read within limits of size and time."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from services.mail.providers.imap.client.errors import ConnectionLostError, FramingError, SilenceError

_CHUNK: Final = 65_536
_LITERAL: Final = re.compile(rb"~?\{(\d{1,20})\+?\}\Z")
# Texts for people end these responses, so that a brace in them begins no literal.
_ENDS_WITH_TEXT: Final = re.compile(rb"(?:\+|\S+ (?:OK|NO|BAD|BYE|PREAUTH)(?: |\Z))", re.IGNORECASE)
_BODY: Final = re.compile(rb"\b(?:BODY|BINARY)\[[^\]]*\](?:<\d+>)? \Z", re.IGNORECASE)

RESPONSE_BYTES: Final = 256
"""Counted for each line besides its own bytes, since many short ones take more memory than these."""

type Sink = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The largest line, the largest answer to a command in memory, and the largest literal for a sink, in bytes.

    A search that names a million messages is a line of 8 MB. Servers take messages of up to 150 MB.
    """

    line: int = 8 * 1024 * 1024
    answer: int = 64 * 1024 * 1024
    streamed: int = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds to wait: for a connection, for a response's first byte, for its next byte, for the end of IDLE.

    There is no limit for a response as a whole: a large message over a slow line is no failure.
    """

    connect: float = 15.0
    first: float = 30.0
    next: float = 60.0
    done: float = 10.0


@dataclass(frozen=True, slots=True)
class Streamed:
    """A literal that went to the sink."""

    size: int


type Literal = bytes | Streamed


@dataclass(frozen=True, slots=True)
class Frame:
    """A response without line ends. Each literal stands between two texts; the texts are one more."""

    texts: tuple[bytes, ...]
    literals: tuple[Literal, ...] = ()


class FrameReader:
    """Reads responses one by one. Its errors close the connection: see ConnectionLostError."""

    def __init__(self, stream: asyncio.StreamReader, *, limits: Limits, patience: Patience) -> None:
        self._stream = stream
        self._limits = limits
        self._patience = patience
        self._buffer = bytearray()
        self._room = limits.answer
        self._has_streamed = False

    def begin_answer(self) -> None:
        """Let another command have an answer of the full size, and one body for its sink."""
        self._room = self._limits.answer
        self._has_streamed = False

    def forget(self, frame: Frame) -> None:
        """Count a response of the answer no more: nothing of it is kept."""
        self._room += sum(len(text) + RESPONSE_BYTES for text in frame.texts)
        self._room += sum(len(literal) for literal in frame.literals if isinstance(literal, bytes))

    async def read(self, *, seconds: float, sink: Sink | None = None) -> Frame:
        """Return the next response, whose first byte may take `seconds`.

        With a `sink` literals of message bodies are not kept. The first one of an answer is written to it: servers may
        send a message twice.
        """
        texts: list[bytes] = []
        literals: list[Literal] = []
        while True:
            text = await self._line(seconds)
            seconds = self._patience.next
            self._spend(len(text) + RESPONSE_BYTES)
            found = None if not texts and _ENDS_WITH_TEXT.match(text) else _LITERAL.search(text)
            if found is None:
                return Frame((*texts, text), tuple(literals))
            texts.append(text[: found.start()])
            size = int(found[1])
            if sink is not None and _BODY.search(texts[-1]):
                literals.append(await self._stream_literal(size, _drop if self._has_streamed else sink))
                self._has_streamed |= size > 0
            else:
                self._spend(size)
                literals.append(await self._literal(size))

    async def _line(self, seconds: float) -> bytes:
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            if searched > self._limits.line:
                raise FramingError("a line exceeds the limit")
            await self._receive(seconds if searched == 0 else self._patience.next)
        if end > self._limits.line:
            raise FramingError("a line exceeds the limit")
        line = self._take(end + 1)
        return line[:-2] if line.endswith(b"\r\n") else line[:-1]

    async def _literal(self, size: int) -> bytes:
        while len(self._buffer) < size:
            await self._receive(self._patience.next)
        return self._take(size)

    async def _stream_literal(self, size: int, sink: Sink) -> Streamed:
        if size > self._limits.streamed:
            raise FramingError("a literal exceeds the limit")
        left = size
        while left:
            if not self._buffer:
                await self._receive(self._patience.next)
            piece = self._take(min(left, len(self._buffer)))
            left -= len(piece)
            await sink(piece)
        return Streamed(size)

    def _spend(self, size: int) -> None:
        if size > self._room:
            raise FramingError("an answer exceeds the limit")
        self._room -= size

    def _take(self, size: int) -> bytes:
        taken = bytes(memoryview(self._buffer)[:size])
        del self._buffer[:size]
        return taken

    async def _receive(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                data = await self._stream.read(_CHUNK)
        except TimeoutError as error:
            raise SilenceError(f"the server sent nothing for {seconds:g} s") from error
        except OSError as error:
            raise ConnectionLostError(type(error).__name__) from error
        if not data:
            raise ConnectionLostError("the server closed the connection")
        self._buffer += data


async def _drop(_: bytes) -> None:
    """Take bytes that nothing needs."""
