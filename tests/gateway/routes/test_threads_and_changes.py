"""The routes of threads and of the feed of changes."""

from google.protobuf.timestamp_pb2 import Timestamp
from mailroom.mail.v1 import mail_pb2

from services.gateway.schemas.changes import ChangePage
from services.gateway.schemas.threads import ThreadPage, ThreadView
from services.kit.errors import AppError, Kind
from tests.gateway.conftest import Gateway
from tests.gateway.routes.test_messages import ADA, connect, exactly, get, message


def thread(thread_id: str = "t1", **fields: object) -> mail_pb2.Thread:
    """Return a thread of one message."""
    defaults = {"account_id": f"account-of-{ADA}", "message_count": 1}
    last = Timestamp(seconds=1_700_000_000)
    return mail_pb2.Thread(thread_id=thread_id, last_message_time=last, **(defaults | fields))  # type: ignore[arg-type]


class TestThreads:
    async def test_show_a_summary_of_their_messages(self, gateway: Gateway) -> None:
        account_id = connect(gateway)
        grace = mail_pb2.Address(name="Grace", email="grace@example.org")
        gateway.mail.threads[account_id] = [
            thread(
                subject="", snippet="Hi", unread_count=1, participants=[grace], labels=["Work"], has_attachments=True
            )
        ]
        status, body = await get(gateway, f"/emails/threads?user_email={ADA}")
        assert status == 200
        exactly(ThreadPage, body)
        assert body == {
            "threads": [
                {
                    "id": "t1",
                    "mailbox_id": account_id,
                    "account_id": account_id,
                    "subject": "",
                    "snippet": "Hi",
                    "last_message_at": "2023-11-14T22:13:20.000Z",
                    "message_count": 1,
                    "unread_count": 1,
                    "participants": [{"name": "Grace", "email": "grace@example.org"}],
                    "labels": ["Work"],
                    "has_attachments": True,
                }
            ],
            "next_cursor": None,
        }

    async def test_are_listed_page_by_page(self, gateway: Gateway) -> None:
        account_id = connect(gateway)
        gateway.mail.threads[account_id] = [thread(f"t{number}") for number in range(3)]
        _, first = await get(gateway, f"/emails/threads?user_email={ADA}&limit=2")
        _, second = await get(gateway, f"/emails/threads?user_email={ADA}&limit=2&cursor={first['next_cursor']}")
        ids = [[item["id"] for item in page["threads"]] for page in (first, second)]
        assert (ids, second["next_cursor"]) == ([["t0", "t1"], ["t2"]], None)

    async def test_one_is_shown_with_its_messages(self, gateway: Gateway) -> None:
        account_id = connect(gateway, message(1), message(2))
        gateway.mail.threads[account_id] = [thread()]
        status, body = await get(gateway, f"/emails/threads/t1?account_id={account_id}")
        assert status == 200
        exactly(ThreadView, body)
        assert (body["id"], [email["id"] for email in body["emails"]]) == ("t1", ["m1", "m2"])

    async def test_one_that_does_not_exist_is_not_found(self, gateway: Gateway) -> None:
        connect(gateway)
        status, body = await get(gateway, f"/emails/threads/nope?user_email={ADA}")
        assert (status, body["code"]) == (404, "thread_not_found")

    async def test_want_a_mailbox(self, gateway: Gateway) -> None:
        status, body = await get(gateway, "/emails/threads")
        assert (status, body["code"]) == (400, "invalid_request")

    async def test_one_is_found_without_a_mailbox(self, gateway: Gateway) -> None:
        gateway.mail.connect("ada", "ada@other.example")
        account_id = connect(gateway, message(1))
        gateway.mail.threads[account_id] = [thread()]
        status, body = await get(gateway, "/emails/threads/t1")
        assert (status, body["id"], body["account_id"]) == (200, "t1", account_id)
        status, body = await get(gateway, "/emails/threads/t1", user_id="grace")
        assert (status, body["code"]) == (404, "thread_not_found")
        status, body = await get(gateway, f"/emails/threads/t1?email={ADA}&mailbox_id={account_id}")
        assert (status, body["code"]) == (400, "invalid_request")


class TestChanges:
    async def test_show_each_kind_of_change(self, gateway: Gateway) -> None:
        connect(gateway)
        gateway.mail.changes = [
            mail_pb2.Change(kind=mail_pb2.CHANGE_KIND_CREATED, message_id="m1", message=message(1).summary),
            mail_pb2.Change(kind=mail_pb2.CHANGE_KIND_DELETED, message_id="m2"),
        ]
        status, body = await get(gateway, f"/emails/changes?user_email={ADA}&since=p1&limit=7")
        assert status == 200
        exactly(ChangePage, body)
        shown = [
            (change["type"], change["id"], change["email"] and change["email"]["id"]) for change in body["changes"]
        ]
        assert shown == [("created", "m1", "m1"), ("deleted", "m2", None)]
        assert {change["mailbox_id"] for change in body["changes"]} == {f"account-of-{ADA}"}
        assert (body["next_since"], body["has_more"]) == ("p2", True)
        [request] = gateway.mail.followed
        assert (request.since, request.page_size, request.wait_seconds) == ("p1", 7, 0)

    async def test_wait_as_long_as_the_client_prefers(self, gateway: Gateway) -> None:
        connect(gateway)
        headers = {**gateway.as_user("ada"), "Prefer": "wait=30"}
        answer = await gateway.http.get(f"/emails/changes?user_email={ADA}&since=p1", headers=headers)
        assert answer.headers["Preference-Applied"] == "wait=30"
        assert [request.wait_seconds for request in gateway.mail.followed] == [30]

    async def test_that_are_forgotten_want_a_resync(self, gateway: Gateway) -> None:
        connect(gateway)
        gateway.mail.failure = AppError(Kind.GONE, "resync_required", "Too old.")
        status, body = await get(gateway, f"/emails/changes?user_email={ADA}&since=p1")
        assert (status, body["code"]) == (410, "resync_required")
