"""Text as terms, by the same rules for messages and for queries.

Postgres's own parser is not asked: it cuts addresses, numbers and hyphenated words in ways that differ between a text
and a query. docs/search.md describes these rules.
"""

import re
import string
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

LONGEST_WORD = 200
"""Letters of a word that are compared."""

# Written without spaces: Thai to Myanmar, Khmer, kana, Han, Hangul, and their extensions.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7af\uf900-\ufaff\U0001b000-\U0001b16f\U00020000-\U0003ffff"
)
# Hyphens and breaks that show only at the end of a line, and selectors of a letter's shape.
_UNSEEN = "\u00ad\u200b\u2060\ufe00-\ufe0f\ufeff\U000e0100-\U000e01ef"
# The vowel points of Hebrew and Arabic, which are rarely written.
_POINTS = "\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0640\u064b-\u065f\u0670"
# A mark (an accent, an Indic vowel) belongs to the letter before it, though \w does not include it.
_MARKS = "\u0300-\u036f\u0900-\u0903\u093a-\u094f\u0981-\u0983\u09bc-\u09d7\u0b82\u0bbe-\u0bd7" + _POINTS + _UNSEEN
# A word each.
_EMOJI = "\u2600-\u27bf\U0001f000-\U0001faff"
_RUN = re.compile(rf"([{_UNSPACED}]+)|((?:[^\W_{_UNSPACED}]|[{_MARKS}])+|[{_EMOJI}])")
# The same where nothing is unspaced: five times as fast.
_ANY_UNSPACED = re.compile(f"[{_UNSPACED}]")
_WORD = re.compile(rf"[\w{_MARKS}]+|[{_EMOJI}]")
# Letters of living Latin alphabets that Unicode does not decompose, as people type them on another keyboard.
_PLAIN = {
    "æ": "ae",
    "œ": "oe",
    "ø": "o",
    "ł": "l",
    "đ": "d",
    "ð": "d",
    "ħ": "h",
    "ı": "i",
    "ŋ": "n",
    "ŧ": "t",
    "þ": "th",
    "ɓ": "b",
    "ɖ": "d",
    "ɗ": "d",
    "ƒ": "f",
    "ǥ": "g",
    "ɨ": "i",
    "ƙ": "k",
    "ʉ": "u",
    "ƴ": "y",
    "ƶ": "z",
}
_NOT_PLAIN = re.compile(f"[{''.join(_PLAIN)}]")
_ACCENTS = re.compile(f"[\u0300-\u0305\u0307-\u036f{_POINTS}{_UNSEEN}]|\u0306(?<!и\u0306)")
_ASCII_WORDS = str.maketrans(
    string.ascii_uppercase + "".join(chr(code) for code in range(128) if not chr(code).isalnum()),
    string.ascii_lowercase + " " * sum(not chr(code).isalnum() for code in range(128)),
)


@dataclass(frozen=True, slots=True)
class Term:
    """A term of a query and its distance in terms from the first one. A prefix stands for all terms it begins."""

    value: str
    offset: int
    prefix: bool = False


def terms_of(text: str) -> list[str]:
    """Return the terms of a text in their order; the place of a term is its position.

    A word is a term, and so is an emoji. A run of a script without spaces gives a pair of letters per letter and the
    last letter alone.
    """
    if text.isascii():
        words = text.translate(_ASCII_WORDS).split()
        return words if len(max(words, key=len, default="")) <= LONGEST_WORD else [w[:LONGEST_WORD] for w in words]
    folded = fold(text)
    if not _ANY_UNSPACED.search(folded):
        return [word[:LONGEST_WORD] for word in _WORD.findall(folded)]
    found: list[str] = []
    for unspaced, word in _RUN.findall(folded):
        if unspaced:
            found += [unspaced[at : at + 2] for at in range(len(unspaced))]
        else:
            found.append(word[:LONGEST_WORD])
    return found


def query_terms(text: str, *, prefix: bool = False) -> list[Term]:
    """Return the terms by which a text contains this one, in a row. With `prefix` the last one may be longer."""
    found: list[Term] = []
    offset = 0
    for unspaced, word in _RUN.findall(fold(text)):
        if unspaced:
            found += _pairs(unspaced, offset)
            offset += len(unspaced)
        else:
            found.append(Term(word[:LONGEST_WORD], offset))
            offset += 1
    if prefix and found and len(found[-1].value) < LONGEST_WORD:
        found[-1] = Term(found[-1].value, found[-1].offset, prefix=True)
    return found


def _pairs(run: str, offset: int) -> Iterator[Term]:
    if len(run) == 1:
        yield Term(run, offset, prefix=True)
    for at in range(len(run) - 1):
        yield Term(run[at : at + 2], offset + at)


def runs_of(text: str, start: int = 0) -> Iterator[tuple[int, str]]:
    """Yield the words and unspaced runs of a text as written, each with its place; roughly those of `terms_of`."""
    for match in _RUN.finditer(text, start):
        yield match.start(), match.group()


def is_unspaced(run: str) -> bool:
    """Return whether a run of `runs_of` is of a script without spaces."""
    return _ANY_UNSPACED.match(run) is not None


def fold(text: str) -> str:
    """Return text without differences of case, width and accent: É is e, Ł is l, æ is ae, Ё is е; but Й stays й.

    Soft hyphens and other invisible characters are removed: they stand within words. _ becomes a space.
    """
    if text.isascii():
        return text.lower().replace("_", " ")
    folded = unicodedata.normalize("NFKC", text).casefold()
    folded = unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFD", folded)))
    return _NOT_PLAIN.sub(lambda letter: _PLAIN[letter.group()], folded).replace("_", " ")
