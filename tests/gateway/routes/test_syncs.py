"""The routes that start and watch syncs."""

import asyncio
from typing import Any

import httpx
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from mailroom.mail.v1 import mail_pb2

from services.gateway.limits.long_polls import POLLS_PER_USER
from services.gateway.schemas.syncs import Sync, SyncSummary, Verification
from services.kit.errors import AppError, Kind
from tests.gateway.conftest import Gateway
from tests.gateway.routes.test_messages import exactly

ADA = "ada@example.com"
DOWN = AppError(Kind.UNAVAILABLE, "service_unavailable", "Mail is down.")


async def start(gateway: Gateway, body: object, *, prefer: str = "", user_id: str = "ada") -> httpx.Response:
    headers = gateway.as_user(user_id) | ({"Prefer": prefer} if prefer else {})
    return await gateway.http.post("/emails/sync", json=body, headers=headers)


async def started(gateway: Gateway, body: dict[str, Any], **options: str) -> mail_pb2.Sync:
    """Start a sync of Ada's mailbox and return it from the fake of mail."""
    gateway.mail.connect("ada", ADA)
    answer = await start(gateway, body, **options)
    return gateway.mail.syncs[answer.json()["id"]][1]


class TestStart:
    async def test_is_accepted_with_the_address_of_the_sync(self, gateway: Gateway) -> None:
        gateway.mail.connect("ada", ADA)
        answer = await start(gateway, {"email": ADA})
        assert answer.status_code == 202
        body = answer.json()
        exactly(Sync, body)
        assert (body["state"], body["count"], body["ended_at"], body["error"]) == ("queued", 10, None, None)
        assert answer.headers["location"] == f"/emails/syncs/{body['id']}"
        followed = await gateway.http.get(answer.headers["location"], headers=gateway.as_user("ada"))
        assert (followed.status_code, followed.json()) == (200, body)

    async def test_covers_the_newest_so_many(self, gateway: Gateway) -> None:
        sync = await started(gateway, {"account_id": f"account-of-{ADA}", "count": 1_000_000})
        assert sync.newest_count == 1_000_000

    async def test_covers_all(self, gateway: Gateway) -> None:
        sync = await started(gateway, {"email": ADA, "count": "all"})
        assert not sync.HasField("newest_count")

    @pytest.mark.parametrize("count", [0, -1, 1_000_001, 10**400, 1.5, True, "10", "ALL", "", [], {}, None])
    async def test_refuses_a_bad_count(self, gateway: Gateway, count: object) -> None:
        gateway.mail.connect("ada", ADA)
        answer = await start(gateway, {"email": ADA, "count": count})
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
        [error] = answer.json()["errors"]
        assert error == {"field": "count", "message": 'must be a whole number from 1 to 1000000, or "all"'}
        assert gateway.mail.syncs == {}

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"email": None},
            {"email": ADA, "account_id": "x"},
            {"email": 5},
            {"email": [ADA]},
            {"email": ""},
            [],
            "x",
        ],
    )
    async def test_needs_exactly_one_mailbox(self, gateway: Gateway, body: object) -> None:
        answer = await start(gateway, body)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")

    async def test_of_another_users_address_does_not_exist(self, gateway: Gateway) -> None:
        gateway.mail.connect("ada", ADA)
        answer = await start(gateway, {"email": ADA}, user_id="grace")
        assert (answer.status_code, answer.json()["code"]) == (404, "mailbox_not_found")


class TestIdempotencyKey:
    async def test_is_passed_to_mail_as_it_is_sent(self, gateway: Gateway) -> None:
        gateway.mail.connect("ada", ADA)
        for key in ("9f1b", '"9f1b"', " ".join("aZ~!"), "k" * 255):
            headers = {**gateway.as_user("ada"), "Idempotency-Key": key}
            answer = await gateway.http.post("/emails/sync", json={"email": ADA}, headers=headers)
            assert answer.status_code == 202
        await start(gateway, {"email": ADA})
        assert gateway.mail.keys == ["9f1b", '"9f1b"', "a Z ~ !", "k" * 255, ""]

    @pytest.mark.parametrize("key", [b"", b"k" * 256, b"\xc3\xa9", b"a\tb"])
    async def test_is_refused_where_it_is_none(self, gateway: Gateway, key: bytes) -> None:
        gateway.mail.connect("ada", ADA)
        headers = {name.encode(): value.encode() for name, value in gateway.as_user("ada").items()}
        answer = await gateway.http.post(
            "/emails/sync", json={"email": ADA}, headers={**headers, b"Idempotency-Key": key}
        )
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
        [error] = answer.json()["errors"]
        assert error["field"] == "idempotency-key"
        assert gateway.mail.syncs == {}


class TestList:
    async def test_shows_the_newest_first_without_dead_letters(self, gateway: Gateway) -> None:
        first = (await start(gateway, {"email": gateway.mail.connect("ada", ADA).email})).json()
        second = (await start(gateway, {"email": ADA, "count": "all"})).json()
        answer = await listed(gateway)
        assert answer.status_code == 200
        del first["dead_letters"], second["dead_letters"]
        assert answer.json() == {"syncs": [second, first], "next_cursor": None}
        exactly(SyncSummary, answer.json()["syncs"][0])

    async def test_has_pages(self, gateway: Gateway) -> None:
        gateway.mail.connect("ada", ADA)
        ids = [(await start(gateway, {"email": ADA})).json()["id"] for _ in range(3)]
        page = (await listed(gateway, limit=2)).json()
        rest = (await listed(gateway, limit=2, cursor=page["next_cursor"])).json()
        assert [sync["id"] for sync in page["syncs"] + rest["syncs"]] == ids[::-1]
        assert rest["next_cursor"] is None

    async def test_is_of_one_mailbox_or_of_all(self, gateway: Gateway) -> None:
        work = gateway.mail.connect("ada", "ada@work.example")
        for email in (gateway.mail.connect("ada", ADA).email, work.email):
            await start(gateway, {"email": email})
        of_all = (await listed(gateway)).json()["syncs"]
        assert [sync["mailbox_id"] for sync in of_all] == [work.account_id, f"account-of-{ADA}"]
        for named in ({"email": ADA}, {"mailbox_id": f"account-of-{ADA}"}):
            assert (await listed(gateway, **named)).json()["syncs"] == of_all[1:]

    async def test_is_the_users_own(self, gateway: Gateway) -> None:
        await started(gateway, {"email": ADA})
        assert (await listed(gateway, user_id="grace")).json()["syncs"] == []
        answer = await listed(gateway, user_id="grace", email=ADA)
        assert (answer.status_code, answer.json()["code"]) == (404, "mailbox_not_found")


async def listed(gateway: Gateway, *, user_id: str = "ada", **query: str | int) -> httpx.Response:
    return await gateway.http.get("/emails/syncs", params=query, headers=gateway.as_user(user_id))


class TestPreferWait:
    async def test_is_answered_with_200_if_the_sync_ends_in_time(self, gateway: Gateway) -> None:
        gateway.mail.connect("ada", ADA)
        answer = await start(gateway, {"email": ADA}, prefer="respond-async, wait=20")
        assert (answer.status_code, answer.json()["state"]) == (200, "completed")
        assert answer.headers["preference-applied"] == "wait=20"
        assert answer.headers["location"] == f"/emails/syncs/{answer.json()['id']}"
        assert [watch.wait_seconds for watch in gateway.mail.watches] == [20]

    async def test_is_answered_with_202_if_it_does_not(self, gateway: Gateway) -> None:
        gateway.mail.connect("ada", ADA)
        gateway.mail.ends_when_watched = False
        answer = await start(gateway, {"email": ADA}, prefer="wait=20")
        assert (answer.status_code, answer.json()["state"]) == (202, "queued")

    async def test_waits_a_minute_at_most(self, gateway: Gateway) -> None:
        gateway.mail.connect("ada", ADA)
        answer = await start(gateway, {"email": ADA}, prefer="wait=86400")
        assert answer.headers["preference-applied"] == "wait=60"
        assert [watch.wait_seconds for watch in gateway.mail.watches] == [60]

    @pytest.mark.parametrize(
        "prefer", ["wait", "wait=", "wait=-1", "wait=soon", "wait=0", "wait=1.5", "x=1;wait=5", ",;="]
    )
    async def test_is_ignored_where_it_makes_no_sense(self, gateway: Gateway, prefer: str) -> None:
        gateway.mail.connect("ada", ADA)
        answer = await start(gateway, {"email": ADA}, prefer=prefer)
        assert answer.status_code == 202
        assert "preference-applied" not in answer.headers
        assert gateway.mail.watches == []

    async def test_ends_early_when_the_gateway_stops(self, gateway: Gateway) -> None:
        gateway.mail.connect("ada", ADA)
        gateway.mail.never_ends_when_watched = True
        asking = asyncio.ensure_future(start(gateway, {"email": ADA}, prefer="wait=60"))
        async with asyncio.timeout(30):
            await gateway.mail.watched.wait()
            gateway.stop.set()
            answer = await asking
        assert (answer.status_code, answer.json()["state"]) == (202, "queued")
        assert [watch.wait_seconds for watch in gateway.mail.watches] == [60, 0]

    async def test_is_refused_beyond_a_user_s_share(self, gateway: Gateway) -> None:
        gateway.mail.connect("ada", ADA)
        gateway.mail.connect("grace", "grace@example.org")
        gateway.mail.never_ends_when_watched = True
        polls = [asyncio.ensure_future(start(gateway, {"email": ADA}, prefer="wait=60")) for _ in range(POLLS_PER_USER)]
        async with asyncio.timeout(30):
            while len(gateway.mail.watches) < POLLS_PER_USER:
                gateway.mail.watched.clear()
                await gateway.mail.watched.wait()
            sync = next(iter(gateway.mail.syncs))
            refused = await gateway.http.get(
                f"/emails/syncs/{sync}", headers={**gateway.as_user("ada"), "prefer": "wait=60"}
            )
            without_waiting = await gateway.http.get(f"/emails/syncs/{sync}", headers=gateway.as_user("ada"))
            gateway.stop.set()
            await asyncio.gather(*polls)
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
        assert refused.headers["retry-after"] == "1"
        assert without_waiting.status_code == 200

    async def test_gives_the_address_of_a_sync_that_could_not_be_watched(self, gateway: Gateway) -> None:
        gateway.mail.connect("ada", ADA)
        gateway.mail.watch_failure = AppError(Kind.TIMEOUT, "deadline_exceeded", "Too slow.")
        answer = await start(gateway, {"email": ADA}, prefer="wait=20")
        assert (answer.status_code, answer.json()["id"] in gateway.mail.syncs) == (202, True)


class TestWatch:
    async def test_shows_how_far_it_is(self, gateway: Gateway) -> None:
        sync = await started(gateway, {"email": ADA, "count": 50})
        sync.MergeFrom(
            mail_pb2.Sync(
                state=mail_pb2.SYNC_STATE_RUNNING,
                email=ADA,
                listed_count=50,
                stored_count=30,
                pending_count=19,
                dead_letter_count=1,
                units_spent=605,
                eta_seconds=0,
                dead_letters=[mail_pb2.DeadLetter(external_id="18c", reason="too_large", attempts=5)],
                progress_time=Timestamp(seconds=1_800_000_000),
                last_error="provider_unavailable",
                waiting_for=mail_pb2.WAIT_REASON_PROVIDER,
                waiting_until_time=Timestamp(seconds=1_800_000_060),
                access_denied_reason="missing_scope",
            )
        )
        answer = await gateway.http.get(f"/emails/syncs/{sync.sync_id}", headers=gateway.as_user("ada"))
        body = answer.json()
        exactly(Sync, body)
        assert body.pop("created_at").endswith("Z")
        assert body == {
            "id": sync.sync_id,
            "mailbox_id": f"account-of-{ADA}",
            "account_id": f"account-of-{ADA}",
            "email": ADA,
            "state": "running",
            "count": 50,
            "listed": 50,
            "stored": 30,
            "pending": 19,
            "dead_letters": [{"external_id": "18c", "reason": "too_large", "attempts": 5}],
            "dead_letter_count": 1,
            "units_spent": 605,
            "units_per_message": None,
            "eta_seconds": 0,
            "verification": None,
            "error": None,
            "last_error": "provider_unavailable",
            "access_denied_reason": "missing_scope",
            "waiting_for": "provider",
            "waiting_until": "2027-01-15T08:01:00.000Z",
            "progress_at": "2027-01-15T08:00:00.000Z",
            "ended_at": None,
        }

    async def test_says_that_it_waits_for_nothing(self, gateway: Gateway) -> None:
        sync = await started(gateway, {"email": ADA})
        body = (await gateway.http.get(f"/emails/syncs/{sync.sync_id}", headers=gateway.as_user("ada"))).json()
        waiting = ("last_error", "waiting_for", "waiting_until", "progress_at")
        assert [body[name] for name in waiting] == [None] * 4

    async def test_shows_why_it_failed(self, gateway: Gateway) -> None:
        sync = await started(gateway, {"email": ADA, "count": "all"})
        sync.state = mail_pb2.SYNC_STATE_FAILED
        sync.error = "reauth_required"
        answer = await gateway.http.get(f"/emails/syncs/{sync.sync_id}", headers=gateway.as_user("ada"))
        body = answer.json()
        assert (body["state"], body["error"], body["count"], body["eta_seconds"]) == (
            "failed",
            "reauth_required",
            "all",
            None,
        )

    async def test_may_wait_for_the_end(self, gateway: Gateway) -> None:
        sync = await started(gateway, {"email": ADA})
        headers = gateway.as_user("ada") | {"Prefer": "wait=3"}
        answer = await gateway.http.get(f"/emails/syncs/{sync.sync_id}", headers=headers)
        assert (answer.status_code, answer.json()["state"]) == (200, "completed")
        assert answer.headers["preference-applied"] == "wait=3"

    async def test_of_another_user_does_not_exist(self, gateway: Gateway) -> None:
        sync = await started(gateway, {"email": ADA})
        answer = await gateway.http.get(f"/emails/syncs/{sync.sync_id}", headers=gateway.as_user("grace"))
        assert (answer.status_code, answer.json()["code"]) == (404, "sync_not_found")


class TestCancel:
    async def test_shows_the_sync_as_cancelled(self, gateway: Gateway) -> None:
        sync = await started(gateway, {"email": ADA})
        answer = await gateway.http.delete(f"/emails/syncs/{sync.sync_id}", headers=gateway.as_user("ada"))
        assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
        exactly(Sync, answer.json())
        assert answer.json()["ended_at"].endswith("Z")

    async def test_of_another_user_does_not_exist(self, gateway: Gateway) -> None:
        sync = await started(gateway, {"email": ADA})
        answer = await gateway.http.delete(f"/emails/syncs/{sync.sync_id}", headers=gateway.as_user("grace"))
        assert (answer.status_code, answer.json()["code"]) == (404, "sync_not_found")
        assert sync.state == mail_pb2.SYNC_STATE_QUEUED


class TestRetry:
    async def test_is_accepted_with_the_address_of_the_sync(self, gateway: Gateway) -> None:
        sync = await started(gateway, {"email": ADA})
        answer = await gateway.http.post(f"/emails/syncs/{sync.sync_id}/retry", headers=gateway.as_user("ada"))
        assert (answer.status_code, answer.json()["state"]) == (202, "queued")
        exactly(Sync, answer.json())
        assert answer.headers["location"] == f"/emails/syncs/{answer.json()['id']}"

    async def test_of_another_user_does_not_exist(self, gateway: Gateway) -> None:
        sync = await started(gateway, {"email": ADA})
        answer = await gateway.http.post(f"/emails/syncs/{sync.sync_id}/retry", headers=gateway.as_user("grace"))
        assert (answer.status_code, answer.json()["code"]) == (404, "sync_not_found")


class TestVerify:
    async def test_is_accepted_and_shows_the_differences(self, gateway: Gateway) -> None:
        gateway.mail.connect("ada", ADA)
        answer = await gateway.http.post("/emails/verify", json={"email": ADA}, headers=gateway.as_user("ada"))
        assert (answer.status_code, answer.json()["state"]) == (202, "queued")
        exactly(Sync, answer.json())
        exactly(Verification, answer.json()["verification"])
        assert answer.json()["verification"] == {"done": False, "missing": 2, "extra": 1, "drift": 0, "digest": None}
        assert answer.headers["location"] == f"/emails/syncs/{answer.json()['id']}"

    async def test_may_wait_for_the_end(self, gateway: Gateway) -> None:
        gateway.mail.connect("ada", ADA)
        headers = gateway.as_user("ada") | {"Prefer": "wait=5"}
        answer = await gateway.http.post("/emails/verify", json={"email": ADA}, headers=headers)
        assert (answer.status_code, answer.json()["state"]) == (200, "completed")

    async def test_needs_exactly_one_mailbox(self, gateway: Gateway) -> None:
        answer = await gateway.http.post("/emails/verify", json={}, headers=gateway.as_user("ada"))
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")

    async def test_of_another_users_address_does_not_exist(self, gateway: Gateway) -> None:
        gateway.mail.connect("ada", ADA)
        answer = await gateway.http.post("/emails/verify", json={"email": ADA}, headers=gateway.as_user("grace"))
        assert (answer.status_code, answer.json()["code"]) == (404, "mailbox_not_found")
