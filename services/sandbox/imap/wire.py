"""Commands as clients send them, and what is sent to clients (RFC 9051, sections 4 and 9)."""

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass

from services.sandbox.imap.errors import BadError, DisconnectError, MalformedCommandError

MAX_LINE = 64 * 1024
MAX_LITERALS = 64 * 1024 * 1024
_LITERAL = re.compile(rb"\{(\d{1,10})(\+?)\}\Z")
_TOKEN = re.compile(
    r'(?P<open>\()|(?P<close>\))|"(?P<quoted>(?:[^"\\]|\\.)*)"|\x00(?P<literal>\d+)\x00'
    r"|(?P<atom>[^\s()\"\x00\[]+(?:\[[^\]]*\](?:<[\d.]+>)?)?)|(?P<space>\s+)",
    re.DOTALL,
)

# An atom is a str, a quoted string or literal is bytes, a parenthesised list is a list.
type Token = str | bytes | list["Token"]


@dataclass(frozen=True, slots=True)
class Command:
    """A command with its arguments."""

    tag: str
    name: str
    arguments: list[Token]


class CommandReader:
    """Reads commands, in bounded memory; asks the client for synchronising literals."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def line(self) -> bytes:
        """Return the next line without its end. Raises DisconnectError at the end of the stream."""
        try:
            line = await self._reader.readuntil(b"\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            raise DisconnectError from None
        except asyncio.LimitOverrunError:
            raise DisconnectError("line too long") from None
        return line.removesuffix(b"\n").removesuffix(b"\r")

    async def command(self) -> Command:
        """Return the next command. Raises MalformedCommandError or DisconnectError."""
        text, literals = await self._parts()
        tag, _, rest = text.partition(" ")
        name, _, arguments = rest.partition(" ")
        if not tag or not tag.isascii() or not name:
            raise MalformedCommandError("malformed command")
        try:
            return Command(tag, name.upper(), parse(arguments, literals))
        except ValueError as error:
            raise MalformedCommandError(str(error), tag=tag) from None

    async def _parts(self) -> tuple[str, list[bytes]]:
        text, literals, total = "", list[bytes](), 0
        while True:
            line = await self.line()
            match = _LITERAL.search(line)
            if match is None:
                return text + line.replace(b"\x00", b"").decode("latin-1"), literals
            length = int(match[1])
            total += length
            if total > MAX_LITERALS:
                raise DisconnectError("literals too large")
            if not match[2]:
                self._writer.write(b"+ go ahead\r\n")
            text += line[: match.start()].replace(b"\x00", b"").decode("latin-1") + f"\x00{len(literals)}\x00"
            try:
                literals.append(await self._reader.readexactly(length))
            except (asyncio.IncompleteReadError, ConnectionError):
                raise DisconnectError from None


def parse(text: str, literals: list[bytes]) -> list[Token]:
    """Return the arguments of a command. Raises ValueError for malformed ones."""
    levels: list[list[Token]] = [[]]
    for match in _tokens(text):
        match match.lastgroup:
            case "open":
                levels.append([])
            case "close" if len(levels) > 1:
                closed = levels.pop()
                levels[-1].append(closed)
            case "quoted":
                levels[-1].append(re.sub(r"\\(.)", r"\1", match["quoted"]).encode("latin-1"))
            case "literal":
                levels[-1].append(literals[int(match["literal"])])
            case "atom":
                levels[-1].append(match["atom"])
            case "space":
                pass
            case _:
                raise ValueError("unbalanced parentheses")
    if len(levels) > 1:
        raise ValueError("unbalanced parentheses")
    return levels[0]


def _tokens(text: str) -> Iterator[re.Match[str]]:
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ValueError("malformed arguments")
        yield match
        position = match.end()


def atom(token: Token) -> str:
    """Return an atom or a string as text. Raises BadError for a list."""
    if isinstance(token, list):
        raise BadError("a list is not expected here")
    return token if isinstance(token, str) else token.decode("latin-1")


def string(value: bytes | None) -> bytes:
    """Return a string for a client: NIL, quoted, or a literal."""
    if value is None:
        return b"NIL"
    if len(value) < 1000 and not re.search(rb"[\x00-\x1f\x7f-\xff]", value):
        return b'"' + re.sub(rb'(["\\])', rb"\\\1", value) + b'"'
    return literal(value)


def literal(value: bytes) -> bytes:
    """Return a literal for a client."""
    return b"{%d}\r\n%b" % (len(value), value)
