"""One entry of an address header: a name and an address in brackets, a bare address, or several for lack of commas.

Source: RFC 5322 sections 3.4 and 4.4; appendix A.5 and A.6 for comments and space within addresses.
"""

import re
from collections.abc import Iterator

from services.mail.content.headers.comments import blank_comments, split_comments
from services.mail.content.headers.encoded_words import decode_words
from services.mail.content.model import Address
from services.mail.content.text.clean import clean_line

QUOTED = re.compile(r'"((?:[^"\\]++|\\.)*+)"', re.DOTALL)
_USUAL = re.compile(r'\s*(?:([^"<>@,;:()\\\[\]]*+)|"([^"\\<>@]*+)"\s*)<([^\s"<>@,;:()\\]++@[^\s"<>@,;:()\\\[]++)>\s*')
_BARE = re.compile(r'\s*([^\s"\'<>@,;:()\\\[\]][^\s"<>@,;:()\\\[\]]*+@[^\s"<>@,;:()\\\[\]]++)\s*')
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_ANGLE = re.compile(r"<([^<>]*)>?")
_SPACE_AROUND_AT = re.compile(r"\s*@\s*")
_SPACE_AROUND_DOT = re.compile(r"\s*\.\s*")
# Behind a dot in a name (`Dr. ann@example.com`) the next word is no part of the address.
_SPACE_BEFORE_DOT = re.compile(r"\s+\.\s*")
_DOMAIN = re.compile(r"@(?:\S+\.\s+)+\S")
_WORD = re.compile(r'(?:"(?:[^"\\]++|\\.)*+"|\S)++', re.DOTALL)
_SEPARATOR = re.compile(r"[,;]\s*|(?<!\s)\s+(?=\S*@)")
_ROUTE = re.compile(r"^@[^:<>\s]*:(?=.*@)")
_SEPARATING = re.compile(r"[:;]")
_LITERAL = re.compile(r"@\[[^\[\]\s]*\]$")
# An empty group that a server completed with its own name: `undisclosed-recipients:;@mx.example.com`.
_EMPTY_GROUP = re.compile(r'(?:"[^"]*:\s*;?\s*"|[^"@]*:\s*;?)\s*(?:@|$)')


def parse_usual(entry: str) -> Address | None:
    """Read an entry in one of the usual forms: `Ann <ann@example.com>`, `"Ann" <...>`, `ann@example.com`."""
    usual = _USUAL.fullmatch(entry)
    if usual:
        name, quoted_name, email = usual.groups()
        return Address(_clean_name(name if quoted_name is None else quoted_name), clean_line(email))
    bare = _BARE.fullmatch(entry)
    return Address("", clean_line(bare.group(1))) if bare else None


def parse_mailbox(entry: str) -> Iterator[Address]:
    """Read the mailboxes of one entry: none for a comment or an empty group, several where a comma is missing."""
    usual = parse_usual(entry)
    if usual:
        yield usual
    else:
        yield from _parse_unusual(entry)


def _parse_unusual(entry: str) -> Iterator[Address]:
    structure = QUOTED.sub(lambda quoted: " " * len(quoted.group()), blank_comments(entry))
    angles = [match for match in _ANGLE.finditer(structure) if match.group(1).strip()]
    addressed = [match for match in angles if "@" in match.group(1)]
    if addressed:
        yield from _parse_angles(entry, addressed)
    elif not angles or "@" in structure[angles[-1].end() :]:
        yield from _parse_bare(entry.replace("<", " ").replace(">", " "))
    else:
        yield from _addresses(_read_name(entry[: angles[-1].start()]), entry[slice(*angles[-1].span(1))])


def _parse_angles(entry: str, angles: list[re.Match[str]]) -> Iterator[Address]:
    """Read addresses in brackets. A name stands before its address, or behind: as a comment, or at the end."""
    position = 0
    following = [angle.start() for angle in angles[1:]]
    for angle, end in zip(angles, [*following, len(entry)], strict=True):
        name = _read_name(_skip_comment(entry[position : angle.start()]) if position else entry[: angle.start()])
        position = angle.end()
        behind, comments = split_comments(entry[position:end])
        if not name:
            name = _read_name(" ".join(comments))
        if not name and end == len(entry) and "@" not in behind and any(map(str.isalnum, behind)):
            name = _read_name(behind)
        yield from _addresses(name, entry[slice(*angle.span(1))])
    if "@" in (behind := split_comments(entry[position:])[0]):
        yield from _parse_bare(behind)


def _skip_comment(text: str) -> str:
    """Drop the comment in front of a name: it belongs to the address before."""
    return split_comments(text)[0] if text.lstrip().startswith("(") else text


def _parse_bare(entry: str) -> Iterator[Address]:
    """Read an entry without brackets: `email (name)`, emails, `name email`, or a name alone."""
    text, comments = split_comments(entry)
    if not _WORD.search(text):
        return
    if "@" not in text:
        yield from _addresses(_read_name(entry), "")
        return
    text = _SPACE_BEFORE_DOT.sub(".", _SPACE_AROUND_AT.sub("@", text))
    text = _DOMAIN.sub(lambda domain: _SPACE_AROUND_DOT.sub(".", domain.group()), text)
    words = _WORD.findall(text)
    emails = [word for word in words if "@" in QUOTED.sub("", word)] or [word for word in words if "@" in word][:1]
    behind = split_comments(entry.rpartition("@")[2])[1]
    if len(emails) == 1:
        name = " ".join(behind) or " ".join(word for word in words if word != emails[0]) or " ".join(comments)
        yield from _addresses(_read_name(name), emails[0])
        return
    before: list[str] = []
    for word in words:
        if word in emails:
            yield from _addresses(_read_name(" ".join(before)), word)
            before = []
        else:
            before.append(word)


def _addresses(name: str, written: str) -> Iterator[Address]:
    """Read the addresses in a pair of brackets, or in a word: nearly always one. Without any, the name alone."""
    text = _ROUTE.sub("", split_comments(clean_line(written))[0].strip())
    if _EMPTY_GROUP.match(text):
        return
    text = _SPACE_AROUND_DOT.sub(".", _SPACE_AROUND_AT.sub("@", text))
    parts = _SEPARATOR.split(text) if text.count("@") > 1 and '"' not in text else [text]
    emails = [email for part in parts if (email := _read_email(part)) and not email.startswith("@")]
    for email in emails:
        is_address = email.startswith('"') or not _SEPARATING.search(_LITERAL.sub("", email))
        yield Address(name, email) if is_address else Address(name or _clean_name(email), "")
    if name and not emails:
        yield Address(name, "")


def _read_email(text: str) -> str:
    email = text.strip("<> ,;'").removeprefix("[").removeprefix("mailto:")
    if email.endswith("]") and "[" not in email:
        email = email[:-1]
    return email.strip('"') if email.startswith('"') and '"@' not in email else email


def _read_name(text: str) -> str:
    text = text.strip().rstrip("< ")
    if text == ">":
        return ""
    if '"' in text:
        text = QUOTED.sub(lambda quoted: _QUOTED_PAIR.sub(r"\1", quoted.group(1)), text)
    return _clean_name(text)


def _clean_name(text: str) -> str:
    name = clean_line(decode_words(text))
    return name.strip("'") if text.startswith("'") else name
