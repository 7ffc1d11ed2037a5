"""A vendor's words stand in the vendor's folder, in its settings and its documentation only."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.support.architecture.vendor_words import find_vendor_words

ROOT = Path(__file__).parents[2]
Checkout = Callable[[Mapping[str, str]], Path]

# Today's exceptions. The list may only shrink: take a word off when its place is neutral.
EXCEPTIONS: Final[Mapping[str, frozenset[str]]] = {
    "services/auth/providers/base.py": frozenset({"google"}),
    "services/auth/providers/call_names.py": frozenset({"google"}),
    "services/auth/providers/oauth_responses.py": frozenset({"google"}),
    "services/auth/providers/providers_file.py": frozenset({"google", "imap", "yandex"}),
    "services/auth/providers/userinfo_oauth.py": frozenset({"imap"}),
    "services/gateway/requests/path_parameters.py": frozenset({"google"}),
    "services/gateway/schemas/ids.py": frozenset({"google"}),
    "services/gateway/settings.py": frozenset({"gmail", "google"}),
    "services/kit/errors.py": frozenset({"google"}),
    "services/kit/http/outbound.py": frozenset({"google"}),
    "services/kit/observe/http_calls.py": frozenset({"gmail"}),
}

PLANTED = {
    'METHOD = "gmail.history.list"': {"gmail"},
    "google_issuer = 1": {"google"},
    "class YandexMailbox: ...": {"yandex"},
    "imap_disabled = 1  # IMAP is off": {"imap"},
    "# What Graph answers.": {"graph"},
    'record["historyId"], history_id': {"historyid", "history_id"},
    'if "UNREAD" in labels or STARRED or CATEGORY_FORUMS: ...': {"unread", "starred", "category_forums"},
}
ORDINARY = (
    "from google.protobuf.timestamp_pb2 import Timestamp",
    "from google.rpc import code_pb2",
    "unread = starred = paragraph = 1",
)


def test_stand_in_no_other_place_than_the_exceptions() -> None:
    assert find_vendor_words(ROOT) == EXCEPTIONS


@pytest.mark.parametrize(("line", "words"), PLANTED.items())
def test_are_found(checkout: Checkout, line: str, words: set[str]) -> None:
    assert find_vendor_words(checkout({"services/mail/sync/new.py": f"{line}\n"})) == {
        "services/mail/sync/new.py": words
    }


@pytest.mark.parametrize("line", ORDINARY)
def test_are_told_from_ordinary_words(checkout: Checkout, line: str) -> None:
    assert find_vendor_words(checkout({"services/kit/new.py": f"{line}\n"})) == {}


@pytest.mark.parametrize(
    "path",
    ["services/mail/providers/new/api.py", "services/mail/providers/settings.py", "services/auth/providers/google.py"],
)
def test_are_allowed_where_vendors_are_known(checkout: Checkout, path: str) -> None:
    assert find_vendor_words(checkout({path: "import google\n"})) == {}
