"""Profile and listings, through Google's own client."""

from tests.contract.conftest import NewClient
from tests.support.contract.google_client import GoogleClient, raw_message


class TestProfileAndListing:
    def test_the_profile_counts_everything(self, reader: GoogleClient) -> None:
        profile = reader.execute(reader.users.getProfile(userId="me"))
        truth = reader.truth()
        assert profile["messagesTotal"] == len(truth) == 216
        assert profile["threadsTotal"] == len({fact["threadId"] for fact in truth})

    def test_pages_give_every_message_once_newest_first(self, reader: GoogleClient) -> None:
        listed = reader.every(reader.users.messages(), "messages", maxResults=47, includeSpamTrash=True)
        assert [item["id"] for item in listed] == [fact["id"] for fact in reader.truth()]

    def test_spam_and_trash_are_left_out_by_default(self, reader: GoogleClient) -> None:
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
            writer.users.messages().send(userId="me", body={"raw": raw_message(Message_ID="<x.1@example.com>")})
        )
        [found] = writer.every(writer.users.messages(), "messages", q="rfc822msgid:x.1@example.com")
        assert found["id"] == sent["id"]


def _labels(client: GoogleClient, message_id: str) -> list[str]:
    answer = client.execute(client.users.messages().get(userId="me", id=message_id, format="minimal"))
    labels: list[str] = answer.get("labelIds", [])
    return labels
