"""Google's generated Gmail client for Node: listing, reading, uploading and changing mail."""

from typing import Any

import pytest

from tests.support.e2e.people import Provider
from tests.support.peers.node import run_node

pytestmark = pytest.mark.peers
MESSAGES = 40


@pytest.fixture(scope="module")
def email(provider: Provider) -> str:
    return provider.new_user(messages=MESSAGES, email="node@example.com")


@pytest.fixture(scope="module")
def before(provider: Provider, email: str) -> dict[str, Any]:
    """The true messages by id, newest first, before the client changes them."""
    return {fact["id"]: fact for fact in provider.facts(email)}


@pytest.fixture(scope="module")
def facts(before: dict[str, Any], sandbox_url: str, email: str) -> Any:
    assert len(before) == MESSAGES
    return run_node("mail", sandbox=sandbox_url, email=email)


def test_pages_list_every_message_newest_first(facts: Any, before: dict[str, Any], email: str) -> None:
    assert facts["listed"] == list(before)
    assert (facts["profile"]["emailAddress"], facts["profile"]["messagesTotal"]) == (email, MESSAGES)


def test_raw_messages_are_the_true_bytes(facts: Any, before: dict[str, Any]) -> None:
    assert facts["digests"] == {name: fact["sha256"] for name, fact in before.items()}


def test_a_search_finds_the_unread_messages(facts: Any, before: dict[str, Any]) -> None:
    assert facts["unread"] == [name for name, fact in before.items() if "UNREAD" in fact["labelIds"]]
    assert 0 < len(facts["unread"]) < MESSAGES


def test_an_expired_token_is_refreshed_and_the_call_repeated(facts: Any) -> None:
    assert facts["isRefreshed"]


def test_changes_are_made_and_listed(facts: Any, provider: Provider, email: str) -> None:
    after = {fact["id"]: set(fact["labelIds"]) for fact in provider.facts(email)}
    first, second = facts["changed"]
    assert after[facts["inserted"]] == {"INBOX", facts["label"]}
    assert facts["label"] in after[first]
    assert "TRASH" in after[second]
    assert [record["messages"][0]["id"] for record in facts["records"]] == [facts["inserted"], first, second]
