"""Text and HTML of a message from its blocks: each block is one text, given as plain text, as HTML, or as both."""

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.mail.content.text.html_text import html_to_text

_LONGEST_PLACEHOLDER = 400


@dataclass(slots=True)
class Block:
    """One text; None is a form that the sender did not give.

    `is_odd`: of a type that few readers know. `is_derived`: the plain form was derived from HTML; it is not derived
    again, however deep alternatives stand in alternatives.
    """

    plain: str | None = None
    html: str | None = None
    is_odd: bool = False
    is_derived: bool = False


def choose_alternative(alternatives: Sequence[list[Block]]) -> list[Block]:
    """Make one block of a multipart/alternative: the first that says something as plain text, the first as HTML.

    A form of an odd type counts only if no other is given.
    """
    usual = [blocks for blocks in alternatives if not any(block.is_odd for block in blocks)]
    given = usual if any(usual) else alternatives
    plains = [join_text(blocks) for blocks in given if all(map(_has_plain, blocks))]
    plain = _first([text for text, _ in plains])
    rich = _first([_join(blocks, _html_of) for blocks in given if any(map(_has_html, blocks))])
    is_derived = any(is_derived for text, is_derived in plains if text is plain)
    return [] if plain is None and rich is None else [Block(plain, rich, is_derived=is_derived)]


def join_text(blocks: list[Block]) -> tuple[str | None, bool]:
    """Join the text of all blocks; the second value says whether any of it is derived from HTML."""
    return _join(blocks, _plain_of), any(block.is_derived or _derives_text(block) for block in blocks)


def join_html(blocks: list[Block]) -> str | None:
    """Join the HTML of all blocks, plain ones included; None if none has any."""
    return _join(blocks, _html_of) if any(map(_has_html, blocks)) else None


def _first(texts: list[str | None]) -> str | None:
    """Choose the first text that is not blank; a blank one rather than none."""
    given = [text for text in texts if text is not None]
    return next((text for text in given if text.strip()), given[0] if given else None)


def _has_plain(block: Block) -> bool:
    return block.plain is not None


def _has_html(block: Block) -> bool:
    return block.html is not None


def _plain_of(block: Block) -> str | None:
    """Return a block as plain text: derived from the HTML if the plain text is missing or only points to the HTML."""
    return html_to_text(block.html or "") if _derives_text(block) else block.plain


def _derives_text(block: Block) -> bool:
    if block.html is None or block.is_derived:
        return False
    return block.plain is None or _is_placeholder(block.plain, block.html)


def _is_placeholder(plain: str, rich: str) -> bool:
    """Return whether the plain form is empty or only says that the mail is HTML."""
    if not plain.strip():
        return True
    return len(plain) <= _LONGEST_PLACEHOLDER and "html" in plain.lower() and len(rich) > 2 * len(plain)


def _html_of(block: Block) -> str | None:
    if block.html is not None or not block.plain or not block.plain.strip():
        return block.html
    return f'<pre style="white-space: pre-wrap">{html.escape(block.plain)}</pre>'


def _join(blocks: list[Block], form: Callable[[Block], str | None]) -> str | None:
    texts = [text for text in map(form, blocks) if text is not None]
    if len(texts) < 2:
        return texts[0] if texts else None
    return "\n".join(text.removesuffix("\n") for text in texts[:-1]) + "\n" + texts[-1]
