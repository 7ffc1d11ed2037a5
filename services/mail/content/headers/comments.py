"""Comments in header values (RFC 5322 section 3.2.2): they nest, and may stand between any two tokens."""

import re

_MARK = re.compile(r'"(?:[^"\\]++|\\.)*+"|\\.|[()]', re.DOTALL)


def split_comments(value: str) -> tuple[str, list[str]]:
    """Replace each comment by a space; return the comments' texts too. One that is never closed counts.

    A parenthesis in a quoted string, or behind a backslash, is none.
    """
    if "(" not in value:
        return value, []
    kept: list[str] = []
    comments: list[str] = []
    position = 0
    for start, end in _find_comments(value):
        kept.append(value[position:start])
        comments.append(value[start + 1 : end].removesuffix(")"))
        position = end
    return " ".join((*kept, value[position:])), comments


def blank_comments(value: str) -> str:
    """Replace each comment by as many spaces as it has characters, so that positions stay."""
    if "(" not in value:
        return value
    for start, end in _find_comments(value):
        value = value[:start] + " " * (end - start) + value[end:]
    return value


def _find_comments(value: str) -> list[tuple[int, int]]:
    """Return where the outermost comments start and end, parentheses included."""
    found = []
    depth = start = 0
    for mark in _MARK.finditer(value):
        if mark.group() == "(":
            start = start if depth else mark.start()
            depth += 1
        elif mark.group() == ")" and depth:
            depth -= 1
            if not depth:
                found.append((start, mark.end()))
    return [*found, (start, len(value))] if depth else found
