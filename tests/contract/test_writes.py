"""Writes of Google's own client to a mailbox."""

from tests.support.contract.google_client import GoogleClient, raw_message


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
