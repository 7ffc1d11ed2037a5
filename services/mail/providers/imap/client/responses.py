"""Responses by kind: data, statuses, continuations (RFC 9051, section 7)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from services.mail.providers.imap.client.errors import MalformedResponseError
from services.mail.providers.imap.client.frames import Frame
from services.mail.providers.imap.client.values import Value, values_of

UNTAGGED: Final = b"*"
_STATUS: Final = re.compile(
    rb"(?P<tag>\S+) (?P<kind>OK|NO|BAD|BYE|PREAUTH)(?: (?:\[(?P<code>[^\s\]]+)(?: (?P<argument>[^\]]*))?\] ?)?"
    rb"(?P<text>.*))?",
    re.IGNORECASE | re.DOTALL,
)
_DATA: Final = re.compile(rb"\* (?:(?P<number>\d{1,10}) )?(?P<name>[^\s\[(]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A status response, tagged or not. `kind`, and `code` with its `argument` in brackets, are in upper case."""

    tag: bytes
    kind: str
    code: str = ""
    argument: bytes = b""
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Untagged data: its name in upper case, and the number before it, as in `* 12 FETCH (...)`.

    `end` is where the name ends in the first text."""

    name: str
    number: int | None
    frame: Frame
    end: int

    def values(self) -> list[Value]:
        """Return the values after the name. Raises MalformedResponseError."""
        return values_of(self.frame, start=self.end)


@dataclass(frozen=True, slots=True)
class Continuation:
    """The server waits for the client: `+` with a text."""

    text: bytes


type Response = Data | Status | Continuation


def response_of(frame: Frame) -> Response:
    """Return a response by its kind. Raises MalformedResponseError."""
    first = frame.texts[0]
    if first.startswith(b"+"):
        return Continuation(first[1:].strip())
    if status := _STATUS.fullmatch(first):
        return Status(
            tag=status["tag"],
            kind=_upper(status["kind"]),
            code=_upper(status["code"] or b""),
            argument=status["argument"] or b"",
            text=(status["text"] or b"").decode("utf-8", "replace"),
        )
    if data := _DATA.match(first):
        number = None if data["number"] is None else int(data["number"])
        return Data(name=_upper(data["name"]), number=number, frame=frame, end=data.end())
    raise MalformedResponseError("no known kind of response")


def _upper(name: bytes) -> str:
    return name.decode("ascii", "replace").upper()


def names_in(argument: bytes) -> Sequence[str]:
    """Return the atoms of a code's argument in upper case, such as capabilities."""
    return [_upper(name) for name in argument.split()]
