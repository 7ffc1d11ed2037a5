"""Values that several parts know by themselves are the same in each: a new one is nowhere forgotten."""

import re
from enum import Enum
from typing import Any, Literal, get_args

import pytest
from mailroom_client import events as client_events

from services.auth.sign_in.outcomes import SignInError
from services.console.words import refusals
from services.console.words.webhooks import DELIVERY_STATES, EVENTS
from services.gateway.schemas import changes, emails, syncs, webhooks
from services.mail import marks, model
from services.mail.store.changes import ChangeKind
from services.mail.webhooks.model import SELECTABLE, DeliveryOrder, DeliveryState, EventType
from tests.support.docs.documents import ROOT


def values(enumeration: type[Enum]) -> set[str]:
    """The values of an enumeration."""
    return {each.value for each in enumeration}


class TestTypesOfEvents:
    def test_of_feeds_are_types_of_events(self) -> None:
        assert values(model.FeedEvent) <= values(EventType)

    def test_can_be_asked_for_in_the_api(self) -> None:
        assert set(get_args(webhooks.EventType.__value__)) == set(SELECTABLE)

    def test_are_offered_by_the_console(self) -> None:
        assert {each for events in EVENTS.values() for each in events} == set(SELECTABLE)

    def test_are_classes_of_the_python_client(self) -> None:
        assert client_events._BY_TYPE.keys() == values(EventType)

    def test_are_documented(self) -> None:
        section = (
            (ROOT / "docs/webhooks.md").read_text(encoding="utf-8").partition("## Events\n")[2].partition("```")[0]
        )
        rows = re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE)
        assert {name for row in rows for name in re.findall(r"`([\w.]+)`", row)} == values(EventType)


@pytest.mark.parametrize(
    ("published", "known"),
    [
        (webhooks.DeliveryState.__value__, values(DeliveryState)),
        (webhooks.Order.__value__, values(DeliveryOrder)),
        (Literal[changes.MessageChangeType, changes.LabelChangeType], values(ChangeKind) - {ChangeKind.EVENT.value}),
        (syncs.SyncState.__value__, values(model.SyncState)),
        (syncs.WaitReason.__value__, values(model.WaitReason)),
        (emails.Mark.__value__, values(marks.Mark)),
        (get_args(emails.LabelRole)[0], values(model.Role)),
    ],
)
def test_the_api_publishes_the_values_of_the_mail_service(published: Any, known: set[str]) -> None:
    assert set(get_args(published)) == known


class TestWordsOfTheConsole:
    def test_are_there_for_each_state_of_a_delivery(self) -> None:
        assert DELIVERY_STATES.keys() == values(DeliveryState)

    def test_are_there_for_each_error_of_a_sign_in(self) -> None:
        # A connect session also ends where the account is another user's.
        assert refusals._WORDS.keys() == values(SignInError) | {"account_of_another_user"}
