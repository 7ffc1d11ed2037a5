"""Labels, history and watches, through Google's own client."""

import re

import pytest

from services.sandbox.google.gmail.labels import LABEL_PALETTE
from tests.support.contract.discovery import Discovery
from tests.support.contract.google_client import GoogleClient


class TestLabels:
    def test_the_list_has_no_counters_and_single_labels_do(self, reader: GoogleClient) -> None:
        labels = reader.execute(reader.users.labels().list(userId="me"))["labels"]
        assert all("messagesTotal" not in label for label in labels)
        inbox = reader.execute(reader.users.labels().get(userId="me", id="INBOX"))
        truth = [fact for fact in reader.truth() if "INBOX" in fact["labelIds"]]
        assert inbox["messagesTotal"] == len(truth)
        assert inbox["messagesUnread"] == sum("UNREAD" in fact["labelIds"] for fact in truth)

    def test_a_label_lives_through_create_update_patch_delete(self, writer: GoogleClient) -> None:
        labels = writer.users.labels()
        color = {"textColor": "#000000", "backgroundColor": "#ffffff"}
        made = writer.execute(labels.create(userId="me", body={"name": "Projects/Ünïcode", "color": color}))
        writer.execute(
            labels.update(userId="me", id=made["id"], body={"name": "Other", "labelListVisibility": "labelHide"})
        )
        patched = writer.execute(labels.patch(userId="me", id=made["id"], body={"name": "Third"}))
        assert (patched["name"], patched["labelListVisibility"]) == ("Third", "labelHide")
        message = writer.truth()[0]["id"]
        writer.execute(writer.users.messages().modify(userId="me", id=message, body={"addLabelIds": [made["id"]]}))
        writer.execute(labels.delete(userId="me", id=made["id"]))
        assert made["id"] not in writer.truth()[0]["labelIds"]
        assert writer.refusal(labels.get(userId="me", id=made["id"]))[0] == 404

    def test_reserved_and_taken_names_are_refused(self, writer: GoogleClient) -> None:
        labels = writer.users.labels()
        assert writer.refusal(labels.create(userId="me", body={"name": "inbox"}))[2] == "Invalid label name"
        assert writer.refusal(labels.create(userId="me", body={"name": "Work"}))[0] == 409

    def test_a_colour_is_of_the_palette_and_has_both_parts(self, writer: GoogleClient, discovery: Discovery) -> None:
        labels = writer.users.labels()
        documented = re.findall(
            r"#[0-9a-f]{6}", discovery.schemas["LabelColor"]["properties"]["textColor"]["description"]
        )
        assert frozenset(documented) == LABEL_PALETTE
        for text, background in (("#000000", "#fffffe"), ("#41236D", "#ffffff"), ("red", "#ffffff"), ("#000000", None)):
            color = {"textColor": text, "backgroundColor": background}
            refused = writer.refusal(labels.create(userId="me", body={"name": "Colourful", "color": color}))
            assert refused[0] == 400
            assert "is not on the allowed color palette" in refused[2]
        made = writer.execute(labels.create(userId="me", body={"name": "Colourful"}))
        color = {"textColor": "#ffffff", "backgroundColor": "#fb4c2f"}
        assert writer.execute(labels.patch(userId="me", id=made["id"], body={"color": color}))["color"] == color
        assert (
            writer.refusal(labels.patch(userId="me", id=made["id"], body={"color": {"textColor": "#000000"}}))[0] == 400
        )


class TestSendAs:
    def test_the_main_address_comes_first(self, writer: GoogleClient) -> None:
        writer.mailbox("PATCH", "", {"send_as": ["sales@example.com", "ada@example.net"]})
        addresses = writer.execute(writer.users.settings().sendAs().list(userId="me"))["sendAs"]
        assert [each["sendAsEmail"] for each in addresses] == [writer.email, "sales@example.com", "ada@example.net"]
        assert [each.get("isPrimary", False) for each in addresses] == [True, False, False]


class TestHistory:
    def test_each_kind_of_change_makes_its_record(self, writer: GoogleClient) -> None:
        start = writer.execute(writer.users.getProfile(userId="me"))["historyId"]
        old, other = writer.truth()[0]["id"], writer.truth()[1]["id"]
        [new] = writer.mailbox("POST", "/messages", {"from": "a@example.com", "subject": "new", "text": "x"})[
            "messages"
        ]
        modify = writer.users.messages().modify
        writer.execute(modify(userId="me", id=old, body={"addLabelIds": ["STARRED"]}))
        writer.execute(modify(userId="me", id=old, body={"removeLabelIds": ["STARRED"]}))
        writer.execute(writer.users.messages().delete(userId="me", id=other))
        records = writer.every(writer.users.history(), "history", startHistoryId=start)
        kinds = [(sorted(record.keys() - {"id", "messages"}), record["messages"][0]["id"]) for record in records]
        assert kinds == [
            (["messagesAdded"], new["id"]),
            (["labelsAdded"], old),
            (["labelsRemoved"], old),
            (["messagesDeleted"], other),
        ]
        ids = [int(record["id"]) for record in records]
        assert ids == sorted(set(ids))
        assert min(ids) > int(start)

    def test_types_filter_and_are_singular(self, writer: GoogleClient) -> None:
        start = writer.execute(writer.users.getProfile(userId="me"))["historyId"]
        writer.mailbox("POST", "/messages", {"count": 3})
        writer.execute(writer.users.messages().delete(userId="me", id=writer.truth()[0]["id"]))
        deleted = writer.every(writer.users.history(), "history", startHistoryId=start, historyTypes=["messageDeleted"])
        assert [sorted(record.keys()) for record in deleted] == [["id", "messages", "messagesDeleted"]]

    def test_pages_join_to_the_whole(self, writer: GoogleClient) -> None:
        start = writer.execute(writer.users.getProfile(userId="me"))["historyId"]
        writer.mailbox("POST", "/messages", {"count": 25})
        whole = writer.every(writer.users.history(), "history", startHistoryId=start)
        assert writer.every(writer.users.history(), "history", startHistoryId=start, maxResults=4) == whole
        assert len(whole) == 25

    def test_nothing_new_has_no_history_key(self, writer: GoogleClient) -> None:
        start = writer.execute(writer.users.getProfile(userId="me"))["historyId"]
        answer = writer.execute(writer.users.history().list(userId="me", startHistoryId=start))
        assert answer == {"historyId": start}
        assert (
            writer.execute(writer.users.history().list(userId="me", startHistoryId=str(int(start) + 10**6))) == answer
        )

    def test_an_expired_start_is_404(self, writer: GoogleClient) -> None:
        start = writer.execute(writer.users.getProfile(userId="me"))["historyId"]
        writer.mailbox("POST", "/history/expire")
        assert writer.refusal(writer.users.history().list(userId="me", startHistoryId=start))[:2] == (404, "notFound")
        now = writer.execute(writer.users.getProfile(userId="me"))["historyId"]
        writer.execute(writer.users.history().list(userId="me", startHistoryId=now))

    def test_a_deleted_label_as_filter_is_404(self, writer: GoogleClient) -> None:
        start = writer.execute(writer.users.getProfile(userId="me"))["historyId"]
        request = writer.users.history().list(userId="me", startHistoryId=start, labelId="Label_404")
        assert writer.refusal(request)[0] == 404


class TestWatch:
    def test_watch_answers_the_cursor_and_its_end(self, writer: GoogleClient) -> None:
        body = {"topicName": "projects/p/topics/t", "labelIds": ["INBOX"], "labelFilterBehavior": "include"}
        answer = writer.execute(writer.users.watch(userId="me", body=body))
        assert answer["historyId"] == writer.execute(writer.users.getProfile(userId="me"))["historyId"]
        writer.execute(writer.users.stop(userId="me"))

    @pytest.mark.parametrize("name", ["labelFilterBehavior", "labelFilterAction"])
    def test_a_filter_includes_or_excludes_its_labels(self, writer: GoogleClient, name: str) -> None:
        body = {"topicName": "projects/p/topics/t", "labelIds": ["INBOX"]}
        writer.execute(writer.users.watch(userId="me", body=body | {name: "EXCLUDE"}))
        refused = writer.refusal(writer.users.watch(userId="me", body=body | {name: "only"}))
        assert refused == (400, "invalidArgument", f"Invalid value at '{name}', \"only\"")

    def test_a_topic_without_its_form_is_refused(self, writer: GoogleClient) -> None:
        assert writer.refusal(writer.users.watch(userId="me", body={"topicName": "mail"}))[0] == 400
