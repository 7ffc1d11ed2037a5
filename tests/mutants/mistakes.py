"""Plausible mistakes, kept in mistakes.toml: what each changes in which file, and the tests that notice it."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

DATA = Path(__file__).with_name("mistakes.toml")


class StaleMistakeError(ValueError):
    """The text that a mistake replaces does not stand in its file exactly once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """A mistake of one or two lines; `survives` says why no test notices it, and is empty where one does."""

    name: str
    file: str
    old: str
    new: str
    tests: Sequence[str]
    # Where it comes from: a list of gaps that were found once, or one's own choice.
    origin: str
    survives: str = ""

    def applied_to(self, text: str) -> str:
        """Return the file's text with the mistake in it. Raises StaleMistakeError."""
        found = text.count(self.old)
        if found != 1:
            raise StaleMistakeError(f"{self.name}: {self.file} has {found} times: {self.old}")
        return text.replace(self.old, self.new)


def read(data: Path = DATA) -> list[Mistake]:
    """Read all mistakes in the order of the file."""
    return [Mistake(**entry) for entry in tomllib.loads(data.read_text(encoding="utf-8"))["mistake"]]
