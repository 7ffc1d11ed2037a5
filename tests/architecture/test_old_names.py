"""One word for one thing: names that were given up do not come back."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.support.architecture.old_names import OLD_NAMES, PUBLISHED, find_old_names
from tests.support.architecture.repository import tracked_files

ROOT = Path(__file__).parents[2]
Checkout = Callable[[Mapping[str, str]], Path]

PLANTED = {
    "services/auth/store/new.py": [
        "loose_grants = 1",
        "LooseGrant = 1",
        "import services.auth.attempts",
        "def start(attempt: Attempt) -> None: ...",
        "# Raises Handoff.",
        "HandOff(code)",
        "client_proof = ClientProof()",
        "raise AskAgain",
        "return Redirect(url)",
        "# The vault of a user.",
        "def reseal() -> None: ...",
        "# What was sealed.",
        "token_facts()",
        "Disconnecting(store)",
        "raise redis_unavailable()",
    ],
    "services/mail/sync/new.py": [
        "Lane.REST",
        "# Mailboxes at rest cost nothing.",
        'label = "rest"',
        "resting = 1",
        "run: MailboxRun",
        "from services.mail.sync.slice import work",
        "import services.mail.sync.parallelism",
        "import services.mail.figures",
        "figures = read()",
        "# See views.py.",
        "# See services/mail/downloads/leftovers.py.",
        "remove_leftovers()",
        "import services.mail.store.items",
        "unbury()",
        "relisted = ()",
        "import services.mail.store.conditions",
        "changes: Changes",
        "LocalId(1, 2)",
    ],
    "services/mail/reading/new.py": ["hidden = True"],
    "services/gateway/new.py": [
        "import services.gateway.answers",
        "import services.gateway.preferences",
        "import services.gateway.callers",
        "import services.gateway.routes.hooks",
        "answer: Answer",
    ],
    "services/kit/new.py": ["import services.kit.egress", "import services.kit.rpc.callers", "identity: Identity"],
    "services/sandbox/new.py": [
        "ask: Ask",
        "prepared = 1",
        "ControlBooks()",
        "books = 1",
        "oddities = 1",
        "draws = 1",
        "place: Place",
    ],
    "docs/new.md": ["`Changes`", "`Identity.subject`", "docs/decisions/hand-off.md"],
    "docs/decisions/hand-off.md": ["# A decision"],
    "README.md": ["The token vault of Mailroom"],
}

ORDINARY = {
    "services/auth/store/new.py": ["sa.Identity(always=True)", "attempts = 3", "# Attempts are counted.", "redirect()"],
    "services/mail/sync/new.py": [
        "the_rest = 1  # the rest",
        "items = []",
        "# Changes of a slice of bread.",
        "views = 1",
    ],
    "services/sandbox/new.py": ["# In place of a place, books and draws.", "text = 'Prepared'", "plan.draw()"],
    "docs/new.md": ["Changes are listed. An identity. The figures. The rest of the items. Conditions of callers."],
}


def test_no_old_name_is_in_use() -> None:
    assert [str(finding) for finding in find_old_names(ROOT)] == []


@pytest.mark.parametrize(("path", "line"), [(path, line) for path, lines in PLANTED.items() for line in lines])
def test_an_old_name_is_found(checkout: Checkout, path: str, line: str) -> None:
    found = find_old_names(checkout({path: f"\n{line}\n"}))
    assert {finding.path for finding in found} == {path}
    assert {finding.line for finding in found} <= {0, 2}


def test_every_entry_of_the_table_finds_something(checkout: Checkout) -> None:
    root = checkout({path: "\n".join(lines) for path, lines in PLANTED.items()})
    assert [name.pattern for name in OLD_NAMES if not find_old_names(root, names=[name])] == []


@pytest.mark.parametrize(("path", "line"), [(path, line) for path, lines in ORDINARY.items() for line in lines])
def test_an_ordinary_word_is_left_alone(checkout: Checkout, path: str, line: str) -> None:
    assert find_old_names(checkout({path: f"{line}\n"})) == []


@pytest.mark.parametrize("name", PUBLISHED)
class TestAPublishedName:
    def test_is_in_use(self, name: str) -> None:
        sources = [path for path in tracked_files(ROOT, "services", "docs") if path.endswith((".py", ".md"))]
        assert any(name in (ROOT / path).read_text(encoding="utf-8") for path in sources)

    def test_is_allowed_by_its_entry_only(self, checkout: Checkout, name: str) -> None:
        root = checkout({"services/mail/new.py": f"# {name}\n"})
        assert find_old_names(root) == []
        assert find_old_names(root, published=[other for other in PUBLISHED if other != name]) != []


def test_only_the_table_and_its_tests_are_not_checked(checkout: Checkout) -> None:
    line = "# hand-off\n"
    root = checkout({"deploy/locks/auth.txt": line, "tests/architecture/new.py": line, "tests/mail/new.py": line})
    assert {finding.path for finding in find_old_names(root)} == {"tests/mail/new.py"}
