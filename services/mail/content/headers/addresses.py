"""Address headers (RFC 5322 section 3.4), read leniently and in linear time.

The structure is read before encoded words are decoded, so that a comma or bracket inside a word separates nothing.
"""

import re
from collections.abc import Iterator

from services.mail.content.headers.encoded_words import ENCODED_WORD, decode_words
from services.mail.content.model import Address
from services.mail.content.text.clean import clean_line

_USUAL = re.compile(r'\s*(?:([^"<>@,;:()\\\[\]]*+)|"([^"\\<>@]*+)"\s*)<([^\s"<>@,;:()\\]++@[^\s"<>@,;:()\\]++)>\s*')
_BARE = re.compile(r'\s*([^\s"<>@,;:()\\]++@[^\s"<>@,;:()\\]++)\s*')
_TOKEN = re.compile(r'=\?|\\.|[",;:()<]', re.DOTALL)
_QUOTED = re.compile(r'"((?:[^"\\]++|\\.)*+)"', re.DOTALL)
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_NO_EMAIL = re.compile(r'^[^"]*[:;]')
_SPACE_AROUND_AT = re.compile(r" ?@ ?")
_ROUTE = re.compile(r"^@[^:<>\s]*:(?=.*@)")
_COMMENT = re.compile(r"\(([^()]*)\)")
_PARENTHESIS = re.compile(r"[()]")
_DEEPEST_COMMENT = 20
# No real name, quoted string, comment or address is longer; looking no further keeps hostile headers linear.
_LONGEST_ITEM = 2000
_MOST_COMMAS_IN_NAME = 3


def parse_addresses(value: str) -> tuple[Address, ...]:
    """Every mailbox that an address header names, groups resolved, in order. Never fails.

    A name without an address gives an `Address` with an empty `email`. A comma in an unquoted display name
    (`Doe, John <john@example.com>`) does not split it.
    """
    usual = _USUAL.fullmatch(value)
    if usual:
        name = usual.group(1) if usual.group(2) is None else usual.group(2)
        return (Address(clean_line(decode_words(name)), clean_line(usual.group(3))),)
    bare = _BARE.fullmatch(value)
    if bare:
        return (Address("", clean_line(bare.group(1))),)
    return tuple(_join_split_names(list(_split(value))))


def _split(value: str) -> Iterator[str]:
    """The header's text between its separators; names of groups are left out. `,` is kept at the end of an item."""
    start = position = 0
    has_angle = False
    while token := _TOKEN.search(value, position):
        kind, position = token.group(), token.end()
        if kind in ",;":
            yield value[start : token.start()] + (kind if kind == "," else "")
            start, has_angle = position, False
        elif kind == ":" and not has_angle and value.find("@", start, token.start()) < 0:
            start = position
        elif kind == "<":
            has_angle = True
            position = _skip_angle(value, position)
        else:
            position = _skip(value, token)
    yield value[start:]


def _skip(value: str, token: re.Match[str]) -> int:
    """Where the quoted string, encoded word or comment that starts at `token` ends; just behind it if it never does."""
    if token.group() == '"':
        quoted = _QUOTED.match(value, token.start(), token.start() + _LONGEST_ITEM)
        return quoted.end() if quoted else token.end()
    if token.group() == "=?":
        word = ENCODED_WORD.match(value, token.start())
        return word.end() if word else token.end()
    return _skip_comment(value, token.end()) if token.group() == "(" else token.end()


def _skip_angle(value: str, position: int) -> int:
    end = value.find(">", position, position + _LONGEST_ITEM)
    return end + 1 if end >= 0 and "<" not in value[position:end] else position


def _skip_comment(value: str, position: int) -> int:
    depth = 1
    end = position
    while depth and (match := _PARENTHESIS.search(value, end, position + _LONGEST_ITEM)):
        depth += 1 if match.group() == "(" else -1
        end = match.end()
        if depth > _DEEPEST_COMMENT:
            return end
    return position if depth else end


def _join_split_names(items: list[str]) -> Iterator[Address]:
    """Addresses of the items; one with neither address nor brackets before a comma starts the next item's name."""
    pending: list[str] = []
    for item in items:
        if _is_name_only(item):
            pending.append(item)
            continue
        joined = pending[-_MOST_COMMAS_IN_NAME:] if "<" in item else []
        yield from (address for name in pending[: len(pending) - len(joined)] for address in _parse_item(name))
        yield from _parse_item("".join((*joined, item)))
        pending = []
    yield from (address for name in pending for address in _parse_item(name))


def _is_name_only(item: str) -> bool:
    return "@" not in item and "<" not in item


def _parse_item(item: str) -> Iterator[Address]:
    item = item[-_LONGEST_ITEM:].strip().rstrip(",").rstrip()
    start = _find_angle(item)
    if start < 0:
        name, email = _split_bare(item)
    else:
        name = _read_name(item[:start] if item[:start].strip("< ") else "")
        inside = item[start:].strip("<> \t\r\n").partition(">")[0]
        email = _read_email(inside)
        if _NO_EMAIL.search(email):
            name, email = name or _read_name(inside), ""
    if name or email:
        yield Address(name, email)


def _find_angle(item: str) -> int:
    """Where the address in angle brackets starts: the last bracket with an @ behind it, else the last one."""
    outside = _QUOTED.sub(lambda quoted: " " * len(quoted.group()), item)
    angle = outside.rfind("<")
    if angle < 0 or "@" in outside[angle:]:
        return angle
    at = outside.rfind("@", 0, angle)
    earlier = outside.rfind("<", 0, at) if at >= 0 else -1
    return earlier if earlier >= 0 else angle


def _split_bare(item: str) -> tuple[str, str]:
    """An item without angle brackets: `email (name)`, an email, or a name alone."""
    if "@" not in item:
        return _read_name(item), ""
    comments = " ".join(_COMMENT.findall(item))
    words = _COMMENT.sub(" ", item).split()
    email = next((word for word in words if "@" in word), "")
    rest = comments or " ".join(word for word in words if word != email)
    if not email or (email.count('"') % 2 and '"' in rest):
        return _read_name(comments), _read_email(_COMMENT.sub("", item))
    return _read_name(rest), _read_email(email)


def _read_name(text: str) -> str:
    text = text.strip()
    if '"' in text:
        text = _QUOTED.sub(lambda quoted: _QUOTED_PAIR.sub(r"\1", quoted.group(1)), text)
    return clean_line(decode_words(text)).strip("'") if text.startswith("'") else clean_line(decode_words(text))


def _read_email(text: str) -> str:
    email = _ROUTE.sub("", clean_line(text)).removeprefix("mailto:").strip("<> ,;'")
    if email.startswith('"') and '"@' not in email:
        email = email.strip('"')
    return _SPACE_AROUND_AT.sub("@", email)
