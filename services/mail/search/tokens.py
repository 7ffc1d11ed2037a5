"""A query cut into tokens, each with its column."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from services.kit.errors import AppError, Kind


class Sign(Enum):
    """The kind of a token."""

    OPEN = auto()
    CLOSE = auto()
    OPEN_ANY = auto()
    CLOSE_ANY = auto()
    NOT = auto()
    AND = auto()
    OR = auto()
    OPERATOR = auto()
    WORD = auto()
    PHRASE = auto()
    END = auto()


@dataclass(frozen=True, slots=True)
class Token:
    """One token; `column` counts characters from 1."""

    sign: Sign
    text: str
    column: int


_BRACKETS = {"(": Sign.OPEN, ")": Sign.CLOSE, "{": Sign.OPEN_ANY, "}": Sign.CLOSE_ANY}
_KEYWORDS = {"AND": Sign.AND, "OR": Sign.OR}
_TOKEN = re.compile(
    r"""
    (?P<space>\s+)
    | (?P<bracket>[(){}])
    | (?P<not>-(?=[^\s)}]))
    | (?P<phrase>"[^"]*"|“[^"“”]*”)
    | (?P<open_quote>")
    | (?P<operator>[A-Za-z0-9_]+):
    | (?P<word>[^\s(){}"]+)
    """,
    re.VERBOSE,
)
_WORD = re.compile(r'[^\s(){}"]+')
# A name and right behind it a value; times, URLs and paths are none: `10:30`, `https://example.com`, `C:\\mail`.
_NAMED_VALUE = re.compile(r'[A-Za-z_]+:(?=["“(<{@*+\-\w])')


def tokenise(query: str, *, operators: frozenset[str]) -> Iterator[Token]:
    """Yield the tokens of a query, END last. A word with a colon that is not like an operator is a word: `10:30`.

    Raises AppError invalid_query, for an unknown operator too: as a word it would find nothing, without a reason.
    """
    at = 0
    while at < len(query):
        match = _TOKEN.match(query, at)
        assert match is not None  # noqa: S101 - every character begins one of the alternatives
        if match.lastgroup == "operator" and match["operator"].lower() not in operators:
            if _NAMED_VALUE.match(query, at):
                raise invalid_query(f"{match['operator']}: is no operator; text goes into quotation marks", at + 1)
            match = _WORD.match(query, at) or match
        if match.lastgroup == "open_quote":
            raise invalid_query("this quotation mark is not closed", at + 1)
        token = _token(match, at + 1)
        if token is not None:
            yield token
        at = match.end()
    yield Token(Sign.END, "", len(query) + 1)


def _token(match: re.Match[str], column: int) -> Token | None:
    match match.lastgroup:
        case "space":
            return None
        case "bracket":
            return Token(_BRACKETS[match.group()], match.group(), column)
        case "not":
            return Token(Sign.NOT, "-", column)
        case "phrase":
            return Token(Sign.PHRASE, match.group()[1:-1], column)
        case "operator":
            return Token(Sign.OPERATOR, match["operator"].lower(), column)
        case _:
            return Token(_KEYWORDS.get(match.group(), Sign.WORD), match.group(), column)


def invalid_query(problem: str, column: int) -> AppError:
    """Return the error that names a problem of a query and its column."""
    return AppError(
        Kind.INVALID,
        "invalid_query",
        f"The query is not understood at column {column}: {problem}.",
        {"column": str(column)},
    )
