"""What commands print: tables for people, JSON for programs."""

import json
import re
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mailroom_client.models import Model
    from rich.console import RenderableType

    # An answer of the API, or one of the command's own.
    type Answer = Model | Mapping[str, str | None]

# Control characters but line breaks and tabs, explicit changes of direction, halves of characters. Joiners and soft
# hyphens belong to the text.
_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# Columns between two columns of a table, and of a text that is cut at least.
_GAP, _SHORTEST = 3, 10


@dataclass(frozen=True, slots=True)
class Output:
    """Prints answers; with `as_json` exactly as the API words them, one document or one line each."""

    as_json: bool

    def one(self, answer: "Model", lines: Mapping[str, object]) -> None:
        """Print one answer: JSON, or its lines as "name  value"."""
        if self.as_json:
            self.document(answer)
            return
        known = {name: value for name, value in lines.items() if value is not None}
        width = max(map(len, known), default=0)
        for name, value in known.items():
            self.text(f"{name:<{width}}  {shown(value)}")

    def many(
        self,
        answers: Iterable["Model"],
        columns: Sequence[str],
        rows: Iterable[Sequence[object]],
        *,
        cut: Collection[str] = (),
    ) -> None:
        """Print a list: JSON lines, or a table. Where a terminal is narrow, columns in `cut` are shortened."""
        if self.as_json:
            for answer in answers:
                self.line(answer)
            return
        cells = [[printable(shown(cell)) for cell in row] for row in rows]
        if cells:
            _print_table(columns, cells, cut)
        else:
            self.note("nothing found")

    def receipt(self, **facts: str) -> None:
        """Print for programs what was done, where the API answers nothing. People see that nothing failed."""
        if self.as_json:
            self.document(facts)

    def document(self, answer: "Answer") -> None:
        """Print an answer as an indented JSON document."""
        self._exact(json.dumps(json.loads(_json(answer)), indent=2, ensure_ascii=False))

    def line(self, answer: "Answer") -> None:
        """Print an answer as a line of JSON, at once."""
        self._exact(_json(answer))

    def text(self, text: str) -> None:
        """Print text as it is, at once."""
        sys.stdout.write(f"{printable(text)}\n")
        sys.stdout.flush()

    def _exact(self, text: str) -> None:
        """Print JSON. What cannot be printed stands in strings only, and is escaped there: the values stay."""
        shown = (char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text)
        sys.stdout.write(f"{''.join(shown)}\n")
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """Tell the user something that is no part of the answer."""
        sys.stderr.write(f"{printable(text)}\n")


def shown(value: object) -> str:
    """Return a value as people read it: times in the local zone, nothing as a dash."""
    if value is None or value == "":
        return "-"
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M")
    return str(value)


def printable(text: str) -> str:
    """Return text without control characters and changes of direction: mail must not steer the reader's terminal."""
    return _STEERING.sub("\N{REPLACEMENT CHARACTER}", text)


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], cut: Collection[str]) -> None:
    """Print a table of a line per row; in a terminal that is too narrow for it a paragraph per row."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # rich reads NO_COLOR; where the output is no terminal nothing is cut.
    console = Console(width=None if sys.stdout.isatty() else 10_000, highlight=False, markup=False, emoji=False)
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    needed = 0
    for index, name in enumerate(columns):
        table.add_column(name, no_wrap=name not in cut)
        widest = max(Text(row[index]).cell_len for row in rows)
        needed += _GAP + max(len(name), min(widest, _SHORTEST) if name in cut else widest)
    for row in rows:
        # A text that is cut stays one line.
        table.add_row(*(Text(cell, no_wrap=True, overflow="ellipsis") for cell in row))
    console.print(table if needed - _GAP <= console.width else _paragraphs(columns, rows, cut))


def _paragraphs(columns: Sequence[str], rows: Sequence[Sequence[str]], cut: Collection[str]) -> "RenderableType":
    """Return each row as lines of "name  value". Values that cannot be cut continue on the next line."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    width = max(map(len, columns))
    paragraphs: list[RenderableType] = []
    for row in rows:
        grid = Table.grid(padding=(0, 2))
        grid.add_column(width=width)
        grid.add_column(overflow="fold")
        for name, cell in zip(columns, row, strict=True):
            is_cut = name in cut
            grid.add_row(name, Text(cell, no_wrap=is_cut, overflow="ellipsis" if is_cut else "fold"))
        paragraphs += [grid, Text("")]
    return Group(*paragraphs[:-1])


def _json(answer: "Answer") -> str:
    if isinstance(answer, Mapping):
        return json.dumps(answer, ensure_ascii=False)
    return answer.model_dump_json(by_alias=True, exclude_unset=True)
