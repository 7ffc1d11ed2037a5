"""Paragraphs of `format=flowed` text, whose lines were broken for the way (RFC 3676 section 4)."""

import re

_SIGNATURE = "-- "
# A line that is flowed, quoted or stuffed.
_UNUSUAL_LINE = re.compile(r" (?:\n|\Z)|(?:\A|\n)[> ]")


def join_flowed(text: str, *, delete_space: bool = False) -> str:
    """Join flowed lines and remove space-stuffing; quoted lines keep their depth.

    An empty line stays one, though it would end a paragraph whose last line is flowed by mistake. `delete_space` is
    DelSp=yes: the space that marks a flowed line is no part of the text.
    """
    if not _UNUSUAL_LINE.search(text):
        return text
    lines: list[str] = []
    paragraph: list[str] = []
    open_depth = 0
    for line in text.split("\n"):
        content = line.lstrip(">")
        depth = len(line) - len(content)
        content = content.removeprefix(" ")
        if depth != open_depth or content in ("", _SIGNATURE):
            _close(lines, paragraph, open_depth)
        is_flowed = content.endswith(" ") and content != _SIGNATURE
        paragraph.append(content[:-1] if is_flowed and delete_space else content)
        open_depth = depth
        if not is_flowed:
            _close(lines, paragraph, depth)
    _close(lines, paragraph, open_depth)
    return "\n".join(lines)


def _close(lines: list[str], paragraph: list[str], depth: int) -> None:
    """Move the open paragraph, if any, to the lines. A flowed line without a successor loses its space."""
    if not paragraph:
        return
    text = "".join(paragraph)
    if text != _SIGNATURE:
        text = text.removesuffix(" ")
    lines.append(f"{'>' * depth} {text}" if depth and text else ">" * depth + text)
    paragraph.clear()
