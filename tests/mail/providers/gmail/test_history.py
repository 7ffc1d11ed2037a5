"""Parsing of history pages."""

from typing import Any

import pytest

from services.mail.model import LabelChange
from services.mail.providers.base import HistoryPage
from services.mail.providers.errors import HistoryRestartedError, ProviderUnavailableError
from services.mail.providers.gmail.history import parse_history

BEYOND = 2**64 + 5


def added(*ids: str) -> dict[str, Any]:
    """Return the part of a record that adds messages."""
    return {"messagesAdded": [{"message": {"id": id_, "threadId": f"t{id_}", "labelIds": ["INBOX"]}} for id_ in ids]}


def deleted(*ids: str) -> dict[str, Any]:
    """Return the part of a record that deletes messages."""
    return {"messagesDeleted": [{"message": {"id": id_, "threadId": f"t{id_}"}} for id_ in ids]}


def labelled(id_: str, *, add: tuple[str, ...] = (), remove: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the part of a record that changes labels."""
    message = {"id": id_, "threadId": f"t{id_}"}
    record: dict[str, Any] = {}
    if add:
        record["labelsAdded"] = [{"message": message, "labelIds": list(add)}]
    if remove:
        record["labelsRemoved"] = [{"message": message, "labelIds": list(remove)}]
    return record


def page(*records: dict[str, Any], cursor: int = 10, **answer: Any) -> HistoryPage:
    """Return the page with these records, numbered 20, 30 and so on unless they have a number."""
    numbered = [{"id": str(20 + 10 * place), **record} for place, record in enumerate(records)]
    return parse_history({"history": numbered, "historyId": "1000", **answer}, cursor=cursor)


class TestCollapsing:
    def test_returns_new_messages(self) -> None:
        assert page(added("a", "b"), added("c")).changes.added == {"a": 20, "b": 20, "c": 30}

    def test_returns_the_threads_of_new_messages(self) -> None:
        assert page(added("a")).changes.threads == {"a": "ta"}

    def test_keeps_label_changes_in_order(self) -> None:
        changes = page(labelled("a", add=("X",)), labelled("a", remove=("X",)), labelled("a", add=("X",))).changes
        assert changes.labels == {
            "a": [
                LabelChange(version=20, added=frozenset("X")),
                LabelChange(version=30, removed=frozenset("X")),
                LabelChange(version=40, added=frozenset("X")),
            ]
        }

    def test_an_added_and_deleted_message_is_deleted(self) -> None:
        changes = page(added("a"), labelled("a", add=("X",)), deleted("a")).changes
        assert (changes.added, changes.labels, changes.deleted) == ({}, {}, {"a"})

    def test_a_deleted_and_restored_message_is_new(self) -> None:
        changes = page(deleted("a"), added("a")).changes
        assert (changes.added, changes.deleted) == ({"a": 30}, set())

    def test_ignores_the_duplicates_in_messages(self) -> None:
        changes = page({"messages": [{"id": "a", "threadId": "a"}]}).changes
        assert (changes.added, changes.labels, changes.deleted) == ({}, {}, set())


class TestCursor:
    def test_after_the_last_page_is_the_answers(self) -> None:
        assert page(added("a")).latest == 1000

    def test_without_one_in_the_answer_is_the_last_record(self) -> None:
        assert page(added("a"), added("b"), historyId=None).latest == 30

    def test_never_moves_back(self) -> None:
        assert page(added("a"), cursor=2000).latest == 2000

    def test_behind_ours_raises_history_restarted(self) -> None:
        with pytest.raises(HistoryRestartedError):
            page(cursor=2000)

    def test_stays_without_one_in_the_answer(self) -> None:
        assert parse_history({}, cursor=10).latest == 10

    @pytest.mark.parametrize("value", [str(BEYOND), BEYOND])
    def test_goes_beyond_64_bits(self, value: object) -> None:
        found = page({"id": value, **added("a")}, historyId=value)
        assert (found.latest, found.last_record, found.changes.added) == (BEYOND, BEYOND, {"a": BEYOND})

    def test_between_pages_is_the_highest_record(self) -> None:
        found = page({"id": "50", **added("a")}, {"id": "40", **added("b")}, nextPageToken="7")
        assert (found.last_record, found.next_page_token) == (50, "7")

    def test_that_cannot_move_is_an_error(self) -> None:
        with pytest.raises(ProviderUnavailableError):
            page({"id": None, **added("a")}, historyId=None)


class TestOddAnswers:
    @pytest.mark.parametrize("answer", [{}, {"history": []}, {"history": None}])
    def test_without_records_have_no_changes(self, answer: dict[str, Any]) -> None:
        found = parse_history({**answer, "historyId": "12"}, cursor=10)
        assert (found.latest, found.changes.added, found.next_page_token) == (12, {}, None)

    @pytest.mark.parametrize("history", ["x", {}, 7, [7, None], [[]]])
    def test_with_records_of_other_types_are_an_error(self, history: object) -> None:
        with pytest.raises(ProviderUnavailableError):
            parse_history({"history": history, "historyId": "12"}, cursor=10)

    def test_about_something_else_are_an_error(self) -> None:
        with pytest.raises(ProviderUnavailableError):
            parse_history({"login": "https://portal.example"}, cursor=10)

    def test_with_empty_arrays_have_no_changes(self) -> None:
        empty: dict[str, Any] = {
            "messages": [],
            "messagesAdded": [],
            "messagesDeleted": [],
            "labelsAdded": [],
            "labelsRemoved": [],
        }
        changes = page(empty, empty | added("a")).changes
        assert (changes.added, changes.labels, changes.deleted) == ({"a": 30}, {}, set())

    @pytest.mark.parametrize("number", [None, "", "abc", float("inf"), [], {}])
    def test_with_unnumbered_records_have_messages_fetched_again(self, number: object) -> None:
        changes = page({"id": number, **added("a")}, {"id": number, **labelled("b", add=("X",))}).changes
        assert changes.unclear == {"a", "b"}
        assert changes.added == {"a": 0}
        assert changes.labels == {}

    @pytest.mark.parametrize("kinds", [{}, {"messagesAdded": [], "labelsAdded": None}])
    def test_with_records_that_do_not_tell_what_changed_have_messages_fetched_again(
        self, kinds: dict[str, Any]
    ) -> None:
        messages = {"messages": [{"id": "a", "threadId": "t"}, {"threadId": "t"}, None]}
        changes = page({"id": "20", **messages, **kinds}, {"messages": [{"id": "b"}], **added("c")}).changes
        assert (changes.unclear, changes.added, changes.deleted) == ({"a"}, {"c": 30}, set())

    def test_with_unnumbered_records_delete_messages(self) -> None:
        changes = page({"id": None, **labelled("a", add=("X",))}, {"id": None, **deleted("a")}).changes
        assert (changes.unclear, changes.deleted) == (set(), {"a"})

    @pytest.mark.parametrize(
        "event",
        [
            None,
            7,
            {},
            {"message": None},
            {"message": {}},
            {"message": {"id": 7}},
            {"message": {"id": "a"}, "labelIds": 7},
        ],
    )
    def test_with_malformed_events_skip_these(self, event: object) -> None:
        record = {"labelsAdded": [event, {"message": {"id": "b"}, "labelIds": ["X", None]}]}
        assert page(record).changes.labels["b"] == [LabelChange(version=20, added=frozenset("X"))]

    def test_with_unstorable_text_are_cleaned(self) -> None:
        assert page(added("a\0\ud800")).changes.added == {"a\ufffd": 20}
