"""Batches of Google's own client."""

import pytest
from googleapiclient.errors import HttpError

from tests.support.contract.discovery import Discovery
from tests.support.contract.google_client import GoogleClient


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
