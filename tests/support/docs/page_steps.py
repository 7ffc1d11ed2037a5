"""What a page of docs/ tells its reader to do, block by block."""

import re
import shlex
from dataclasses import dataclass

from tests.support.checkout import Checkout

# A fenced block; the line above it can name a file.
_BLOCK = re.compile(r"(?:^`(?P<file>[\w./]+)`\n\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Step:
    """A new file, a change of a file (`diff`), or commands (`sh`)."""

    file: str
    language: str
    text: str

    def take(self, checkout: Checkout) -> None:
        """Does it. A file that an earlier command wrote has to be as the page shows it."""
        match self.language:
            case "sh":
                for line in self.text.splitlines():
                    _run(checkout, line)
            case "diff":
                for hunk in self.text.split("@@\n"):
                    _change(checkout, self.file, hunk)
            case _:
                path = checkout.path / self.file
                if path.exists():
                    assert path.read_text(encoding="utf-8") == self.text, self.file
                path.write_text(self.text, encoding="utf-8")


def steps_of(page: str, *, section: str) -> list[Step]:
    """The steps of a section (`## ...`) of a page."""
    [text] = re.findall(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    return [Step(block["file"] or "", block["language"], block["text"]) for block in _BLOCK.finditer(text)]


def prose_of(page: str) -> str:
    """A page without the files, and the changes of files, that it shows."""
    return _BLOCK.sub(lambda block: "" if block["file"] else block[0], page)


def _run(checkout: Checkout, line: str) -> None:
    make, target, *variables = shlex.split(line)
    assert make == "make", line
    done = checkout.make(target, **dict(variable.split("=", 1) for variable in variables))
    assert done.returncode == 0, done.stdout + done.stderr


def _change(checkout: Checkout, file: str, hunk: str) -> None:
    lines = hunk.splitlines(keepends=True)
    old = "".join(line[1:] for line in lines if line[0] in " -")
    new = "".join(line[1:] for line in lines if line[0] in " +")
    if old:
        checkout.replace(file, old, new)
    else:
        path = checkout.path / file
        path.write_text(path.read_text(encoding="utf-8") + new, encoding="utf-8")
