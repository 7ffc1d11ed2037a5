"""Pages, searches and history beyond the reach of Google's client: expiry, retention, forged tokens, unusual ids."""

import json
from collections.abc import AsyncIterator

import pytest

from tests.support.sandbox.mail_client import EMAIL, MailClient, open_mail, reason, sign_in


@pytest.fixture
async def mail() -> AsyncIterator[MailClient]:
    async with open_mail(30) as client:
        yield client


class TestPageTokens:
    async def test_they_are_numeric_and_expire(self, mail: MailClient) -> None:
        await mail.control("PATCH", "gmail", {"page_token_lifetime": 600})
        token = (await mail.json("messages?maxResults=3"))["nextPageToken"]
        assert token.isdigit()
        mail.clock.advance(500)
        assert (await mail.get(f"messages?maxResults=3&pageToken={token}")).status_code == 200
        mail.clock.advance(200)
        assert reason(await mail.get(f"messages?maxResults=3&pageToken={token}")) == (400, "invalidArgument")

    @pytest.mark.parametrize("token", ["1", "abc", "9" * 80, "%D9%A1" * 60, "9" * 5000])
    async def test_forged_ones_are_refused(self, mail: MailClient, token: str) -> None:
        assert reason(await mail.get(f"messages?pageToken={token}")) == (400, "invalidArgument")

    async def test_a_page_size_that_is_no_number_is_refused_and_a_large_one_clamped(self, mail: MailClient) -> None:
        assert reason(await mail.get("messages?maxResults=many")) == (400, "invalidArgument")
        assert reason(await mail.get("messages?maxResults=-1")) == (400, "invalidArgument")
        assert len((await mail.json("messages?maxResults=9999&includeSpamTrash=true"))["messages"]) == 30

    async def test_new_mail_between_pages_repeats_and_loses_nothing_older(self, mail: MailClient) -> None:
        first = await mail.json("messages?maxResults=10&includeSpamTrash=true")
        await mail.deliver(subject="new")
        rest = await mail.json(f"messages?includeSpamTrash=true&pageToken={first['nextPageToken']}")
        assert len({item["id"] for item in first["messages"] + rest["messages"]}) == 30


async def finds(mail: MailClient, query: str) -> list[str]:
    """Return the ids that a query finds."""
    answer = await mail.http.get("/gmail/v1/users/me/messages", params={"q": query}, headers=mail.headers)
    return [item["id"] for item in answer.json().get("messages", [])]


class TestSearch:
    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ("subject:zebra", True),
            ("from:zoe@example.com", True),
            ("from:zoe@example", True),
            ("from:oe@example.com", False),
            ('"striped animals"', True),
            ('"animals striped"', False),
            ("anim", False),
            ("elephants", False),
            ("-zebra", False),
            ("--zebra", True),
            ("is:unread in:inbox label:INBOX", True),
            ("is:read", False),
            ("has:attachment", False),
            ("has:userlabels", False),
            ("has:nouserlabels", True),
            ("newer_than:1d", True),
            ("older_than:1d", False),
            ("after:2038/01/01", False),
            ("before:2038/01/01", True),
            ("larger:1m", False),
            ("size:10 smaller:1M", True),
            ("size:many nonsense_operator:x", True),
            ("-size:many -is:muted -older_than:soon -before:never", True),
            ("label:elsewhere", False),
            ("-label:elsewhere", True),
        ],
    )
    async def test_a_query_finds_what_it_names(self, query: str, found: bool) -> None:
        async with open_mail() as mail:
            name = await mail.deliver(**{"from": "zoe@example.com"}, subject="About zebra", text="Striped animals.")
            assert await finds(mail, query) == ([name] if found else [])

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ("in:chats", False),
            ("-in:chats", True),
            ("-in:anywhere", False),
            ("in:elsewhere", True),
            ("-in:elsewhere", True),
            ("zebra in:elsewhere", True),
            ("elephant in:elsewhere", False),
            ("is:muted", True),
            ("-is:muted", True),
            ("-(in:elsewhere is:muted)", True),
            ("elephant OR is:muted", False),
        ],
    )
    async def test_places_and_states_that_do_not_exist_are_ignored(self, query: str, found: bool) -> None:
        async with open_mail() as mail:
            name = await mail.deliver(subject="zebra")
            assert await finds(mail, query) == ([name] if found else [])

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ("zebra OR lion", "lz"),
            ("zebra | lion", "lz"),
            ("zebra OR lion grass", "z"),
            ("{zebra lion}", "lz"),
            ("{zebra (lion meat)}", "lz"),
            ("grass {zebra lion}", "z"),
            ("(zebra grass) OR (lion grass)", "z"),
            ("zebra AND grass", "z"),
            ("-(zebra grass)", "l"),
            ("-{zebra lion}", ""),
            ("subject:(zebra OR lion) -grass", "l"),
            ("from:(zoe OR leo)", "lz"),
            ("from:{zoe nobody}", "z"),
            ("from:(-zoe)", "l"),
            ("subject:grass OR subject:lion", "l"),
            ("OR zebra", "z"),
            ("zebra OR", "z"),
            ("zebra)", "z"),
            ("(zebra", "z"),
            ('"zebra', "z"),
            ("() {}", "lz"),
        ],
    )
    async def test_groups_and_alternatives(self, query: str, found: str) -> None:
        async with open_mail() as mail:
            names = {
                await mail.deliver(**{"from": "leo@example.com"}, subject="lion", text="meat"): "l",
                await mail.deliver(**{"from": "zoe@example.com"}, subject="zebra", text="grass"): "z",
            }
            assert "".join(sorted(names[name] for name in await finds(mail, query))) == found

    @pytest.mark.parametrize("query", ["(" * 51 + "x", "from:" + "{(" * 26 + "x"])
    async def test_too_many_levels_are_refused(self, mail: MailClient, query: str) -> None:
        answer = await mail.http.get("/gmail/v1/users/me/messages", params={"q": query}, headers=mail.headers)
        assert reason(answer) == (400, "invalidArgument")

    async def test_signs_and_operators_without_end_are_read(self, mail: MailClient) -> None:
        assert await finds(mail, "-" * 4000 + "older_than:10y") == []
        assert await finds(mail, "a:" * 4000 + "x older_than:10y") == []

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ("from:me", "s"),
            ("to:me", "rt"),
            ("cc:me", ""),
            ("from:me OR to:me", "rst"),
            ("-from:me -to:me", "o"),
            ("to:(me) from:zoe@example.com", "rt"),
        ],
    )
    async def test_me_is_every_own_address(self, query: str, found: str) -> None:
        async with open_mail() as mail:
            await mail.control("PATCH", f"users/{EMAIL}", {"send_as": ["sales@example.net"]})
            zoe = {"from": "zoe@example.com"}
            names = {
                await mail.deliver(**zoe, to=f"joann-{EMAIL}, {EMAIL}.evil.test", cc=""): "o",
                await mail.deliver(**zoe, to="Ada <Ada+news@Example.com>", cc=""): "t",
                await mail.deliver(**zoe, to=f"Bob <b@example.com>, Ada <{EMAIL}>", cc=""): "r",
                await mail.deliver(**{"from": "Sales <sales@example.net>"}, to="zoe@example.com", cc=""): "s",
            }
            assert "".join(sorted(names[name] for name in await finds(mail, query))) == found

    async def test_spam_and_trash_are_found_where_they_are_named(self, mail: MailClient) -> None:
        spam = await mail.deliver(subject="zebra", labels=["SPAM"])
        trash = await mail.deliver(subject="zebra", labels=["TRASH"])
        assert await finds(mail, "zebra") == []
        assert await finds(mail, "zebra in:spam") == [spam]
        assert await finds(mail, "zebra label:trash") == [trash]
        assert set(await finds(mail, "zebra {in:spam in:trash}")) == {trash, spam}
        assert set(await finds(mail, "zebra in:anywhere")) == {trash, spam}
        assert await finds(mail, "zebra -in:spam") == []

    async def test_a_file_is_found_by_the_words_of_its_name(self, mail: MailClient) -> None:
        raw = (
            b"Subject: x\nMIME-Version: 1.0\nContent-Type: application/pdf\n"
            b'Content-Disposition: attachment; filename="Annual report.pdf"\n\nx'
        )
        name = await mail.deliver_raw(raw)
        for query in ("filename:pdf", "filename:report.pdf", 'filename:"annual report"', "has:attachment"):
            assert await finds(mail, f"newer_than:1h {query} has:attachment") == [name], query
        assert await finds(mail, "newer_than:1h filename:rep") == []

    async def test_a_label_is_found_by_its_name(self, mail: MailClient) -> None:
        label = await mail.control("POST", f"users/{EMAIL}/labels", {"name": "Deep/Space Nine"})
        name = await mail.deliver(subject="x", labels=[label["id"]])
        [found] = (await mail.json("messages?q=label:deep-space-nine"))["messages"]
        assert found["id"] == name


class TestHistory:
    async def test_records_older_than_the_retention_are_gone(self) -> None:
        async with open_mail(1, history_retention=3600, token_ttl=10**6) as mail:
            start = (await mail.json("profile"))["historyId"]
            await mail.deliver(subject="a")
            later = (await mail.json("profile"))["historyId"]
            mail.clock.advance(3000)
            await mail.deliver(subject="b")
            assert len((await mail.json(f"history?startHistoryId={start}"))["history"]) == 2
            mail.clock.advance(1000)
            assert reason(await mail.get(f"history?startHistoryId={start}")) == (404, "notFound")
            assert len((await mail.json(f"history?startHistoryId={later}"))["history"]) == 1

    async def test_ids_can_lie_above_64_bits(self, mail: MailClient) -> None:
        jumped = await mail.control("PUT", f"users/{EMAIL}/mailbox", {"history_id": "36893488147419103232"})
        name = await mail.deliver(subject="far")
        [record] = (await mail.json(f"history?startHistoryId={jumped['historyId']}"))["history"]
        assert int(record["id"]) > 2**65
        assert (await mail.json(f"messages/{name}?format=minimal"))["historyId"] == record["id"]

    async def test_of_a_lagging_index_say_how_often_they_left_messages_out(self, mail: MailClient) -> None:
        await mail.control("PUT", f"users/{EMAIL}/mailbox", {"index_lag": 5, "short_list_every": 2})
        await mail.deliver(subject="late")
        for _ in range(3):
            await mail.json("messages")
        struck = {"late_entries": 3, "short_listings": 1}
        assert (await mail.control("GET", f"users/{EMAIL}/mailbox"))["struck"] == struck
        assert (await mail.control("PUT", f"users/{EMAIL}/mailbox", {}))["before"] == struck
        assert (await mail.control("GET", f"users/{EMAIL}/mailbox"))["struck"] == dict.fromkeys(struck, 0)

    async def test_ids_never_go_back(self, mail: MailClient) -> None:
        answer = await mail.http.put(f"/_sandbox/users/{EMAIL}/mailbox", json={"history_id": "1"})
        assert answer.status_code == 400

    @pytest.mark.parametrize(
        "query", ["", "startHistoryId=abc", "startHistoryId=-1", "startHistoryId=1&historyTypes=messagesAdded"]
    )
    async def test_malformed_parameters_are_refused(self, mail: MailClient, query: str) -> None:
        assert reason(await mail.get(f"history?{query}")) == (400, "invalidArgument")

    async def test_a_page_that_is_filtered_out_is_empty_and_goes_on(self, mail: MailClient) -> None:
        start = (await mail.json("profile"))["historyId"]
        await mail.control("POST", f"users/{EMAIL}/messages", {"count": 5})
        answer = await mail.json(f"history?startHistoryId={start}&historyTypes=messageDeleted&maxResults=2")
        assert "history" not in answer
        assert answer["nextPageToken"]

    async def test_saving_a_draft_deletes_the_old_message_and_adds_a_new_one(self, mail: MailClient) -> None:
        start = (await mail.json("profile"))["historyId"]
        draft = await mail.control("POST", f"users/{EMAIL}/drafts", {"subject": "one"})
        saved = await mail.control("PUT", f"users/{EMAIL}/drafts/{draft['id']}", {"subject": "two"})
        records = (await mail.json(f"history?startHistoryId={start}"))["history"]
        kinds = [next(kind for kind in record if kind not in ("id", "messages")) for record in records]
        assert kinds == ["messagesAdded", "messagesDeleted", "messagesAdded"]
        assert records[-1]["messages"][0]["id"] == saved["message"]["id"]

    async def test_trash_is_a_change_of_labels(self, mail: MailClient) -> None:
        name = await mail.deliver(subject="x")
        start = (await mail.json("profile"))["historyId"]
        await mail.post(f"messages/{name}/trash")
        [record] = (await mail.json(f"history?startHistoryId={start}"))["history"]
        assert record["labelsAdded"][0]["labelIds"] == ["TRASH"]
        assert record["labelsRemoved"][0]["labelIds"] == ["INBOX"]


class TestLog:
    async def test_the_log_has_every_change_in_order(self, mail: MailClient) -> None:
        name = await mail.deliver(subject="x")
        await mail.control("POST", f"users/{EMAIL}/messages/{name}/labels", {"add": ["STARRED"], "remove": ["UNREAD"]})
        await mail.control("DELETE", f"users/{EMAIL}/messages/{name}")
        answer = await mail.http.get("/_sandbox/log?since=1")
        events = [json.loads(line) for line in answer.text.splitlines()]
        assert [event["event"] for event in events] == ["messageAdded", "labelsChanged", "messageDeleted"]
        assert {event["id"] for event in events} == {name}
        assert [event["seq"] for event in events] == [2, 3, 4]

    async def test_a_second_user_has_a_mailbox_of_their_own(self, mail: MailClient) -> None:
        await mail.control("POST", "users", {"email": "bob@example.com", "messages": 2})
        again = await sign_in(mail.http, mail.clock)
        assert (await again.json("profile"))["messagesTotal"] == 30
        assert reason(await again.http.get("/gmail/v1/users/bob@example.com/profile", headers=again.headers)) == (
            403,
            "forbidden",
        )
