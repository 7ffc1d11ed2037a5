"""docs/webhooks.md shows the receivers as they are, which tests/peers/test_webhook_recipes.py runs."""

import re

import pytest

from tests.support.docs.documents import ROOT
from tests.support.docs.page_steps import steps_of

FOLDER = "docs/webhooks"
SHOWN = {
    step.file: step.text
    for step in steps_of((ROOT / "docs/webhooks.md").read_text(encoding="utf-8"), section="Receivers")
}


def test_shows_each_receiver() -> None:
    assert sorted(SHOWN) == sorted(f"{FOLDER}/{path.name}" for path in (ROOT / FOLDER).iterdir() if path.is_file())


@pytest.mark.parametrize("file", SHOWN)
def test_shows_a_receiver_as_it_is(file: str) -> None:
    assert SHOWN[file] == (ROOT / file).read_text(encoding="utf-8")


def test_names_the_settings_of_receivers() -> None:
    for text in SHOWN.values():
        assert {"MAILROOM", "API_KEY", "WEBHOOK_SECRET"} <= set(re.findall(r"\b[A-Z][A-Z_]+\b", text))
