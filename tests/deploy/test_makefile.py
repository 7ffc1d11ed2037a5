"""`make format`."""

from pathlib import Path

import pytest

from tests.support.checkout import Checkout

NAMES = [f"a_rather_long_name_{number}" for number in range(6)]
# One line that the formatter wraps, and an import that a fix removes.
UNTIDY = f"import os\nimport json\ndef encode(value): return json.dumps([value, *{NAMES}])\n"
TIDY = """import json


def encode(value):
    return json.dumps(
        [
            value,
            *[
                {},
            ],
        ]
    )
""".format(",\n                ".join(f'"{name}"' for name in NAMES))


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A tree without code."""
    return Checkout(tmp_path / "mailroom", only=("Makefile", "pyproject.toml", "requirements.lock"))


class TestFormat:
    def test_wraps_a_long_line_and_applies_fixes(self, checkout: Checkout) -> None:
        untidy = checkout.path / "untidy.py"
        untidy.write_text(UNTIDY)
        done = checkout.make("format")
        assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "All checks passed!")
        assert untidy.read_text() == TIDY

    def test_lists_what_remains_when_everything_else_is_done(self, checkout: Checkout) -> None:
        untidy, unfixable, broken = (checkout.path / f"{name}.py" for name in ("untidy", "unfixable", "broken"))
        untidy.write_text(UNTIDY)
        unfixable.write_text("assert  1")
        broken.write_text("def")
        done = checkout.make("format")
        assert done.returncode != 0
        assert untidy.read_text() == TIDY
        assert unfixable.read_text() == "assert 1\n"
        findings = {line.split("-->")[1].split(":")[0].strip() for line in done.stdout.splitlines() if "-->" in line}
        assert findings == {"broken.py", "unfixable.py"}
