"""Partial responses: the grammar of `fields` and its effect. Source: "Improving performance"."""

import pytest

from services.sandbox.google.gmail.errors import CallRefusedError
from services.sandbox.google.gmail.fields_mask import apply_mask, parse_mask

LIST = {"messages": [{"id": "1", "threadId": "1"}, {"id": "2", "threadId": "1"}], "nextPageToken": "t"}
MESSAGE = {
    "id": "1",
    "payload": {"headers": [{"name": "A", "value": "b"}], "parts": [{"partId": "0", "body": {"size": 1}}]},
}


class TestApply:
    @pytest.mark.parametrize(
        ("mask", "left"),
        [
            ("nextPageToken", {"nextPageToken": "t"}),
            ("messages/id", {"messages": [{"id": "1"}, {"id": "2"}]}),
            ("messages(id),nextPageToken", {"messages": [{"id": "1"}, {"id": "2"}], "nextPageToken": "t"}),
            ("messages(id,threadId)", {"messages": LIST["messages"]}),
            ("messages/*", {"messages": LIST["messages"]}),
            ("*", LIST),
            ("messages", {"messages": LIST["messages"]}),
            ("resultSizeEstimate", {}),
        ],
    )
    def test_keeps_what_is_named_of_a_list(self, mask: str, left: object) -> None:
        assert apply_mask(LIST, parse_mask(mask, "ListMessagesResponse")) == left

    @pytest.mark.parametrize(
        ("mask", "left"),
        [
            ("payload/headers/name", {"payload": {"headers": [{"name": "A"}]}}),
            ("payload(headers(value),parts/body)",
             {"payload": {"headers": [{"value": "b"}], "parts": [{"body": {"size": 1}}]}}),
            ("id,payload/parts(partId,body/size)",
             {"id": "1", "payload": {"parts": [{"partId": "0", "body": {"size": 1}}]}}),
        ],
    )  # fmt: skip
    def test_reaches_into_trees(self, mask: str, left: object) -> None:
        assert apply_mask(MESSAGE, parse_mask(mask, "Message")) == left


class TestParse:
    @pytest.mark.parametrize("mask", ["messages(", "messages)", "a,,b", "/", "messages(id", "nothing", "messages/no"])
    def test_refuses_malformed_masks_and_unknown_fields(self, mask: str) -> None:
        with pytest.raises(CallRefusedError) as refused:
            parse_mask(mask, "ListMessagesResponse")
        assert refused.value.error.code == 400

    @pytest.mark.parametrize(
        "mask", ["payload/" + "parts/" * 1500 + "partId", "payload(" + "parts(" * 1500, "a" * 10_001]
    )
    def test_refuses_unbounded_masks(self, mask: str) -> None:
        with pytest.raises(CallRefusedError):
            parse_mask(mask, "Message")
