"""Messages, attachments and threads, through Google's own client."""

import hashlib
import itertools
from typing import Any

import pytest

from tests.support.contract.discovery import Discovery
from tests.support.contract.google_client import GoogleClient, decode, leaves


class TestMessages:
    @pytest.mark.parametrize("form", ["full", "metadata", "minimal", "raw"])
    # As in tests/contract/test_batch.py.
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
            assert hashlib.sha256(decode(answer["raw"])).hexdigest() == fact["sha256"]

    def test_label_ids_are_left_out_when_there_are_none(self, reader: GoogleClient) -> None:
        bare = next(fact for fact in reader.truth() if not fact["labelIds"])
        answer = reader.execute(reader.users.messages().get(userId="me", id=bare["id"]))
        assert "labelIds" not in answer

    def test_metadata_has_only_the_requested_headers(self, reader: GoogleClient) -> None:
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

    def test_unknown_ids_and_malformed_ids_have_different_errors(self, reader: GoogleClient) -> None:
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
            for leaf in leaves(message["payload"]):
                if "attachmentId" not in leaf["body"]:
                    continue
                name = leaf["body"]["attachmentId"]
                request = reader.users.messages().attachments().get(userId="me", messageId=fact["id"], id=name)
                body = reader.execute(request)
                assert len(decode(body["data"])) == body["size"] == leaf["body"]["size"]
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
        for leaf in leaves(message["payload"]):
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
