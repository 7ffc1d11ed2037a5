"""A vendor's words stand in the vendor's folder, in its settings and its documentation only."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.support.architecture.vendor_words import find_vendor_words

ROOT = Path(__file__).parents[2]
Checkout = Callable[[Mapping[str, str]], Path]

# The exceptions, each with its reason. The list may only shrink: take a word off when its place is neutral.
EXCEPTIONS: Final[Mapping[str, frozenset[str]]] = {
    # Two scopes have a long form in answers, and errors of one vendor's APIs come from front ends of any OAuth server.
    "services/auth/providers/oauth_responses.py": frozenset({"google"}),
    # Names that a file must not take; and a table of the file, which operators write, is called `imap`.
    "services/auth/providers/providers_file.py": frozenset({"google", "imap", "yandex"}),
    # A public reason: `imap_disabled`. Userinfo decides about it for every provider of mail over IMAP.
    "services/auth/providers/userinfo_oauth.py": frozenset({"imap"}),
    # Examples and descriptions in the OpenAPI document, for people.
    "services/gateway/requests/path_parameters.py": frozenset({"google"}),
    "services/gateway/schemas/ids.py": frozenset({"google"}),
    # The settings of the vendor.
    "services/gateway/settings.py": frozenset({"gmail", "google"}),
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
