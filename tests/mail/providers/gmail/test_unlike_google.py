"""Stand-ins that deviate from Gmail's protocol, and malformed mail."""

import base64
from datetime import UTC, datetime

import httpx
import pytest

from services.mail.model import SyncState
from services.mail.providers.gmail.downloads import GmailDownloads
from services.mail.providers.gmail.http.exchange import Exchange
from services.mail.providers.gmail.limits import GMAIL_COSTS
from services.mail.read_model import MessageFilter
from tests.mail.conftest import OpenStage
from tests.support.mail.altered_gmail import (
    Accent,
    Manners,
    bare_payloads,
    no_cursor_in_history,
    no_versions,
    nulls_and_empties,
    numbers_as_numbers,
    padded_base64,
    served_with_accent,
)
from tests.support.mail.fake_auth import FakeAuth
from tests.support.mail.servers import Servers
from tests.support.mail.stage import Stage, connect_user

BEYOND = 2**64 + 1_000_000
# More than an answer has inline.
LARGE = "0123456789abcdef" * 160_000 + " the end"
NO_PROFILE: dict[str, object] = {"method": "gmail.profile.get", "kind": "error", "status": 404, "reason": "notFound"}


def base64url(data: bytes) -> str:
    """Encode bytes as the API expects raw messages."""
    return base64.urlsafe_b64encode(data).decode()


async def _lives(s: Stage) -> None:
    """Run a mailbox through all kinds of change, a lost history included; check that the copy stays equal."""
    assert (await s.sync(count=None)).sync.state is SyncState.COMPLETED
    assert await s.stored() == await s.at_provider.truth()
    first, second, third, *_ = await s.at_provider.visible()
    await s.at_provider.deliver(subject="new")
    await s.at_provider.relabel(first, add=("STARRED",), remove=("UNREAD", "INBOX"))
    await s.at_provider.delete(second)
    await s.hint()
    await s.mirrors(exactly_paid=False)
    await s.at_provider.relabel(third, add=("TRASH",))
    await s.at_provider.lose_history()
    await s.hint()
    await s.mirrors(exactly_paid=False)


class TestAnswers:
    async def test_without_a_profile(self, stage: OpenStage) -> None:
        async with stage(messages=12) as s:
            await s.at_provider.fail(NO_PROFILE)
            await _lives(s)
            assert (await s.at_provider.quota())["rejected"] == 0

    async def test_without_a_profile_of_an_empty_mailbox(self, stage: OpenStage) -> None:
        async with stage() as s:
            await s.at_provider.fail(NO_PROFILE)
            await s.sync(count=10)
            ids = [await s.at_provider.deliver(subject=str(number)) for number in range(3)]
            await s.hint()
            await s.mirrors(exactly_paid=False)
            await s.at_provider.relabel(ids[0], add=("STARRED",))
            await s.hint()
            await s.mirrors(exactly_paid=False)

    async def test_with_history_ids_beyond_64_bits(self, stage: OpenStage) -> None:
        async with stage(messages=12) as s:
            await s.at_provider.control("PUT", "mailbox", {"history_id": str(BEYOND)})
            await s.at_provider.deliver()
            await _lives(s)
            assert int(await s.fetchval("SELECT cursor::text FROM sync_states")) > BEYOND
            assert int(await s.fetchval("SELECT max(version)::text FROM messages")) > BEYOND

    async def test_with_empty_arrays_and_unknown_fields(self, stage: OpenStage) -> None:
        async with stage(messages=12) as s:
            await s.at_provider.control("PUT", "settings", {"empty_arrays": True, "extra_fields": True})
            await _lives(s)

    async def test_with_empty_arrays_of_an_empty_mailbox(self, stage: OpenStage) -> None:
        async with stage() as s:
            await s.at_provider.control("PUT", "settings", {"empty_arrays": True, "extra_fields": True})
            assert (await s.sync(count=None)).sync.state is SyncState.COMPLETED

    @pytest.mark.parametrize("batch", [True, False])
    async def test_with_ids_that_are_not_hex(self, stage: OpenStage, *, batch: bool) -> None:
        ids = ["INBOX/1?x=1&y#2", "Ж 東 %2F", "a+b=c;d,e", "../../../profile", "UPPER-lower_09.~", "x" * 300]
        async with stage(batch=batch) as s:
            for id_ in ids:
                await s.at_provider.deliver(id=id_, subject=id_)
            await s.sync(count=None)
            assert await s.stored() == await s.at_provider.truth()
            assert {message.external_id: message.subject for message in await s.listed()} == {id_: id_ for id_ in ids}

    @pytest.mark.parametrize(
        "missing",
        [["labelIds"], ["snippet"], ["internalDate"], ["historyId"], ["sizeEstimate"], ["threadId"], ["payload"],
         ["id"], ["labelIds", "snippet", "internalDate", "historyId", "sizeEstimate", "threadId", "payload"]],
        ids=lambda missing: " ".join(missing[:2]),
    )  # fmt: skip
    async def test_with_missing_fields(self, stage: OpenStage, missing: list[str]) -> None:
        async with stage() as s:
            id_ = await s.at_provider.deliver(omit=missing, labels=["INBOX"])
            report = await s.sync(count=None)
            assert (report.sync.state, report.dead_letters) == (SyncState.COMPLETED, [])
            assert (await s.detail(id_)).summary.external_id == id_

    async def test_without_versions_follow_later_changes(self, stage: OpenStage) -> None:
        async with stage() as s:
            ids = [await s.at_provider.deliver(omit=["historyId"], subject=str(number)) for number in range(3)]
            await s.sync(count=None)
            ids.append(await s.at_provider.deliver(omit=["historyId"]))
            await s.at_provider.relabel(ids[0], add=("STARRED",))
            await s.hint()
            await s.mirrors(exactly_paid=False)
            await s.at_provider.relabel(ids[0], remove=("STARRED",))
            await s.at_provider.relabel(ids[3], remove=("UNREAD",))
            await s.hint()
            await s.mirrors(exactly_paid=False)
            assert await s.at_provider.calls("gmail.messages.get") == 4

    @pytest.mark.parametrize(
        "extra",
        [
            {"labelIds": None, "snippet": None, "sizeEstimate": None},
            {"labelIds": "INBOX", "snippet": 7, "sizeEstimate": "many", "internalDate": "soon", "historyId": "late"},
            {"labelIds": [7, None, "INBOX"], "sizeEstimate": 10**30, "internalDate": 10**30, "historyId": 1e300},
            {"payload": {"headers": "x", "parts": [None, 7], "body": []}, "internalDate": -(10**30)},
            {"payload": [], "threadId": 5, "internalDate": "-1"},
        ],
        ids=range(5),
    )
    async def test_with_fields_of_other_types(self, stage: OpenStage, extra: dict[str, object]) -> None:
        async with stage(messages=3) as s:
            id_ = await s.at_provider.deliver(extra=extra)
            report = await s.sync(count=None)
            assert (report.sync.state, report.dead_letters) == (SyncState.COMPLETED, [])
            assert (await s.detail(id_)).summary.external_id == id_
            assert len(await s.stored()) == 4

    async def test_in_the_old_shape_of_errors(self, stage: OpenStage) -> None:
        async with stage(messages=12) as s:
            await s.at_provider.sandbox.control("PATCH", "gmail", {"error_shape": "old"})
            await s.at_provider.fail(
                {"method": "gmail.messages.get", "kind": "error", "status": 403, "reason": "userRateLimitExceeded",
                 "retry_after": 0.5, "count": 1}
            )  # fmt: skip
            await _lives(s)


class TestAccents:
    @pytest.mark.parametrize(
        "accent",
        [numbers_as_numbers, padded_base64, nulls_and_empties, no_versions, no_cursor_in_history, bare_payloads],
        ids=lambda accent: accent.__name__,
    )
    async def test_are_tolerated(self, servers: Servers, stage: OpenStage, accent: Accent) -> None:
        async with (
            served_with_accent(servers.sandbox, Manners(accent)) as url,
            stage(messages=30, user={"ugly": True}, api_url=url, batch=False) as s,
        ):
            await _lives(s)

    async def test_in_base64_keep_raw_messages_intact(self, servers: Servers) -> None:
        raw = b"From: a@example.com\r\n\r\n" + bytes(range(256)) * 2_300
        async with (
            served_with_accent(servers.sandbox, Manners(padded_base64)) as url,
            httpx.AsyncClient(trust_env=False) as http,
        ):
            auth = FakeAuth(servers.sandbox)
            account, at_provider = await connect_user(servers.sandbox, auth)
            id_ = await at_provider.deliver(raw=base64url(raw))
            token, _ = await auth.access_token(account.account_id, account.user_id)
            written = bytearray()

            async def write(piece: bytes) -> None:
                written.extend(piece)

            await GmailDownloads(Exchange(http), api_url=url, costs=GMAIL_COSTS["2026-05"]).copy_raw(token, id_, write)
            assert bytes(written) == raw


class TestMissing:
    @pytest.mark.parametrize(
        ("status", "routes"),
        [(404, ("/labels",)), (405, ("/profile", "/labels", "/batch")), (501, ("/profile", "/labels", "/batch"))],
    )
    async def test_routes_are_not_needed(
        self, servers: Servers, stage: OpenStage, status: int, routes: tuple[str, ...]
    ) -> None:
        manners = Manners(lacks=routes, lacking_status=status)
        async with (
            served_with_accent(servers.sandbox, manners) as url,
            stage(messages=30, api_url=url) as s,
        ):
            await _lives(s)

    @pytest.mark.parametrize("status", [404, 501])
    async def test_history_is_replaced_by_comparison(self, servers: Servers, stage: OpenStage, status: int) -> None:
        manners = Manners(lacks=("/history",), lacking_status=status)
        async with (
            served_with_accent(servers.sandbox, manners) as url,
            stage(messages=12, api_url=url) as s,
        ):
            await _lives(s)

    @pytest.mark.parametrize(
        "answer",
        [
            (400, "application/json", '{"error": {"code": 400, "message": "Bad Request"}}'),
            (200, "text/html", "<p>Welcome"),
            (200, "multipart/mixed; boundary=b", "--b--"),
        ],
        ids=lambda answer: f"{answer[0]} {answer[1]}",
    )
    async def test_batches_are_replaced_by_single_gets(
        self, servers: Servers, stage: OpenStage, answer: tuple[int, str, str]
    ) -> None:
        async with (
            served_with_accent(servers.sandbox, Manners(batch_answer=answer)) as url,
            stage(messages=12, api_url=url) as s,
        ):
            await _lives(s)

    @pytest.mark.parametrize("status", [400, 410])
    async def test_page_tokens_restart_the_listing(self, servers: Servers, stage: OpenStage, status: int) -> None:
        manners = Manners(forgets_page_tokens=True, lacking_status=status)
        async with (
            served_with_accent(servers.sandbox, manners) as url,
            stage(messages=30, api_url=url, page_size=7) as s,
        ):
            await _lives(s)


class TestProxies:
    """A proxy between us and Gmail that answers a call with its own page, or a route that is missing once."""

    async def test_answering_the_list_of_labels_remove_no_label(self, stage: OpenStage) -> None:
        async with stage(messages=5) as s:
            label = await s.at_provider.create_label("Invoices")
            for id_ in await s.at_provider.visible():
                await s.at_provider.relabel(id_, add=(label,))
            await s.sync(count=None)
            for kind in ("error", "html_503"):
                await s.at_provider.fail({"method": "gmail.labels.list", "kind": kind, "status": 404, "count": 1})
                assert (await s.sync(count=None)).sync.state is SyncState.COMPLETED
                assert await s.at_provider.fired() == [1]
                assert await s.stored() == await s.at_provider.truth()
                names = [known.label.name for known in await s.messages.labels(await s.mailbox())]
                assert "Invoices" in names

    @pytest.mark.parametrize("batch", [True, False])
    async def test_answering_gets_lose_no_new_message(self, stage: OpenStage, batch: bool) -> None:
        async with stage(messages=5, batch=batch) as s:
            await s.sync(count=None)
            await s.at_provider.fail({"method": "gmail.messages.get", "kind": "html_503", "status": 404, "count": 1})
            await s.at_provider.deliver()
            await s.hint()
            await s.mirrors(exactly_paid=False)
            assert await s.at_provider.fired() == [1]
            assert await s.fetchval("SELECT count(*) FROM dead_letters") == 0

    async def test_answering_gets_delete_no_stored_message(self, stage: OpenStage) -> None:
        async with stage(messages=5) as s:
            await s.sync(count=None)
            target = (await s.at_provider.visible())[0]
            # A label that changes during the comparison needs a get of the stored message.
            await s.at_provider.lose_history()
            await s.at_provider.fail(
                {"method": "gmail.messages.list", "kind": "slow", "seconds": 1.0, "count": 3},
                {"method": "gmail.messages.get", "kind": "html_503", "status": 404, "count": 1},
            )
            await s.hint()
            await s.until_listing("listing IN ('relist', 'relabel')")
            await s.at_provider.relabel(target, add=("STARRED",))
            await s.hint()
            await s.mirrors(exactly_paid=False)
            assert (await s.at_provider.fired())[1] == 1, "no get met it"

    @pytest.mark.parametrize("status", [400, 403, 404, 410])
    async def test_answering_history_keep_cursor_and_access(self, stage: OpenStage, status: int) -> None:
        async with stage(messages=5) as s:
            await s.sync(count=None)
            listings = await s.at_provider.calls("gmail.messages.list")
            await s.at_provider.fail({"method": "gmail.history.list", "kind": "html_503", "status": status, "count": 1})
            await s.at_provider.deliver()
            await s.hint()
            await s.mirrors(exactly_paid=False)
            assert await s.at_provider.fired() == [1]
            assert await s.at_provider.calls("gmail.messages.list") == listings
            assert (await s.sync(count=None)).sync.state is SyncState.COMPLETED

    @pytest.mark.parametrize("status", [400, 404, 410])
    async def test_answering_a_page_do_not_restart_the_listing(self, stage: OpenStage, status: int) -> None:
        async with stage(messages=30, page_size=7) as s:
            await s.at_provider.fail(
                {"method": "gmail.messages.list", "kind": "html_503", "status": status, "after": 2, "count": 1}
            )
            report = await s.sync(count=None)
            assert await s.at_provider.fired() == [1]
            assert report.sync.state is SyncState.COMPLETED
            # Two passes of five pages. A restart would add two.
            assert await s.at_provider.calls("gmail.messages.list") == 10
            assert await s.stored() == await s.at_provider.truth()

    async def test_answering_a_batch_cost_one_batch(self, stage: OpenStage) -> None:
        async with stage(messages=25) as s:
            await s.at_provider.fail({"method": "batch", "kind": "html_503", "status": 404, "count": 1})
            report = await s.sync(count=None)
            assert await s.at_provider.fired() == [1]
            assert report.sync.state is SyncState.COMPLETED
            assert report.sync.units_spent == (await s.at_provider.quota())["units"]
            assert await s.stored() == await s.at_provider.truth()


class TestMail:
    async def test_without_headers(self, stage: OpenStage) -> None:
        async with stage() as s:
            id_ = await s.at_provider.deliver(raw=base64url(b"X-Only: this\r\n\r\nJust text\r\n"))
            await s.sync()
            detail = await s.detail(id_)
            assert detail.summary.sender is None
            assert detail.summary.subject is None
            assert detail.summary.to == []
            assert "Just text" in (detail.text or "")

    @pytest.mark.parametrize(
        ("internal_date", "shown"),
        [
            (0, datetime(1970, 1, 1, tzinfo=UTC)),
            (-86_400_000, datetime(1970, 1, 1, tzinfo=UTC)),
            (1_000, datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)),
            (2_232_316_799_000, datetime(2040, 9, 26, 23, 59, 59, tzinfo=UTC)),
        ],
    )
    async def test_from_any_year(self, stage: OpenStage, internal_date: int, shown: datetime) -> None:
        async with stage(messages=2) as s:
            id_ = await s.at_provider.deliver(internal_date=internal_date, date="Thu, 31 Dec 1969 23:59:59 -1200")
            await s.sync(count=None)
            assert (await s.detail(id_)).summary.received_at == shown
            assert len(await s.listed()) == 3

    async def test_with_nul_and_lone_surrogates(self, stage: OpenStage) -> None:
        broken = "a\0b\ud83dc"
        data = base64url(b"zero \0 byte")
        payload = {
            "mimeType": "multipart/mixed",
            "headers": [
                {"name": "Subject", "value": broken},
                {"name": "From", "value": f'"{broken}" <{broken}@example.com>'},
                {"name": f"X-{broken}", "value": broken},
            ],
            "body": {"size": 0},
            "parts": [
                {"partId": "0", "mimeType": "text/plain", "filename": "", "headers": [], "body": {"data": data}},
                {
                    "partId": "1",
                    "mimeType": broken,
                    "filename": f"{broken}.pdf",
                    "headers": [{"name": "Content-ID", "value": f"<{broken}>"}],
                    "body": {"attachmentId": broken, "size": 3},
                },
            ],
        }
        async with stage() as s:
            id_ = await s.at_provider.deliver(
                extra={"payload": payload, "snippet": broken, "labelIds": ["INBOX", broken], "threadId": broken}
            )
            report = await s.sync(count=None)
            assert report.dead_letters == []
            detail = await s.detail(id_)
            assert detail.summary.subject == "ab\ufffdc"
            assert detail.text == "zero  byte"
            assert "ab\ufffdc" in detail.summary.labels
            assert detail.attachments[0].filename == "ab\ufffdc.pdf"

    async def test_with_a_subject_of_700_characters(self, stage: OpenStage) -> None:
        async with stage() as s:
            id_ = await s.at_provider.deliver(subject="Ж" * 700)
            await s.sync()
            assert (await s.detail(id_)).summary.subject == "Ж" * 700

    async def test_with_encoded_words_left_encoded(self, stage: OpenStage) -> None:
        async with stage() as s:
            id_ = await s.at_provider.deliver(subject="Grüße", **{"from": "Jörg <j@example.com>"}, encoded_headers=True)
            await s.sync()
            summary = (await s.detail(id_)).summary
            assert summary.subject == "Grüße"
            assert summary.sender is not None
            assert summary.sender.name == "Jörg"

    async def test_with_text_by_reference(self, stage: OpenStage) -> None:
        for batch in (True, False):
            async with stage(messages=3, batch=batch) as s:
                id_ = await s.at_provider.deliver_large(LARGE)
                report = await s.sync(count=None)
                assert (report.sync.state, report.dead_letters) == (SyncState.COMPLETED, [])
                assert ((await s.detail(id_)).text or "").strip() == LARGE
                assert await s.at_provider.calls("gmail.messages.attachments.get") == 1
                assert report.sync.units_spent == (await s.at_provider.quota())["units"]

    async def test_with_text_by_reference_that_fails_at_first(self, stage: OpenStage) -> None:
        async with stage(messages=3) as s:
            id_ = await s.at_provider.deliver_large(LARGE)
            attachment = {"method": "gmail.messages.attachments.get", "kind": "error", "count": 1}
            await s.at_provider.fail(
                {**attachment, "status": 404, "reason": "notFound"},
                {**attachment, "status": 503},
                {**attachment, "status": 429, "reason": "userRateLimitExceeded", "retry_after": 0.5},
            )
            report = await s.sync(count=None)
            assert await s.at_provider.fired() == [1, 1, 1]
            assert (report.sync.state, report.dead_letters) == (SyncState.COMPLETED, [])
            assert ((await s.detail(id_)).text or "").strip() == LARGE

    async def test_of_every_malformed_kind(self, stage: OpenStage) -> None:
        async with stage(messages=150, user={"ugly": True}) as s:
            report = await s.sync(count=None)
            assert (report.sync.state, report.dead_letters) == (SyncState.COMPLETED, [])
            assert await s.stored() == await s.at_provider.truth()
            for message in await s.listed(MessageFilter(has_attachment=True)):
                assert (await s.detail(message.external_id)).attachments
