"""Commands, built from checked arguments only: no name can end a command or start another one."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from services.mail.providers.imap.client.errors import UnsafeArgumentError

_ATOM: Final = re.compile(rb"[A-Za-z0-9!#$&'+,./:;<=>?@^_`|~\-\[\]\\]+")
_FORBIDDEN: Final = re.compile(rb"[\x00\r\n]")
_NOT_QUOTED: Final = re.compile(rb"[^\x01-\x09\x0b\x0c\x0e-\x7f]")


@dataclass(frozen=True, slots=True)
class Argument:
    """Bytes of a command as they are sent, or a literal that follows its size."""

    value: bytes
    is_literal: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """A command without its tag. `name` stands in errors and logs.

    The server asks for each part but the first: a part ends with the size of the literal that begins the next one.
    """

    name: str
    parts: tuple[bytes, ...]


def atom(text: str | bytes) -> Argument:
    """Return a name of the protocol, a number or a set as it is. Raises UnsafeArgumentError."""
    value = text.encode("ascii") if isinstance(text, str) else text
    if not _ATOM.fullmatch(value):
        raise UnsafeArgumentError("no atom")
    return Argument(value)


def sequence(text: str) -> Argument:
    """Return a set of UIDs as it is. Raises UnsafeArgumentError."""
    if not re.fullmatch(r"[0-9:,]+", text):
        raise UnsafeArgumentError("no set of numbers")
    return Argument(text.encode())


def string(value: bytes) -> Argument:
    """Return a quoted string, or a literal for bytes that no quoted string can have. Raises UnsafeArgumentError."""
    if _FORBIDDEN.search(value):
        raise UnsafeArgumentError("a line end or NUL in a string")
    if _NOT_QUOTED.search(value):
        return Argument(value, is_literal=True)
    return Argument(b'"' + value.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"')


def group(items: Iterable[Argument]) -> Argument:
    """Return a list in parentheses. Raises UnsafeArgumentError for literals."""
    listed = list(items)
    if any(item.is_literal for item in listed):
        raise UnsafeArgumentError("a literal in a list")
    return Argument(b"(" + b" ".join(item.value for item in listed) + b")")


def command(name: str, *arguments: Argument) -> Command:
    """Return a command of these arguments; `name` may have several words, as in UID FETCH."""
    line = name.encode("ascii")
    parts: list[bytes] = []
    for argument in arguments:
        if argument.is_literal:
            parts.append(line + b" {%d}" % len(argument.value))
            line = argument.value
        else:
            line += b" " + argument.value
    return Command(name, (*parts, line))
