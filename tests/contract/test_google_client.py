"""Google's own client works against the sandbox, and the sandbox says nothing that Google's document does not know."""

import base64
import hashlib
import itertools
from collections.abc import Callable
from email.message import EmailMessage
from typing import Any

import pytest
from googleapiclient.errors import HttpError

from services.sandbox.gmail_call import COMMON_PARAMS
from services.sandbox.gmail_methods import MethodTable
from services.sandbox.schema import SCHEMA
from tests.contract.discovery import Discovery
from tests.contract.google_client import GoogleClient

NewClient = Callable[..., GoogleClient]
READONLY = "https://www.googleapis.com/auth/gmail.readonly"
METADATA = "https://www.googleapis.com/auth/gmail.metadata"


def _decode(data: str) -> bytes:
    return base64.urlsafe_b64decode(data + "==")


def _raw_message(subject: str = "Hi", **headers: str) -> str:
    message = EmailMessage()
    for name, value in {"From": "me@example.com", "To": "you@example.com", "Subject": subject, **headers}.items():
        message[name.replace("_", "-")] = value
    message.set_content("Some text.")
    return base64.urlsafe_b64encode(message.as_bytes()).decode()


def _leaves(part: dict[str, Any]) -> list[dict[str, Any]]:
    if not part.get("parts"):
        return [part]
    return [leaf for child in part["parts"] for leaf in _leaves(child)]


@pytest.fixture(scope="module")
def reader(new_client: NewClient) -> GoogleClient:
    """A mailbox of 216 messages, a sixth of them ugly, that no test changes."""
    return new_client(messages=216, ugly=True)


@pytest.fixture
def writer(new_client: NewClient) -> GoogleClient:
    """A mailbox of 20 messages for one test."""
    return new_client(messages=20)


class TestSignIn:
    def test_the_client_gets_an_access_token_from_its_refresh_token(self, reader: GoogleClient) -> None:
        assert reader.execute(reader.users.getProfile(userId="me"))["emailAddress"] == reader.email
        assert reader.credentials.token
        assert not reader.credentials.expired

    def test_it_refreshes_and_repeats_when_the_token_dies(self, writer: GoogleClient) -> None:
        writer.execute(writer.users.getProfile(userId="me"))
        before = writer.credentials.token
        writer.mailbox("POST", "/tokens/expire")
        writer.execute(writer.users.getProfile(userId="me"))
        assert writer.credentials.token != before


class TestProfileAndListing:
    def test_the_profile_counts_everything(self, reader: GoogleClient) -> None:
        profile = reader.execute(reader.users.getProfile(userId="me"))
        truth = reader.truth()
        assert profile["messagesTotal"] == len(truth) == 216
        assert profile["threadsTotal"] == len({fact["threadId"] for fact in truth})

    def test_pages_give_every_message_once_newest_first(self, reader: GoogleClient) -> None:
        listed = reader.every(reader.users.messages(), "messages", maxResults=47, includeSpamTrash=True)
        assert [item["id"] for item in listed] == [fact["id"] for fact in reader.truth()]

    def test_spam_and_trash_are_hidden_unless_asked_for(self, reader: GoogleClient) -> None:
        listed = {item["id"] for item in reader.every(reader.users.messages(), "messages", maxResults=500)}
        hidden = {fact["id"] for fact in reader.truth() if {"SPAM", "TRASH"} & set(fact["labelIds"])}
        assert hidden
        assert listed == {fact["id"] for fact in reader.truth()} - hidden

    def test_label_filters_are_joined_by_and(self, reader: GoogleClient) -> None:
        listed = reader.every(reader.users.messages(), "messages", labelIds=["INBOX", "UNREAD"])
        wanted = [fact["id"] for fact in reader.truth() if {"INBOX", "UNREAD"} <= set(fact["labelIds"])]
        assert wanted
        assert [item["id"] for item in listed] == [
            name for name in wanted if not {"SPAM", "TRASH"} & set(_labels(reader, name))
        ]

    def test_an_empty_mailbox_has_no_messages_key(self, new_client: NewClient) -> None:
        empty = new_client()
        assert empty.execute(empty.users.messages().list(userId="me")) == {"resultSizeEstimate": 0}
        assert empty.execute(empty.users.threads().list(userId="me")) == {"resultSizeEstimate": 0}

    def test_an_empty_page_can_carry_a_token(self, writer: GoogleClient) -> None:
        writer.mailbox("PUT", "/mailbox", {"empty_page_every": 2})
        request = writer.users.messages().list(userId="me", maxResults=5, includeSpamTrash=True)
        first = writer.execute(request)
        second = writer.execute(writer.users.messages().list_next(request, first))
        assert "messages" not in second
        assert second["nextPageToken"]
        assert len(writer.every(writer.users.messages(), "messages", maxResults=5, includeSpamTrash=True)) == 20

    def test_a_token_of_another_query_is_refused(self, reader: GoogleClient) -> None:
        token = reader.execute(reader.users.messages().list(userId="me", maxResults=5))["nextPageToken"]
        other = reader.users.messages().list(userId="me", labelIds=["INBOX"], pageToken=token)
        assert reader.refusal(other) == (400, "invalidArgument", "Invalid pageToken")

    def test_searching_by_date_uses_epoch_seconds(self, reader: GoogleClient) -> None:
        edge = int(reader.truth()[100]["internalDate"]) // 1000
        listed = reader.every(reader.users.messages(), "messages", q=f"in:anywhere after:{edge + 1}", maxResults=500)
        wanted = [fact["id"] for fact in reader.truth() if int(fact["internalDate"]) >= (edge + 1) * 1000]
        assert [item["id"] for item in listed] == wanted

    def test_searching_by_message_id_finds_the_one(self, writer: GoogleClient) -> None:
        sent = writer.execute(
            writer.users.messages().send(userId="me", body={"raw": _raw_message(Message_ID="<x.1@example.com>")})
        )
        [found] = writer.every(writer.users.messages(), "messages", q="rfc822msgid:x.1@example.com")
        assert found["id"] == sent["id"]


def _labels(client: GoogleClient, message_id: str) -> list[str]:
    answer = client.execute(client.users.messages().get(userId="me", id=message_id, format="minimal"))
    labels: list[str] = answer.get("labelIds", [])
    return labels


class TestMessages:
    @pytest.mark.parametrize("form", ["full", "metadata", "minimal", "raw"])
    # As in TestBatch.
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    def test_every_message_is_valid(self, reader: GoogleClient, discovery: Discovery, form: str) -> None:
        get = reader.users.messages().get
        for some in itertools.batched(reader.truth(), 72, strict=True):
            answers = reader.batch([get(userId="me", id=fact["id"], format=form) for fact in some])
            for fact, (answer, error) in zip(some, answers.values(), strict=True):
                assert error is None
                assert discovery.problems(answer, "Message") == []
                _agrees(answer, fact, form)

    @pytest.mark.parametrize("form", ["full", "metadata", "minimal", "raw"])
    def test_a_single_get_gives_the_same(self, reader: GoogleClient, form: str) -> None:
        for fact in reader.truth()[:5]:
            answer = reader.execute(reader.users.messages().get(userId="me", id=fact["id"], format=form))
            _agrees(answer, fact, form)

    def test_raw_is_the_message_byte_for_byte(self, reader: GoogleClient) -> None:
        for fact in reader.truth(digests=True)[:30]:
            answer = reader.execute(reader.users.messages().get(userId="me", id=fact["id"], format="raw"))
            assert hashlib.sha256(_decode(answer["raw"])).hexdigest() == fact["sha256"]

    def test_label_ids_are_left_out_when_there_are_none(self, reader: GoogleClient) -> None:
        bare = next(fact for fact in reader.truth() if not fact["labelIds"])
        answer = reader.execute(reader.users.messages().get(userId="me", id=bare["id"]))
        assert "labelIds" not in answer

    def test_metadata_gives_only_the_headers_asked_for(self, reader: GoogleClient) -> None:
        request = reader.users.messages().get(
            userId="me", id=reader.truth()[0]["id"], format="metadata", metadataHeaders=["subject", "DATE"]
        )
        payload = reader.execute(request)["payload"]
        assert payload.keys() == {"mimeType", "headers"}
        assert {header["name"] for header in payload["headers"]} <= {"Subject", "Date"}

    def test_headers_come_decoded(self, reader: GoogleClient) -> None:
        subjects = []
        for fact in reader.truth()[:30]:
            answer = reader.execute(reader.users.messages().get(userId="me", id=fact["id"]))
            subjects += [h["value"] for h in answer["payload"]["headers"] if h["name"] == "Subject"]
        assert any(not subject.isascii() for subject in subjects)

    def test_fields_cut_the_answer_down(self, reader: GoogleClient) -> None:
        request = reader.users.messages().list(userId="me", maxResults=3, fields="messages(id),nextPageToken")
        answer = request.execute()
        assert answer.keys() == {"messages", "nextPageToken"}
        assert all(item.keys() == {"id"} for item in answer["messages"])

    def test_an_unknown_field_is_refused(self, reader: GoogleClient) -> None:
        code, reason, _ = reader.refusal(reader.users.messages().list(userId="me", fields="messages(nothing)"))
        assert (code, reason) == (400, "invalidParameter")

    def test_ids_that_are_missing_or_impossible_are_told_apart(self, reader: GoogleClient) -> None:
        get = reader.users.messages().get
        assert reader.refusal(get(userId="me", id="1234567890abcdef"))[:2] == (404, "notFound")
        assert reader.refusal(get(userId="me", id="not-an-id")) == (400, "invalidArgument", "Invalid id value")


def _agrees(answer: dict[str, Any], fact: dict[str, Any], form: str) -> None:
    assert answer.get("labelIds", []) == fact["labelIds"]
    assert answer["historyId"] == fact["historyId"]
    assert answer["internalDate"] == fact["internalDate"]
    assert ("payload" in answer) == (form in ("full", "metadata"))
    assert ("raw" in answer) == (form == "raw")
    assert answer.keys() >= {"snippet", "sizeEstimate"}


class TestAttachments:
    def test_every_attachment_can_be_fetched_with_its_size(self, reader: GoogleClient) -> None:
        fetched = 0
        for fact in reader.truth()[:60]:
            message = reader.execute(reader.users.messages().get(userId="me", id=fact["id"]))
            for leaf in _leaves(message["payload"]):
                if "attachmentId" not in leaf["body"]:
                    continue
                name = leaf["body"]["attachmentId"]
                request = reader.users.messages().attachments().get(userId="me", messageId=fact["id"], id=name)
                body = reader.execute(request)
                assert len(_decode(body["data"])) == body["size"] == leaf["body"]["size"]
                fetched += 1
        assert fetched > 3

    def test_the_id_differs_in_every_answer_and_old_ones_still_work(self, reader: GoogleClient) -> None:
        message_id, first = _first_attachment(reader)
        _, second = _first_attachment(reader)
        assert first != second
        for name in (first, second):
            reader.execute(reader.users.messages().attachments().get(userId="me", messageId=message_id, id=name))

    def test_an_id_of_another_message_is_refused(self, reader: GoogleClient) -> None:
        message_id, name = _first_attachment(reader)
        other = next(fact["id"] for fact in reader.truth() if fact["id"] != message_id)
        request = reader.users.messages().attachments().get(userId="me", messageId=other, id=name)
        assert reader.refusal(request)[:2] == (400, "invalidArgument")


def _first_attachment(client: GoogleClient) -> tuple[str, str]:
    for fact in client.truth():
        message = client.execute(client.users.messages().get(userId="me", id=fact["id"]))
        for leaf in _leaves(message["payload"]):
            if "attachmentId" in leaf["body"]:
                return fact["id"], leaf["body"]["attachmentId"]
    raise AssertionError("no attachment in this mailbox")


class TestThreads:
    def test_listed_threads_are_those_of_the_messages(self, reader: GoogleClient) -> None:
        listed = reader.every(reader.users.threads(), "threads", maxResults=33, includeSpamTrash=True)
        newest_first = list(dict.fromkeys(fact["threadId"] for fact in reader.truth()))
        assert [item["id"] for item in listed] == newest_first

    def test_a_thread_has_its_messages_oldest_first(self, reader: GoogleClient) -> None:
        facts = reader.truth()
        counts = [fact["threadId"] for fact in facts]
        name = max(counts, key=counts.count)
        for form in ("full", "metadata", "minimal"):
            thread = reader.execute(reader.users.threads().get(userId="me", id=name, format=form))
            wanted = [fact["id"] for fact in reversed(facts) if fact["threadId"] == name]
            assert len(wanted) > 2
            assert [message["id"] for message in thread["messages"]] == wanted
            assert thread["historyId"] == str(max(int(message["historyId"]) for message in thread["messages"]))

    def test_changes_reach_every_message(self, writer: GoogleClient) -> None:
        name = writer.truth()[0]["threadId"]
        threads = writer.users.threads()
        writer.execute(threads.modify(userId="me", id=name, body={"addLabelIds": ["STARRED"]}))
        writer.execute(threads.trash(userId="me", id=name))
        assert {"STARRED", "TRASH"} <= set(writer.truth()[0]["labelIds"])
        writer.execute(threads.untrash(userId="me", id=name))
        assert "TRASH" not in writer.truth()[0]["labelIds"]
        writer.execute(threads.delete(userId="me", id=name))
        assert name not in {fact["threadId"] for fact in writer.truth()}


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


class TestWrites:
    def test_modify_changes_labels_and_refuses_fixed_ones(self, writer: GoogleClient) -> None:
        name = writer.truth()[0]["id"]
        modify = writer.users.messages().modify
        answer = writer.execute(modify(userId="me", id=name, body={"addLabelIds": ["STARRED"], "removeLabelIds": []}))
        assert answer["labelIds"] == writer.truth()[0]["labelIds"]
        assert writer.refusal(modify(userId="me", id=name, body={"addLabelIds": ["SENT"]}))[2] == "Invalid label: SENT"
        assert writer.refusal(modify(userId="me", id=name, body={"addLabelIds": ["nope"]}))[2] == "Invalid label: nope"

    def test_batch_modify_and_batch_delete_pass_over_missing_ids(self, writer: GoogleClient) -> None:
        ids = [fact["id"] for fact in writer.truth()[:3]]
        messages = writer.users.messages()
        writer.execute(messages.batchModify(userId="me", body={"ids": [*ids, "ffff"], "addLabelIds": ["IMPORTANT"]}))
        assert all("IMPORTANT" in fact["labelIds"] for fact in writer.truth()[:3])
        writer.execute(messages.batchDelete(userId="me", body={"ids": [*ids, "ffff"]}))
        assert not set(ids) & {fact["id"] for fact in writer.truth()}

    def test_trash_and_untrash(self, writer: GoogleClient) -> None:
        name = writer.truth()[0]["id"]
        messages = writer.users.messages()
        assert "TRASH" in writer.execute(messages.trash(userId="me", id=name))["labelIds"]
        assert "TRASH" not in writer.execute(messages.untrash(userId="me", id=name)).get("labelIds", [])

    def test_import_keeps_the_date_of_the_header(self, writer: GoogleClient) -> None:
        raw = _raw_message(Date="Thu, 01 Jan 1970 00:00:01 +0000")
        body = {"raw": raw, "labelIds": ["INBOX"]}
        made = writer.execute(writer.users.messages().import_(userId="me", body=body))
        got = writer.execute(writer.users.messages().get(userId="me", id=made["id"], format="minimal"))
        assert got["internalDate"] == "1000"
        inserted = writer.execute(writer.users.messages().insert(userId="me", body=body))
        got = writer.execute(writer.users.messages().get(userId="me", id=inserted["id"], format="minimal"))
        assert int(got["internalDate"]) > 10**12

    def test_a_reply_joins_its_thread(self, writer: GoogleClient) -> None:
        messages = writer.users.messages()
        first = writer.execute(messages.send(userId="me", body={"raw": _raw_message(Message_ID="<a@x>")}))
        reply = {"raw": _raw_message(In_Reply_To="<a@x>"), "threadId": first["threadId"]}
        second = writer.execute(messages.send(userId="me", body=reply))
        assert second["threadId"] == first["threadId"]
        assert second["labelIds"] == ["SENT"]

    def test_a_draft_keeps_its_id_while_its_message_changes(self, writer: GoogleClient) -> None:
        drafts = writer.users.drafts()
        made = writer.execute(drafts.create(userId="me", body={"message": {"raw": _raw_message("one")}}))
        saved = writer.execute(
            drafts.update(userId="me", id=made["id"], body={"message": {"raw": _raw_message("two")}})
        )
        assert saved["id"] == made["id"]
        assert saved["message"]["id"] != made["message"]["id"]
        assert writer.every(drafts, "drafts") == [
            {"id": made["id"], "message": {name: saved["message"][name] for name in ("id", "threadId")}}
        ]
        sent = writer.execute(drafts.send(userId="me", body={"id": made["id"]}))
        assert sent["labelIds"] == ["SENT"]
        assert writer.refusal(drafts.get(userId="me", id=made["id"]))[0] == 404
        another = writer.execute(drafts.create(userId="me", body={"message": {"raw": _raw_message("three")}}))
        assert writer.execute(drafts.get(userId="me", id=another["id"], format="raw"))["message"]["raw"]
        writer.execute(drafts.delete(userId="me", id=another["id"]))
        assert writer.every(drafts, "drafts") == []


class TestWatch:
    def test_watch_answers_the_cursor_and_its_end(self, writer: GoogleClient) -> None:
        body = {"topicName": "projects/p/topics/t", "labelIds": ["INBOX"], "labelFilterBehavior": "include"}
        answer = writer.execute(writer.users.watch(userId="me", body=body))
        assert answer["historyId"] == writer.execute(writer.users.getProfile(userId="me"))["historyId"]
        writer.execute(writer.users.stop(userId="me"))

    def test_a_topic_without_its_form_is_refused(self, writer: GoogleClient) -> None:
        assert writer.refusal(writer.users.watch(userId="me", body={"topicName": "mail"}))[0] == 400


# The client's own way to refresh a token in the middle of a batch opens a connection that it never closes.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
class TestBatch:
    def test_fifty_gets_come_back_each_to_its_own(self, reader: GoogleClient, discovery: Discovery) -> None:
        ids = [fact["id"] for fact in reader.truth()[:50]]
        answers = reader.batch([reader.users.messages().get(userId="me", id=name) for name in ids])
        assert [answers[str(i)][0]["id"] for i in range(50)] == ids
        assert all(discovery.problems(answer, "Message") == [] for answer, _ in answers.values())

    def test_a_missing_message_fails_alone(self, reader: GoogleClient) -> None:
        get = reader.users.messages().get
        name = reader.truth()[0]["id"]
        answers = reader.batch([get(userId="me", id=name), get(userId="me", id="123456789abcdef0")])
        assert answers["0"][0]["id"] == name
        error = answers["1"][1]
        assert isinstance(error, HttpError)
        assert error.resp.status == 404

    def test_parts_may_write(self, writer: GoogleClient) -> None:
        ids = [fact["id"] for fact in writer.truth()[:3]]
        modify = writer.users.messages().modify
        answers = writer.batch([modify(userId="me", id=name, body={"addLabelIds": ["STARRED"]}) for name in ids])
        assert [error for _, error in answers.values()] == [None] * 3
        assert all("STARRED" in fact["labelIds"] for fact in writer.truth()[:3])

    def test_a_dead_token_is_refreshed_for_the_parts_that_it_failed(self, writer: GoogleClient) -> None:
        writer.execute(writer.users.getProfile(userId="me"))
        writer.mailbox("POST", "/tokens/expire")
        answers = writer.batch([writer.users.getProfile(userId="me"), writer.users.labels().list(userId="me")])
        assert [error for _, error in answers.values()] == [None, None]

    def test_a_hundred_and_one_are_refused_as_a_whole(self, reader: GoogleClient) -> None:
        request = reader.users.getProfile
        assert len(reader.batch([request(userId="me") for _ in range(100)])) == 100
        with pytest.raises(HttpError, match="Received: 101, Limit: 100") as refused:
            reader.batch([request(userId="me") for _ in range(101)])
        assert refused.value.resp.status == 400


class TestRefusals:
    def test_another_user_is_delegation_denied(self, reader: GoogleClient) -> None:
        code, _, message = reader.refusal(reader.users.getProfile(userId="somebody@example.com"))
        assert (code, message) == (403, f"Delegation denied for {reader.email}")
        reader.execute(reader.users.getProfile(userId=reader.email.upper()))

    def test_a_reading_scope_does_not_write(self, new_client: NewClient) -> None:
        client = new_client(messages=1, scope=READONLY)
        name = client.truth()[0]["id"]
        client.execute(client.users.messages().get(userId="me", id=name, format="raw"))
        refusal = client.refusal(client.users.messages().trash(userId="me", id=name))
        assert refusal == (403, "insufficientPermissions", "Request had insufficient authentication scopes.")

    def test_the_metadata_scope_gives_no_bodies_and_no_search(self, new_client: NewClient) -> None:
        client = new_client(messages=1, scope=METADATA)
        name = client.truth()[0]["id"]
        get = client.users.messages().get
        client.execute(get(userId="me", id=name, format="metadata"))
        assert client.refusal(get(userId="me", id=name))[2] == "Metadata scope doesn't allow format FULL"
        refusal = client.refusal(client.users.messages().list(userId="me", q="x"))
        assert refusal[2] == "Metadata scope does not support 'q' parameter"

    def test_a_quota_error_is_one_that_the_client_waits_for_and_repeats(self, writer: GoogleClient) -> None:
        rule = {
            "method": "gmail.profile.get",
            "kind": "error",
            "status": 403,
            "reason": "rateLimitExceeded",
            "count": 1,
        }
        writer.control("PUT", "/faults", {"rules": [rule | {"user": writer.email}]})
        request = writer.users.getProfile(userId="me")
        request._sleep = lambda _: None
        assert request.execute(num_retries=1)["emailAddress"] == writer.email
        [counted] = writer.control("GET", "/faults")["rules"]
        assert counted["fired"] == 1
        writer.control("DELETE", "/faults")


class TestDocument:
    def test_field_masks_know_exactly_the_fields_of_the_document(self, discovery: Discovery) -> None:
        for kind, fields in SCHEMA.items():
            document = discovery.schemas[kind]["properties"]
            shapes = {name: _shape(document[name]) for name in document}
            assert fields == shapes

    def test_every_method_is_where_the_document_puts_it(self, discovery: Discovery) -> None:
        for method in MethodTable(push=_NoPush()).methods:  # type: ignore[arg-type]
            name = {"profile.get": "getProfile"}.get(method.name, method.name)
            document = discovery.methods[f"gmail.users.{name}"]
            path = document["path"].split("{userId}/")[1].replace("{id}", "{}").replace("{messageId}", "{}")
            assert (method.verb, method.path) == (document["httpMethod"], path)
            assert method.response == document.get("response", {}).get("$ref")
            assert method.params == document["parameters"].keys() - {"userId", "id", "messageId"} - COMMON_PARAMS


class _NoPush:
    watch = stop = staticmethod(lambda _: None)


def _shape(schema: dict[str, Any]) -> str:
    if schema.get("type") == "array":
        return f"{schema['items'].get('$ref', '')}[]"
    return str(schema.get("$ref", ""))
