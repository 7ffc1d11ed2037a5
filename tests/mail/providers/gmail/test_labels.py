"""Gmail's labels as roles and marks."""

from typing import Any

import pytest

from services.mail.content import parse_raw
from services.mail.marks import Mark
from services.mail.model import LabelChange, Role
from services.mail.providers.gmail.history import parse_history
from services.mail.providers.gmail.labels import role_of
from services.mail.providers.gmail.message import message_of

CONTENT = parse_raw(b"Subject: Hi\r\n\r\nHello\r\n")
SEEN = frozenset({Mark.SEEN})


class TestRoles:
    @pytest.mark.parametrize(
        ("label_id", "role"),
        [
            *(("INBOX", Role.INBOX), ("SENT", Role.SENT), ("DRAFT", Role.DRAFTS), ("SPAM", Role.SPAM)),
            *(("TRASH", Role.TRASH), ("STARRED", Role.NONE), ("Label_1", Role.NONE), ("inbox", Role.NONE)),
        ],
    )
    def test_are_those_of_system_labels(self, label_id: str, role: Role) -> None:
        assert role_of(label_id) is role


class TestMarksOfAMessage:
    @pytest.mark.parametrize(
        ("listed", "label_ids", "marks"),
        [
            (["UNREAD", "INBOX"], ("INBOX",), frozenset[Mark]()),
            (["INBOX", "Label_1"], ("INBOX", "Label_1"), SEEN),
            (["STARRED", "DRAFT", "IMPORTANT"], (), SEEN | {Mark.FLAGGED, Mark.DRAFT, Mark.IMPORTANT}),
            (["CATEGORY_SOCIAL", "UNREAD", "STARRED"], ("CATEGORY_SOCIAL",), frozenset({Mark.FLAGGED})),
            (None, (), SEEN),
        ],
    )
    def test_are_not_among_its_labels(
        self, listed: list[str] | None, label_ids: tuple[str, ...], marks: frozenset[Mark]
    ) -> None:
        message = message_of("m", {"labelIds": listed}, CONTENT)
        assert (message.label_ids, message.marks) == (label_ids, marks)


class TestMarksInHistory:
    @pytest.mark.parametrize(
        ("kind", "labels", "change"),
        [
            (
                "labelsAdded",
                ["UNREAD", "STARRED", "Label_1"],
                LabelChange(
                    version=7,
                    added=frozenset({"Label_1"}),
                    marked=frozenset({Mark.FLAGGED}),
                    unmarked=SEEN,
                ),
            ),
            (
                "labelsRemoved",
                ["UNREAD", "IMPORTANT", "INBOX"],
                LabelChange(
                    version=7,
                    removed=frozenset({"INBOX"}),
                    marked=SEEN,
                    unmarked=frozenset({Mark.IMPORTANT}),
                ),
            ),
        ],
    )
    def test_change_with_their_labels(self, kind: str, labels: list[str], change: LabelChange) -> None:
        record: dict[str, Any] = {"id": "7", kind: [{"message": {"id": "m"}, "labelIds": labels}]}
        assert parse_history({"history": [record], "historyId": "9"}, cursor=5).changes.labels == {"m": [change]}
