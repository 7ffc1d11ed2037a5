"""Writes of Google's own client to a mailbox."""

from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.utils import parseaddr, parsedate_to_datetime

from tests.support.contract.google_client import GoogleClient, encode, raw_message


class TestWrites:
    def test_modify_changes_labels_and_refuses_fixed_ones(self, writer: GoogleClient) -> None:
        name = writer.truth()[0]["id"]
        modify = writer.users.messages().modify
        answer = writer.execute(modify(userId="me", id=name, body={"addLabelIds": ["STARRED"], "removeLabelIds": []}))
        assert answer["labelIds"] == writer.truth()[0]["labelIds"]
        assert writer.refusal(modify(userId="me", id=name, body={"addLabelIds": ["SENT"]}))[2] == "Invalid label: SENT"
        assert writer.refusal(modify(userId="me", id=name, body={"addLabelIds": ["nope"]}))[2] == "Invalid label: nope"

    def test_a_modify_that_changes_nothing_is_refused(self, writer: GoogleClient) -> None:
        [first, *_] = writer.truth()
        messages, threads = writer.users.messages(), writer.users.threads()
        refused = [
            writer.refusal(messages.modify(userId="me", id=first["id"], body={})),
            writer.refusal(messages.modify(userId="me", id=first["id"], body={"addLabelIds": []})),
            writer.refusal(messages.batchModify(userId="me", body={"ids": [first["id"]]})),
            writer.refusal(threads.modify(userId="me", id=first["threadId"], body={"removeLabelIds": []})),
        ]
        assert refused == [(400, "invalidArgument", "No label add or removes specified")] * 4
        assert writer.truth()[0] == first

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
        raw = raw_message(Date="Thu, 01 Jan 1970 00:00:01 +0000")
        body = {"raw": raw, "labelIds": ["INBOX"]}
        made = writer.execute(writer.users.messages().import_(userId="me", body=body))
        got = writer.execute(writer.users.messages().get(userId="me", id=made["id"], format="minimal"))
        assert got["internalDate"] == "1000"
        inserted = writer.execute(writer.users.messages().insert(userId="me", body=body))
        got = writer.execute(writer.users.messages().get(userId="me", id=inserted["id"], format="minimal"))
        assert int(got["internalDate"]) > 10**12

    def test_a_reply_joins_its_thread(self, writer: GoogleClient) -> None:
        messages = writer.users.messages()
        first = writer.execute(messages.send(userId="me", body={"raw": raw_message(Message_ID="<a@x>")}))
        reply = {"raw": raw_message(In_Reply_To="<a@x>"), "threadId": first["threadId"]}
        second = writer.execute(messages.send(userId="me", body=reply))
        assert second["threadId"] == first["threadId"]
        assert second["labelIds"] == ["SENT"]

    def test_sent_mail_has_a_message_id_a_date_and_the_user_as_its_author(self, writer: GoogleClient) -> None:
        messages, drafts = writer.users.messages(), writer.users.drafts()
        bare = b"To: you@example.com\r\nSubject: bare\r\n\r\nFrom: the text\r\n"
        draft = writer.execute(drafts.create(userId="me", body={"message": {"raw": encode(bare)}}))
        sent = [
            writer.execute(messages.send(userId="me", body={"raw": encode(bare)})),
            writer.execute(drafts.send(userId="me", body={"id": draft["id"]})),
        ]
        made = [message_from_bytes(writer.raw(message["id"])) for message in sent]
        for message in made:
            assert parseaddr(message["From"])[1] == writer.email
            assert message.get_all("Subject") == ["bare"]
            assert abs(parsedate_to_datetime(message["Date"]) - datetime.now(UTC)) < timedelta(minutes=5)
            assert message.get_payload() == "From: the text\r\n"
        assert len({message["Message-ID"] for message in made}) == 2

    def test_sent_mail_keeps_what_it_has_but_an_address_of_somebody_else(self, writer: GoogleClient) -> None:
        writer.mailbox("PATCH", "", {"send_as": ["sales@example.com"]})
        given = {"Message-ID": "<a@x>", "Date": "Thu, 01 Jan 1970 00:00:01 +0000"}
        authors = {
            "Sales <Sales@example.com>": "Sales <Sales@example.com>",
            f"Me <{writer.email}>": f"Me <{writer.email}>",
            "Boss\n <boss@example.com>": f"User1 <{writer.email}>",
        }
        for author, expected in authors.items():
            headers = "".join(f"{name}: {value}\n" for name, value in ({"From": author} | given).items())
            raw = encode(f"{headers}To: you@example.com\n\nx\n".encode())
            sent = writer.execute(writer.users.messages().send(userId="me", body={"raw": raw}))
            message = message_from_bytes(writer.raw(sent["id"]))
            [found] = message.get_all("From", [])
            assert parseaddr(found)[1] == parseaddr(expected)[1]
            assert (message["Message-ID"], message["Date"]) == (given["Message-ID"], given["Date"])

    def test_a_draft_keeps_its_id_while_its_message_changes(self, writer: GoogleClient) -> None:
        drafts = writer.users.drafts()
        made = writer.execute(drafts.create(userId="me", body={"message": {"raw": raw_message("one")}}))
        saved = writer.execute(drafts.update(userId="me", id=made["id"], body={"message": {"raw": raw_message("two")}}))
        assert saved["id"] == made["id"]
        assert saved["message"]["id"] != made["message"]["id"]
        assert writer.every(drafts, "drafts") == [
            {"id": made["id"], "message": {name: saved["message"][name] for name in ("id", "threadId")}}
        ]
        sent = writer.execute(drafts.send(userId="me", body={"id": made["id"]}))
        assert sent["labelIds"] == ["SENT"]
        assert writer.refusal(drafts.get(userId="me", id=made["id"]))[0] == 404
        another = writer.execute(drafts.create(userId="me", body={"message": {"raw": raw_message("three")}}))
        assert writer.execute(drafts.get(userId="me", id=another["id"], format="raw"))["message"]["raw"]
        writer.execute(drafts.delete(userId="me", id=another["id"]))
        assert writer.every(drafts, "drafts") == []
