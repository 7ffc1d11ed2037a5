"""Flags and keywords of IMAP as labels of the sandbox's messages, and back."""

from collections.abc import Iterable

KEYWORD = "kw:"
_BY_LABEL = {"STARRED": "\\Flagged", "DRAFT": "\\Draft", "\\Answered": "\\Answered", "\\Deleted": "\\Deleted"}
_BY_FLAG = {flag.lower(): label for label, flag in _BY_LABEL.items() if label != "DRAFT"}


def flags_of(labels: frozenset[str]) -> list[str]:
    """Return the flags of a message with these labels."""
    flags = [] if "UNREAD" in labels else ["\\Seen"]
    flags += [_BY_LABEL[label] for label in sorted(labels) if label in _BY_LABEL]
    return flags + [label.removeprefix(KEYWORD) for label in sorted(labels) if label.startswith(KEYWORD)]


def change(flags: Iterable[str], *, add: bool) -> tuple[set[str], set[str]]:
    """Return the labels to add and to remove for flags that are set or cleared; \\Draft and \\Recent stay."""
    on, off = set[str](), set[str]()
    for flag in flags:
        lowered = flag.lower()
        if lowered == "\\seen":
            (off if add else on).add("UNREAD")
        elif lowered in _BY_FLAG:
            (on if add else off).add(_BY_FLAG[lowered])
        elif not flag.startswith("\\"):
            (on if add else off).add(KEYWORD + flag)
    return on, off


def replacement(labels: frozenset[str], flags: Iterable[str]) -> tuple[set[str], set[str]]:
    """Return the labels to add and to remove so that a message has exactly these flags."""
    wanted = set(flags)
    on, off = change(wanted, add=True)
    present = [flag for flag in flags_of(labels) if flag.lower() not in {name.lower() for name in wanted}]
    further_on, further_off = change(present, add=False)
    return on | further_on, off | further_off
