"""The structure of a message without its contents: BODYSTRUCTURE (RFC 9051, section 7.5.2)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from services.mail.content.limits import DEPTH
from services.mail.providers.imap.client.errors import MalformedResponseError
from services.mail.providers.imap.client.values import Value, number_of, text_of

# Where the disposition stands in a part, by what comes before it.
_AFTER_SIZE: Final = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """A part: its section in requests, its type in lower case, and the bytes of its body as it is sent.

    A multipart has children and a boundary. The section of the message itself is empty.
    """

    section: str
    mime_type: str
    encoding: str = ""
    octets: int = 0
    disposition: str = ""
    boundary: bytes = b""
    children: tuple["Structure", ...] = field(default=())

    @property
    def is_multipart(self) -> bool:
        """Whether the part consists of others."""
        return self.mime_type.startswith("multipart/")

    @property
    def body_section(self) -> str:
        """The section of the part's body: a message with one part has its body as part 1."""
        return self.section or "1"

    def leaves(self) -> Iterator["Structure"]:
        """Yield the parts that are no multiparts, in order."""
        if self.is_multipart:
            for child in self.children:
                yield from child.leaves()
        else:
            yield self


def structure_of(value: Value) -> Structure:
    """Return the structure that a server describes. Raises MalformedResponseError."""
    return _part(value, section="", depth=0)


def _part(value: Value, *, section: str, depth: int) -> Structure:
    if not isinstance(value, list) or not value or depth > DEPTH:
        raise MalformedResponseError("no body structure")
    return _multipart(value, section, depth) if isinstance(value[0], list) else _leaf(value, section)


def _multipart(value: list[Value], section: str, depth: int) -> Structure:
    count = next((place for place, each in enumerate(value) if not isinstance(each, list)), len(value))
    rest = value[count:]
    boundary = _parameters(rest[1] if len(rest) > 1 else None).get("boundary", b"")
    if not rest or not boundary:
        raise MalformedResponseError("a multipart without its boundary")
    return Structure(
        section=section,
        mime_type=f"multipart/{_word(rest[0])}",
        boundary=boundary,
        children=tuple(
            _part(each, section=f"{section}.{number}" if section else str(number), depth=depth + 1)
            for number, each in enumerate(value[:count], start=1)
        ),
    )


def _leaf(value: list[Value], section: str) -> Structure:
    octets = number_of(value[6]) if len(value) > 6 else None
    if octets is None:
        raise MalformedResponseError("a part without its size")
    mime_type = f"{_word(value[0])}/{_word(value[1])}"
    more = {"text": 1, "message/rfc822": 3}
    place = _AFTER_SIZE + more.get(mime_type, more.get(_word(value[0]), 0)) + 1
    disposition = value[place] if len(value) > place else None
    return Structure(
        section=section,
        mime_type=mime_type,
        encoding=_word(value[5]),
        octets=octets,
        disposition=_word(disposition[0]) if isinstance(disposition, list) and disposition else "",
    )


def _word(value: Value) -> str:
    return (text_of(value) or b"").decode("ascii", "replace").lower()


def _parameters(value: Value) -> dict[str, bytes]:
    given = value if isinstance(value, list) else []
    return {_word(name): text_of(each) or b"" for name, each in zip(given[::2], given[1::2], strict=False)}
