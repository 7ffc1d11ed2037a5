"""The routes that show stored mail."""

import asyncio
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from mailroom.mail.v1 import mail_pb2
from pydantic import TypeAdapter

from services.gateway.schemas.addresses import AddressList
from services.gateway.schemas.emails import Email, EmailPage, LabelList
from services.kit.errors import AppError, Kind
from tests.gateway.conftest import Gateway
from tests.support.mail.waiting import eventually

ADA = "ada@example.com"


def message(number: int = 1, **fields: Any) -> mail_pb2.GetMessageResponse:
    """Return a message with the required fields only."""
    summary = mail_pb2.MessageSummary(
        message_id=f"m{number}",
        external_id=f"18c{number}",
        account_id=f"account-of-{ADA}",
        thread_id="t1",
        received_time=Timestamp(seconds=1_700_000_000 + number, nanos=5_000_000),
        **fields,
    )
    return mail_pb2.GetMessageResponse(summary=summary)


def full_message() -> mail_pb2.GetMessageResponse:
    """Return a message with all fields."""
    sender = mail_pb2.Address(name="Грейс", email="grace@example.org")
    result = message(
        to=[mail_pb2.Address(name="", email=ADA)],
        cc=[sender],
        subject="",
        snippet="Hello & \u202e",
        is_read=True,
        marks=["seen", "flagged"],
        labels=["INBOX", "Работа"],
        has_attachments=True,
        size=1 << 40,
    )
    getattr(result.summary, "from").CopyFrom(sender)
    result.text = ""
    result.html = "<p>Hello</p>"
    result.headers.add(name="Received", value="one")
    result.headers.add(name="Received", value="two")
    result.attachments.add(attachment_id="1", filename="a.pdf", mime_type="application/pdf", size=7)
    result.attachments.add(attachment_id="2", filename="", mime_type="image/png", size=8, inline=True, content_id="x@y")
    return result


def connect(gateway: Gateway, *messages: mail_pb2.GetMessageResponse) -> str:
    """Give Ada a mailbox with these messages."""
    account_id = gateway.mail.connect("ada", ADA).account_id
    gateway.mail.messages[account_id] = list(messages)
    return account_id


async def get(gateway: Gateway, path: str, *, user_id: str = "ada") -> tuple[int, Any]:
    answer = await gateway.http.get(path, headers=gateway.as_user(user_id))
    return answer.status_code, answer.json()


def exactly(documented: type, body: object) -> None:
    """Check that a response has exactly the fields of OpenAPI, with their types."""
    TypeAdapter(documented).validate_python(body, extra="forbid", strict=True)


class TestList:
    async def test_shows_a_message_with_all_its_fields(self, gateway: Gateway) -> None:
        connect(gateway, full_message())
        status, body = await get(gateway, f"/emails?user_email={ADA}")
        assert status == 200
        exactly(EmailPage, body)
        assert body["next_cursor"] is None
        grace = {"name": "Грейс", "email": "grace@example.org"}
        [email] = body["emails"]
        assert email == {
            "id": "m1",
            "external_id": "18c1",
            "mailbox_id": f"account-of-{ADA}",
            "account_id": f"account-of-{ADA}",
            "thread_id": "t1",
            "from_email": "grace@example.org",
            "from": grace,
            "to": [{"name": "", "email": ADA}],
            "cc": [grace],
            "subject": "",
            "snippet": "Hello & \u202e",
            "received_at": "2023-11-14T22:13:21.005Z",
            "is_read": True,
            "marks": ["seen", "flagged"],
            "labels": ["INBOX", "Работа"],
            "has_attachments": True,
            "size": 1 << 40,
        }

    async def test_shows_null_for_missing_fields(self, gateway: Gateway) -> None:
        connect(gateway, message())
        _, body = await get(gateway, f"/emails?user_email={ADA}")
        exactly(EmailPage, body)
        [email] = body["emails"]
        assert (email["from"], email["from_email"], email["subject"]) == (None, None, None)

    @pytest.mark.parametrize(
        ("seconds", "shown"),
        [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.000Z"),
            (2_236_982_400, "2040-11-20T00:00:00.000Z"),
        ],
    )
    async def test_shows_times_of_any_year(self, gateway: Gateway, seconds: int, shown: str) -> None:
        old = message()
        old.summary.received_time.CopyFrom(Timestamp(seconds=seconds))
        connect(gateway, old)
        _, body = await get(gateway, f"/emails?user_email={ADA}")
        assert [email["received_at"] for email in body["emails"]] == [shown]

    async def test_passes_its_filters_on(self, gateway: Gateway) -> None:
        account_id = connect(gateway)
        query = "label=%D0%A0%D0%B0%D0%B1%D0%BE%D1%82%D0%B0&unread=true&limit=7&cursor=0"
        status, _ = await get(gateway, f"/emails?account_id={account_id}&{query}")
        assert status == 200
        [request] = gateway.mail.listings
        assert (request.label, request.unread, request.page_size, request.page_token) == ("Работа", True, 7, "0")

    async def test_passes_a_search_on(self, gateway: Gateway) -> None:
        account_id = connect(gateway)
        query = "q=from:ada+%22%D0%BC%D0%B8%D1%80%22&thread_id=t1&has_attachment=false&highlight=true"
        times = "after=2026-01-31&before=2026-02-01T00:30:00%2B05:30"
        status, _ = await get(gateway, f"/emails?account_id={account_id}&{query}&{times}")
        assert status == 200
        [request] = gateway.mail.listings
        assert (request.query, request.thread_id, request.highlight) == ('from:ada "мир"', "t1", True)
        assert (request.HasField("has_attachment"), request.has_attachment) == (True, False)
        assert request.after_time.ToJsonString() == "2026-01-31T00:00:00Z"
        assert request.before_time.ToJsonString() == "2026-01-31T19:00:00Z"

    async def test_points_at_the_mistake_in_a_search(self, gateway: Gateway) -> None:
        connect(gateway)
        gateway.mail.failure = AppError(Kind.INVALID, "invalid_query", "At column 3: what?", {"column": "3"})
        status, body = await get(gateway, f"/emails?user_email={ADA}&q=a+(")
        assert (status, body["code"], body["column"]) == (400, "invalid_query", 3)

    @pytest.mark.parametrize(
        "query",
        [
            "after=yesterday",
            "before=2026-02-30",
            "has_attachment=maybe",
            "q=" + "a" * 1001,
            "q=%00",
            "after=0001-01-01T00:00:00%2B14:00",
        ],
    )
    async def test_refuses_malformed_filters(self, gateway: Gateway, query: str) -> None:
        connect(gateway)
        status, body = await get(gateway, f"/emails?user_email={ADA}&{query}")
        assert (status, body["code"]) == (400, "invalid_request")
        assert [error["field"] for error in body["errors"]] == [query.split("=")[0]]

    async def test_shows_highlights(self, gateway: Gateway) -> None:
        connect(gateway, message(highlight="a <mark>b</mark>"), message(2))
        _, body = await get(gateway, f"/emails?user_email={ADA}&q=b&highlight=true")
        exactly(EmailPage, body)
        assert [email.get("highlight") for email in body["emails"]] == ["a <mark>b</mark>", None]

    async def test_distinguishes_unread_false_from_unread_absent(self, gateway: Gateway) -> None:
        connect(gateway)
        await get(gateway, f"/emails?user_email={ADA}&unread=false")
        await get(gateway, f"/emails?user_email={ADA}")
        assert [request.HasField("unread") for request in gateway.mail.listings] == [True, False]

    async def test_leads_through_all_pages(self, gateway: Gateway) -> None:
        connect(gateway, *(message(number) for number in range(5)))
        seen: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            _, body = await get(gateway, f"/emails?user_email={ADA}&limit=2&cursor={cursor}")
            seen += [email["id"] for email in body["emails"]]
            cursor = body["next_cursor"]
        assert seen == ["m0", "m1", "m2", "m3", "m4"]

    async def test_is_also_there_with_a_slash_at_the_end(self, gateway: Gateway) -> None:
        connect(gateway)
        assert await get(gateway, f"/emails/?user_email={ADA}") == (200, {"emails": [], "next_cursor": None})

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ("", "query"),
            ("user_email=a&account_id=b", "query"),
            ("user_email=", "user_email"),
            ("user_email=a&limit=0", "limit"),
            ("user_email=a&limit=-1", "limit"),
            ("user_email=a&limit=201", "limit"),
            ("user_email=a&limit=1e3", "limit"),
            ("user_email=a&limit=ten", "limit"),
            ("user_email=a&limit=" + "9" * 5000, "limit"),
            ("user_email=a&unread=maybe", "unread"),
            ("user_email=a&cursor=" + "x" * 3000, "cursor"),
            ("user_email=a&cursor=%00", "cursor"),
            ("user_email=a&label=a%00", "label"),
            ("user_email=%00", "user_email"),
            ("account_id=%00", "account_id"),
        ],
    )
    async def test_refuses_a_bad_parameter_by_name(self, gateway: Gateway, query: str, field: str) -> None:
        status, body = await get(gateway, f"/emails?{query}")
        assert (status, body["code"]) == (400, "invalid_request")
        [error] = body["errors"]
        assert error["field"] == field
        assert gateway.mail.listings == []

    async def test_passes_the_refusal_of_a_cursor_on(self, gateway: Gateway) -> None:
        connect(gateway)
        status, body = await get(gateway, f"/emails?user_email={ADA}&cursor=forged")
        assert (status, body["code"]) == (400, "invalid_page_token")

    async def test_of_another_users_address_does_not_exist(self, gateway: Gateway) -> None:
        account_id = connect(gateway, message())
        for query in (f"user_email={ADA}", f"account_id={account_id}"):
            status, body = await get(gateway, f"/emails?{query}", user_id="grace")
            assert (status, body["code"]) == (404, "mailbox_not_found")


class TestMessage:
    async def test_is_shown_whole(self, gateway: Gateway) -> None:
        connect(gateway, full_message())
        status, email = await get(gateway, "/emails/m1")
        assert status == 200
        exactly(Email, email)
        assert email["headers"] == [{"name": "Received", "value": "one"}, {"name": "Received", "value": "two"}]
        assert (email["text"], email["html"]) == ("", "<p>Hello</p>")
        assert email["attachments"][1] == {
            "id": "2", "filename": "", "mime_type": "image/png", "size": 8, "inline": True, "content_id": "x@y",
        }  # fmt: skip

    async def test_without_a_body_has_none(self, gateway: Gateway) -> None:
        connect(gateway, message())
        _, email = await get(gateway, "/emails/m1")
        exactly(Email, email)
        assert (email["text"], email["html"], email["headers"], email["attachments"]) == (None, None, [], [])

    @pytest.mark.parametrize("identifier", ["m2", "%00", "..%2e", "x" * 3000])
    async def test_that_is_unknown_does_not_exist(self, gateway: Gateway, identifier: str) -> None:
        connect(gateway, message())
        status, body = await get(gateway, f"/emails/{identifier}")
        assert (status, body["code"]) == (404, "message_not_found")

    async def test_of_another_user_does_not_exist(self, gateway: Gateway) -> None:
        connect(gateway, message())
        status, body = await get(gateway, "/emails/m1", user_id="grace")
        assert (status, body["code"]) == (404, "message_not_found")


class TestShare:
    async def test_of_a_user_leaves_others_alone_and_makes_the_rest_wait(self, gateway: Gateway) -> None:
        connect(gateway, message())
        gateway.mail.connect("grace", "grace@example.org")
        gateway.mail.messages["account-of-grace@example.org"] = [message(2)]
        release = gateway.mail.held_reads["ada"] = asyncio.Event()
        reads = {asyncio.create_task(get(gateway, "/emails/m1")) for _ in range(PER_USER + WAITING + 1)}

        async def all_are_reading() -> bool:
            return gateway.mail.reading == PER_USER

        try:
            async with asyncio.timeout(20):
                [refused], waiting = await asyncio.wait(reads, return_when=asyncio.FIRST_COMPLETED)
                assert refused.result()[0] == 429
                for path in ("/emails/m1", "/emails/threads/t1", f"/emails/changes?email={ADA}&since=p1"):
                    status, body = await get(gateway, path)
                    assert (status, body["code"]) == (429, "too_many_requests"), path
                await eventually(all_are_reading)
                assert (await get(gateway, "/emails/m2", user_id="grace"))[0] == 200
                assert (await get(gateway, f"/emails?email={ADA}"))[0] == 200
        finally:
            release.set()
            found = await asyncio.gather(*reads)
        assert sum(status == 200 for status, _ in found) == len(waiting)


PER_USER, WAITING = 3, 64
"""Whole messages of a user that are read at a time, and those that wait."""


class TestLabels:
    async def test_are_shown_with_their_type_and_counts(self, gateway: Gateway) -> None:
        account_id = connect(gateway)
        gateway.mail.labels[account_id] = [
            mail_pb2.Label(
                label_id="INBOX",
                name="INBOX",
                type=mail_pb2.LABEL_TYPE_SYSTEM,
                role=mail_pb2.LABEL_ROLE_INBOX,
                message_count=7,
                unread_count=2,
            ),
            mail_pb2.Label(
                label_id="Label_1",
                name="Работа",
                type=mail_pb2.LABEL_TYPE_USER,
                stale_since_time=Timestamp(seconds=1_777_629_600),
            ),
        ]
        status, body = await get(gateway, f"/emails/labels?account_id={account_id}")
        assert status == 200
        exactly(LabelList, body)
        of = {"mailbox_id": account_id}
        assert body["labels"] == [
            {
                "id": "INBOX",
                **of,
                "name": "INBOX",
                "type": "system",
                "role": "inbox",
                "message_count": 7,
                "unread_count": 2,
                "stale_since": None,
            },
            {
                "id": "Label_1",
                **of,
                "name": "Работа",
                "type": "user",
                "role": "none",
                "message_count": 0,
                "unread_count": 0,
                "stale_since": "2026-05-01T10:00:00.000Z",
            },
        ]

    async def test_need_a_mailbox(self, gateway: Gateway) -> None:
        status, body = await get(gateway, "/emails/labels")
        assert (status, body["code"]) == (400, "invalid_request")


class TestAddresses:
    async def test_are_shown_with_their_state(self, gateway: Gateway) -> None:
        gateway.mail.connect(
            "ada", ADA, last_synced_time=Timestamp(seconds=1_700_000_000), message_count=3, unread_count=1
        )
        gateway.mail.connect(
            "ada",
            "ada@work.example",
            status=mail_pb2.MAILBOX_STATUS_REAUTH_REQUIRED,
            reconnect_by_time=Timestamp(seconds=1_700_000_000),
        )
        gateway.mail.connect("ada", "ada@school.example", access_denied_reason="admin_policy")
        gateway.mail.connect("grace", "grace@example.org")
        status, body = await get(gateway, "/emails/addresses")
        assert status == 200
        exactly(AddressList, body)
        first, second, third = body["addresses"]
        assert first == {
            "mailbox_id": f"account-of-{ADA}",
            "account_id": f"account-of-{ADA}",
            "email": ADA,
            "provider": "google",
            "status": "active",
            "access_denied_reason": None,
            "reconnect_by": None,
            "last_synced_at": "2023-11-14T22:13:20.000Z",
            "message_count": 3,
            "unread_count": 1,
            "user_id": "",
        }
        assert (second["status"], second["last_synced_at"]) == ("reauth_required", None)
        assert second["reconnect_by"] == "2023-11-14T22:13:20.000Z"
        assert (third["status"], third["access_denied_reason"]) == ("access_denied", "admin_policy")

    async def test_of_a_user_without_any_are_an_empty_list(self, gateway: Gateway) -> None:
        assert await get(gateway, "/emails/addresses") == (200, {"addresses": []})
