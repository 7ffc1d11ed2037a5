"""Searching, threads, export and the feed of changes, through REST and the whole system."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from tests.e2e.test_sync import wait_for
from tests.support.e2e.people import Person, Provider, external_ids

NewPerson = Callable[..., Person]


def deliver(provider: Provider, person: Person, subject: str, text: str, **fields: object) -> str:
    """Deliver a message. Returns its id at the provider."""
    sender = {"from": "Grace Hopper <grace@example.org>", "to": person.email}
    [external_id] = provider.deliver(person.email, subject=subject, text=text, **sender, **fields)
    return external_id


def follow(person: Person, since: str = "", **headers: str) -> dict[str, Any]:
    answer = person.get(f"/emails/changes?{urlencode({'user_email': person.email, 'since': since})}", **headers)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def _streamed(lines: Iterator[str]) -> dict[str, Any]:
    """Return the page of the next event that has one."""
    return dict(json.loads(next(line for line in lines if line.startswith("data: ")).removeprefix("data: ")))


class TestSearch:
    def test_finds_words_of_any_script(self, new_person: NewPerson, provider: Provider) -> None:
        ada = new_person()
        invoice = deliver(provider, ada, "Invoice 42", "Please pay it's due. 東京タワーで会議")
        letter = deliver(provider, ada, "Письмо", "Ёлка стоит в лесу", labels=["INBOX", "UNREAD"])
        ada.sync()
        for query, found in {
            "invoice": [invoice],
            '"please pay"': [invoice],
            '"pay please"': [],
            "会議": [invoice],
            "елка": [letter],
            "from:grace": [letter, invoice],
            "from:grace -subject:invoice is:unread": [letter],
            "invoice OR лесу": [letter, invoice],
        }.items():
            assert external_ids(ada.emails(q=query)) == found, query

    def test_shows_where_the_words_stand(self, new_person: NewPerson, provider: Provider) -> None:
        ada = new_person()
        deliver(provider, ada, "Hello", "The <b>needle</b> in a haystack")
        ada.sync()
        [email] = ada.emails(q="needle", highlight="true")
        assert "&lt;b&gt;<mark>needle</mark>&lt;/b&gt;" in email["highlight"]

    def test_points_at_a_mistake(self, new_person: NewPerson) -> None:
        ada = new_person()
        answer = ada.get(f"/emails?{urlencode({'user_email': ada.email, 'q': 'hello (world'})}")
        assert (answer.status_code, answer.json()["code"], answer.json()["column"]) == (400, "invalid_query", 7)


class TestThreads:
    def test_hold_the_same_messages_as_the_list(self, new_person: NewPerson) -> None:
        ada = new_person(messages=40)
        ada.sync()
        emails = ada.emails()
        threads = ada.get(f"/emails/threads?user_email={ada.email}&limit=200").json()["threads"]
        assert [thread["id"] for thread in threads] == list(dict.fromkeys(email["thread_id"] for email in emails))
        for thread in threads:
            view = ada.get(f"/emails/threads/{thread['id']}?user_email={ada.email}").json()
            members = [email for email in emails if email["thread_id"] == thread["id"]]
            assert view["emails"] == members[::-1]
            assert (thread["message_count"], thread["last_message_at"]) == (len(members), members[0]["received_at"])
            assert external_ids(ada.emails(thread_id=thread["id"])) == external_ids(members)

    def test_of_another_user_do_not_exist(self, new_person: NewPerson) -> None:
        ada, eve = new_person(messages=1), new_person()
        ada.sync()
        [email] = ada.emails()
        path = f"/emails/threads/{email['thread_id']}?account_id="
        assert ada.get(path + email["account_id"]).status_code == 200
        assert eve.get(path + email["account_id"]).status_code == 404
        assert eve.get(path + eve.address()["account_id"]).status_code == 404


class TestLabels:
    def test_count_the_messages_of_the_list(self, new_person: NewPerson) -> None:
        ada = new_person(messages=30)
        ada.sync()
        emails = ada.emails()
        for label in ada.get(f"/emails/labels?user_email={ada.email}").json()["labels"]:
            carrying = [email for email in emails if label["name"] in email["labels"]]
            unread = [email for email in carrying if not email["is_read"]]
            assert (label["message_count"], label["unread_count"]) == (len(carrying), len(unread)), label


class TestExport:
    def test_holds_the_messages_of_the_list_whole(self, new_person: NewPerson) -> None:
        ada = new_person(messages=30)
        ada.sync()
        answer = ada.get(f"/emails/export?user_email={ada.email}")
        lines = [json.loads(line) for line in answer.text.splitlines()]
        assert [line["id"] for line in lines] == [email["id"] for email in ada.emails()]
        assert lines[0] == ada.get(f"/emails/{lines[0]['id']}").json()

    def test_that_loses_mail_in_the_middle_says_so_and_is_cut_off(
        self, stack: Any, new_person: NewPerson, provider: Provider
    ) -> None:
        ada = new_person()
        # More than all buffers on the way can hold.
        for number in range(30):
            deliver(provider, ada, f"Long {number}", "long " * 200_000)
        ada.sync()
        received: list[bytes] = []
        with ada.http.stream("GET", f"/emails/export?user_email={ada.email}", headers=ada.headers()) as answer:
            pieces = answer.iter_bytes()
            received.append(next(pieces))
            stack.kill("mail")
            try:
                with pytest.raises(httpx.RemoteProtocolError):
                    received.extend(pieces)
            finally:
                stack.start("mail")
        last = json.loads(b"".join(received).splitlines()[-1])
        assert last["problem"]["code"] == "service_unavailable"
        # The gateway polls the feed once a second.
        wait_for(lambda: ada.get("/emails/syncs/none").status_code == 404, seconds=30)


class TestChanges:
    def test_list_changes_of_syncs(self, new_person: NewPerson, provider: Provider) -> None:
        ada = new_person(messages=5)
        ada.sync()
        here = follow(ada)
        assert here["changes"] == []
        # From copied messages: generated mail can be spam, which a sync of the newest leaves out, or starred already.
        [first, *_] = [email for email in ada.emails() if "STARRED" not in email["labels"]]
        [second, *_] = [email for email in ada.emails() if email["id"] != first["id"]]
        new = deliver(provider, ada, "New", "mail")
        provider.relabel(ada.email, first["external_id"], add=("STARRED",))
        provider.delete(ada.email, second["external_id"])
        ada.sync()
        there = follow(ada, here["next_since"])
        by_type = {change["type"]: change for change in there["changes"]}
        assert (by_type["created"]["email"]["external_id"], by_type["deleted"]["id"]) == (new, second["id"])
        assert by_type["updated"]["email"]["external_id"] == first["external_id"]
        assert "STARRED" in by_type["updated"]["email"]["labels"]
        assert follow(ada, there["next_since"])["changes"] == []

    def test_come_as_soon_as_they_happen(self, new_person: NewPerson, provider: Provider) -> None:
        ada = new_person()
        ada.sync()
        here = follow(ada)
        deliver(provider, ada, "New", "mail")
        ada.start_sync()
        there = follow(ada, here["next_since"], Prefer="wait=30")
        assert [change["type"] for change in there["changes"]] == ["created"]

    def test_are_streamed_until_the_session_ends(self, new_person: NewPerson, provider: Provider) -> None:
        ada = new_person()
        ada.sync()
        url = f"/emails/changes/stream?user_email={ada.email}"
        with ada.http.stream("GET", url, headers=ada.headers()) as answer:
            lines = answer.iter_lines()
            here = _streamed(lines)
            assert here["changes"] == []
            deliver(provider, ada, "New", "mail")
            ada.start_sync()
            there = _streamed(lines)
            assert [change["type"] for change in there["changes"]] == ["created"]
            assert ada.post("/auth/logout", {}).status_code == 204
            # The gateway hears of it within five seconds, and can cut the connection in the middle of the body.
            with suppress(httpx.RemoteProtocolError):
                assert not any("changes" in line for line in lines)
        again = Person.sign_in(ada.http, ada.email)
        headers = again.headers({"Last-Event-ID": here["next_since"]})
        with ada.http.stream("GET", url, headers=headers) as answer:
            assert _streamed(answer.iter_lines())["next_since"] == there["next_since"]

    def test_refuse_positions_that_they_did_not_give(self, new_person: NewPerson) -> None:
        ada, eve = new_person(), new_person()
        for person in (ada, eve):
            person.sync()
        invented = ada.get(f"/emails/changes?user_email={ada.email}&since=17")
        assert (invented.status_code, invented.json()["code"]) == (400, "invalid_since")
        foreign = ada.get(f"/emails/changes?user_email={ada.email}&since={follow(eve)['next_since']}")
        assert (foreign.status_code, foreign.json()["code"]) == (410, "resync_required")
