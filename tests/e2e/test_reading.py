"""Reading synced mail."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.e2e.people import Person, Provider, external_ids


@pytest.fixture(scope="module")
def ada(stack: Any, http: Any) -> Person:
    """A person with a synced mailbox of 60 messages."""
    provider = Provider(stack.sandbox_url)
    email = provider.new_user(messages=60, email="reading@example.com")
    provider.close()
    person = Person.sign_in(http, email)
    person.sync()
    return person


class TestList:
    def test_is_newest_first_and_the_same_by_any_page_size(self, ada: Person) -> None:
        whole = ada.emails()
        assert len(whole) == 60
        assert [email["received_at"] for email in whole] == sorted((e["received_at"] for e in whole), reverse=True)
        assert ada.emails(limit=1) == ada.emails(limit=7) == whole

    def test_is_also_found_by_account_and_with_a_slash(self, ada: Person) -> None:
        account_id = ada.address()["account_id"]
        answers = [
            ada.get(f"/emails?user_email={ada.email}").json(),
            ada.get(f"/emails/?user_email={ada.email}").json(),
            ada.get(f"/emails?account_id={account_id}").json(),
        ]
        assert len(answers[0]["emails"]) == 50
        assert [external_ids(answer["emails"]) for answer in answers[1:]] == [external_ids(answers[0]["emails"])] * 2

    def test_filters_by_read_state(self, ada: Person) -> None:
        unread, read = ada.emails(unread="true"), ada.emails(unread="false")
        assert not any(email["is_read"] for email in unread)
        assert all(email["is_read"] for email in read)
        assert len(unread) + len(read) == 60

    def test_filters_by_label_id_and_by_name_in_any_case(self, ada: Person) -> None:
        labels = ada.get(f"/emails/labels?user_email={ada.email}").json()["labels"]
        assert "INBOX" in [label["id"] for label in labels]
        for label in labels:
            expected = [email["id"] for email in ada.emails() if label["name"] in email["labels"]]
            for spelling in (label["id"], label["name"], label["name"].upper(), label["name"].lower()):
                assert [email["id"] for email in ada.emails(label=spelling)] == expected, spelling

    def test_of_an_unknown_label_is_empty(self, ada: Person) -> None:
        assert ada.emails(label="no-such-label") == []

    @pytest.mark.parametrize("cursor", ["x", "AAAA", "e30", "%F0%9F%98%80", "9" * 200])
    def test_refuses_a_bad_cursor(self, ada: Person, cursor: str) -> None:
        answer = ada.get(f"/emails?user_email={ada.email}&cursor={cursor}")
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_page_token")

    def test_refuses_a_cursor_of_other_filters_or_another_mailbox(
        self, ada: Person, new_person: Callable[..., Person]
    ) -> None:
        grace = new_person(messages=10)
        grace.sync()
        cursor = ada.get(f"/emails?user_email={ada.email}&limit=2").json()["next_cursor"]
        answers = [
            ada.get(f"/emails?user_email={ada.email}&limit=2&unread=true&cursor={cursor}"),
            ada.get(f"/emails?user_email={ada.email}&limit=2&label=INBOX&cursor={cursor}"),
            grace.get(f"/emails?user_email={grace.email}&limit=2&cursor={cursor}"),
        ]
        assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(400, "invalid_page_token")] * 3

    def test_takes_a_cursor_with_another_limit(self, ada: Person) -> None:
        cursor = ada.get(f"/emails?user_email={ada.email}&limit=2").json()["next_cursor"]
        page = ada.get(f"/emails?user_email={ada.email}&limit=5&cursor={cursor}").json()
        assert external_ids(page["emails"]) == external_ids(ada.emails())[2:7]


class TestMessage:
    def test_has_all_fields_of_the_list_and_more(self, ada: Person) -> None:
        for email in ada.emails():
            whole = ada.get(f"/emails/{email['id']}").json()
            assert whole["headers"]
            assert whole["text"] is not None or whole["html"] is not None
            assert {name: whole[name] for name in email} == email

    @pytest.mark.parametrize("identifier", ["x", "%00", "0", "AAAA", "-", "%F0%9F%98%80", "9" * 500])
    def test_that_is_unknown_does_not_exist(self, ada: Person, identifier: str) -> None:
        answer = ada.get(f"/emails/{identifier}")
        assert (answer.status_code, answer.json()["code"]) == (404, "message_not_found")

    def test_is_read_as_it_was_sent(self, new_person: Callable[..., Person], provider: Provider) -> None:
        grace = new_person()
        provider.deliver(
            grace.email,
            **{"from": "Адам <adam@example.org>"},
            cc="Someone Else <else@example.net>",
            subject="Счёт № 7 — 请付款",
            text="Привет 🙂\n",
            html="<p>Привет 🙂</p>",
            date="Tue, 03 Mar 2026 10:00:00 +0545",
        )
        grace.sync()
        [email] = grace.emails()
        whole = grace.get(f"/emails/{email['id']}").json()
        assert whole["subject"] == "Счёт № 7 — 请付款"
        assert whole["from"] == {"name": "Адам", "email": "adam@example.org"}
        assert whole["cc"] == [{"name": "Someone Else", "email": "else@example.net"}]
        assert whole["text"].strip() == "Привет 🙂"
        assert whole["html"].strip() == "<p>Привет 🙂</p>"
        assert {"name": "Subject", "value": "Счёт № 7 — 请付款"} in whole["headers"]


class TestIdentifiers:
    @pytest.mark.parametrize("identifier", ["x", "%00", "00000000-0000-0000-0000-000000000000", "9" * 500])
    def test_of_unknown_syncs_do_not_exist(self, ada: Person, identifier: str) -> None:
        answer = ada.get(f"/emails/syncs/{identifier}")
        assert (answer.status_code, answer.json()["code"]) == (404, "sync_not_found")

    @pytest.mark.parametrize("path", ["/emails?account_id=", "/mailboxes/"])
    def test_of_unknown_accounts_do_not_exist(self, ada: Person, path: str) -> None:
        answer = ada.get(f"{path}00000000-0000-0000-0000-000000000000")
        assert (answer.status_code, answer.json()["code"]) == (404, "mailbox_not_found")

    @pytest.mark.parametrize("path", ["/emails?account_id=", "/mailboxes/"])
    def test_of_accounts_that_are_none_are_refused(self, ada: Person, path: str) -> None:
        answer = ada.get(f"{path}x")
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_account_id")
        assert answer.json()["detail"] == "The id of a mailbox is a UUID."

    @pytest.mark.parametrize("query", ["account_id=%00", "user_email=a%00", "label=%00", "cursor=%00"])
    def test_with_nul_are_refused(self, ada: Person, query: str) -> None:
        mailbox = "" if "user_email" in query or "account_id" in query else f"&user_email={ada.email}"
        assert ada.get(f"/emails?{query}{mailbox}").status_code == 400

    @pytest.mark.parametrize("email", ["x", "a@b@c", "nobody@example.com", "x" * 320])
    def test_of_unknown_addresses_do_not_exist(self, ada: Person, email: str) -> None:
        answer = ada.post("/emails/sync", {"email": email})
        assert (answer.status_code, answer.json()["code"]) == (404, "mailbox_not_found")
