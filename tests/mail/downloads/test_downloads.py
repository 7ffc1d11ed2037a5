"""Raw messages and attachments, fetched from the provider on demand."""

import asyncio
import base64
import hashlib
import json
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from services.kit.errors import AppError
from services.kit.settings import RedisSettings
from services.kit.stores.redis_client import create_redis
from services.mail.downloads.cache_cleanup import clean_cache
from services.mail.ids import PublicId
from services.mail.provider_access.quota import QuotaWaitError
from services.mail.providers.gmail.downloads import GmailDownloads
from services.mail.providers.gmail.http.exchange import Exchange
from services.mail.providers.gmail.limits import GMAIL_COSTS
from services.mail.read_model import MessageDetail
from tests.mail.conftest import OpenStage
from tests.support.mail.downloads import downloads
from tests.support.mail.quota import shared_quota
from tests.support.mail.running_worker import worker_limits
from tests.support.mail.stage import Stage
from tests.support.mail.waiting import eventually

PICTURE = bytes(range(256)) * 40
REPORT = "Отчёт\r\n".encode() * 300


def with_attachments(*, picture: bytes = PICTURE) -> str:
    """Return a message with an embedded picture, a named report and a forwarded message, as base64url."""
    lines = [
        b"From: Bob <bob@example.net>",
        b"To: ada@example.com",
        "Subject: =?utf-8?B?{}?=".format(base64.b64encode("Отчёт: 1/2".encode()).decode()).encode(),
        b"MIME-Version: 1.0",
        b'Content-Type: multipart/mixed; boundary="b"',
        b"",
        b"--b",
        b"Content-Type: text/html; charset=utf-8",
        b"",
        b'<p>Hi <img src="cid:logo@x"></p>',
        b"--b",
        b"Content-Type: image/png",
        b"Content-ID: <logo@x>",
        b"Content-Disposition: inline",
        b"Content-Transfer-Encoding: base64",
        b"",
        base64.encodebytes(picture).replace(b"\n", b"\r\n"),
        b"--b",
        b"Content-Type: text/plain; charset=utf-8",
        b"Content-Disposition: attachment; filename*=UTF-8''%D0%BE%D1%82%D1%87%D1%91%D1%82.txt",
        b"Content-Transfer-Encoding: base64",
        b"",
        base64.encodebytes(REPORT).replace(b"\n", b"\r\n"),
        b"--b",
        b"Content-Type: message/rfc822",
        b"",
        b"From: eve@example.net",
        b"Subject: inner",
        b"",
        b"inner text",
        b"--b--",
        b"",
    ]
    return base64.urlsafe_b64encode(b"\r\n".join(lines)).decode()


async def copied_part(answers: dict[str, object]) -> bytes:
    """Return part 1 of message m from a provider that answers `answers` by path."""

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=answers[request.url.raw_path.decode()])

    copy = bytearray()

    async def write(data: bytes) -> None:
        copy.extend(data)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        source = GmailDownloads(Exchange(http), api_url="http://gmail.example", costs=GMAIL_COSTS["2026-05"])
        await source.copy_part("token", "m", "1", write)
    return bytes(copy)


async def synced(s: Stage, **fields: object) -> MessageDetail:
    """Deliver a message, sync, and return it as stored."""
    external_id = await s.at_provider.deliver(**fields)
    await s.sync()
    return await s.detail(external_id)


class TestRaw:
    async def test_has_the_exact_bytes_that_were_sent(self, stage: OpenStage, tmp_path: Path) -> None:
        async with stage(messages=12) as s, downloads(s, tmp_path) as d:
            await s.sync(count=12)
            answer = await s.at_provider.sandbox.http.get(f"/_sandbox/users/{s.at_provider.email}/messages")
            hashes = {fact["id"]: fact["sha256"] for fact in map(json.loads, answer.text.splitlines())}
            stored = await s.listed()
            assert stored
            for summary in stored:
                raw = await d.raw(await s.detail(summary.external_id))
                assert hashlib.sha256(raw).hexdigest() == hashes[summary.external_id]

    async def test_is_fetched_once(self, stage: OpenStage, tmp_path: Path) -> None:
        async with stage() as s, downloads(s, tmp_path) as d:
            message = await synced(s)
            before = await s.at_provider.calls("gmail.messages.get")
            first, *others = await asyncio.gather(*[d.raw(message) for _ in range(5)])
            assert others == [first] * 4
            assert await d.raw(message) == first
            assert await s.at_provider.calls("gmail.messages.get") == before + 1

    async def test_of_another_user_is_not_found(self, stage: OpenStage, tmp_path: Path) -> None:
        async with stage() as s, downloads(s, tmp_path) as d:
            message = await synced(s)
            message_id = PublicId(message.summary.mailbox_id, message.summary.message_id)
            await d.raw(message)
            for user_id, id_ in ((uuid4(), message_id), (s.user_id, None), (s.user_id, PublicId(1, 1 << 62))):
                with pytest.raises(AppError, match="message_not_found"):
                    await d.downloads.raw(user_id, id_)

    async def test_that_the_provider_deleted_is_gone(self, stage: OpenStage, tmp_path: Path) -> None:
        async with stage(workers=0) as s, downloads(s, tmp_path) as d:
            external_id = await s.at_provider.deliver()
            await s.sync_with_worker()
            message = await s.detail(external_id)
            await s.at_provider.delete(external_id)
            with pytest.raises(AppError, match="message_gone"):
                await d.raw(message)
            assert d.files() == []

    async def test_is_named_after_its_subject(self, stage: OpenStage, tmp_path: Path) -> None:
        async with stage() as s, downloads(s, tmp_path) as d:
            message = await synced(s, raw=with_attachments())
            message_id = PublicId(message.summary.mailbox_id, message.summary.message_id)
            download = await d.downloads.raw(s.user_id, message_id)
            assert (download.filename, download.mime_type) == ("Отчёт_ 1_2.eml", "message/rfc822")


class TestAttachment:
    async def test_has_the_bytes_and_the_name_that_were_sent(self, stage: OpenStage, tmp_path: Path) -> None:
        async with stage() as s, downloads(s, tmp_path) as d:
            message = await synced(s, raw=with_attachments())
            picture, report, inner = message.attachments
            assert await d.attachment(message, picture.part_id) == PICTURE
            assert await d.attachment(message, report.part_id) == REPORT
            assert b"inner text" in await d.attachment(message, inner.part_id)
            message_id = PublicId(message.summary.mailbox_id, message.summary.message_id)
            download = await d.downloads.attachment(s.user_id, message_id, report.part_id)
            assert (download.filename, download.mime_type) == ("отчёт.txt", "text/plain")

    @pytest.mark.parametrize("body", [{"data": "-_8"}, {"data": "-_8=", "size": 2}])
    async def test_that_is_embedded_in_the_message_needs_no_other_call(self, body: dict[str, object]) -> None:
        part = {"partId": "1", "mimeType": "image/png", "filename": "a.png", "body": body}
        resource = {"id": "m", "payload": {"mimeType": "multipart/mixed", "parts": [{"partId": "0"}, part]}}
        assert await copied_part({"/gmail/v1/users/me/messages/m?format=full": resource}) == b"\xfb\xff"

    async def test_that_is_empty_has_no_bytes(self) -> None:
        part = {"partId": "1", "mimeType": "image/png", "body": {"attachmentId": "a/b", "size": 0}}
        resource = {"id": "m", "payload": {"mimeType": "multipart/mixed", "parts": [{"partId": "0"}, part]}}
        messages = "/gmail/v1/users/me/messages/m"
        assert await copied_part({f"{messages}?format=full": resource, f"{messages}/attachments/a%2Fb": {}}) == b""

    async def test_that_is_unknown_is_not_found(self, stage: OpenStage, tmp_path: Path) -> None:
        async with stage() as s, downloads(s, tmp_path) as d:
            message = await synced(s, raw=with_attachments())
            for part_id in ("0", "9", "", "../x"):
                with pytest.raises(AppError, match="attachment_not_found"):
                    await d.attachment(message, part_id)

    async def test_of_a_message_without_other_parts_is_its_root(self, stage: OpenStage, tmp_path: Path) -> None:
        async with stage() as s, downloads(s, tmp_path) as d:
            raw = b"Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.b64encode(
                PICTURE
            )
            message = await synced(s, raw=base64.urlsafe_b64encode(raw).decode())
            [attachment] = message.attachments
            assert await d.attachment(message, attachment.part_id) == PICTURE


class TestFaults:
    @pytest.mark.parametrize("kind", ["html_503", "reset", "truncate"])
    async def test_that_are_transient_are_retried(self, stage: OpenStage, tmp_path: Path, kind: str) -> None:
        async with stage() as s, downloads(s, tmp_path) as d:
            message = await synced(s, raw=with_attachments())
            await s.at_provider.fail({"method": "gmail.messages.attachments.get", "kind": kind, "count": 2})
            assert await d.attachment(message, message.attachments[0].part_id) == PICTURE
            assert await s.at_provider.fired() == [2]
            assert len(d.files()) == 1

    async def test_that_persist_are_provider_unavailable(self, stage: OpenStage, tmp_path: Path) -> None:
        async with stage() as s, downloads(s, tmp_path) as d:
            message = await synced(s)
            await s.at_provider.fail({"method": "gmail.messages.get", "kind": "html_503"})
            with pytest.raises(AppError, match="provider_unavailable"):
                await d.raw(message)
            assert d.files() == []

    async def test_of_an_expired_token_are_retried_with_a_new_one(self, stage: OpenStage, tmp_path: Path) -> None:
        async with stage() as s, downloads(s, tmp_path) as d:
            message = await synced(s)
            await d.raw(message)
            other = await synced(s)
            await s.at_provider.control("POST", "tokens/expire")
            assert await d.raw(other)

    async def test_of_a_revoked_grant_are_reauth_required(self, stage: OpenStage, tmp_path: Path) -> None:
        async with stage() as s, downloads(s, tmp_path) as d:
            message = await synced(s)
            await s.at_provider.control("POST", "revoke")
            with pytest.raises(AppError, match="reauth_required"):
                await d.raw(message)

    async def test_of_the_providers_quota_carry_retry_after(self, stage: OpenStage, tmp_path: Path) -> None:
        async with stage() as s, downloads(s, tmp_path) as d:
            message = await synced(s)
            await s.at_provider.fail(
                {
                    "method": "gmail.messages.get",
                    "kind": "error",
                    "status": 429,
                    "reason": "rateLimitedExceeded",
                    "count": 1,
                }
            )
            with pytest.raises(AppError, match="provider_rate_limited") as refusal:
                await d.raw(message)
            assert int(refusal.value.metadata["retry_after"]) >= 1
            # Workers leave the mailbox alone, too.
            quota = shared_quota(s.servers.redis, s.pool, limits=worker_limits())
            with pytest.raises(QuotaWaitError):
                await quota.take((await s.mailbox()).identity, 1)

    async def test_of_our_quota_are_provider_rate_limited_after_the_patience(
        self, stage: OpenStage, tmp_path: Path
    ) -> None:
        async with stage() as s, downloads(s, tmp_path, patience=0.0) as d:
            message = await synced(s)
            quota = shared_quota(s.servers.redis, s.pool, limits=worker_limits())
            await quota.pause((await s.mailbox()).identity, 30, whole_project=False)
            with pytest.raises(AppError, match="provider_rate_limited"):
                await d.raw(message)

    async def test_of_redis_are_service_unavailable(self, stage: OpenStage, tmp_path: Path, free_port: int) -> None:
        redis = create_redis(RedisSettings(redis_host="127.0.0.1", redis_port=free_port, redis_db=0))
        async with stage() as s, downloads(s, tmp_path, redis=redis) as d:
            message = await synced(s)
            with pytest.raises(AppError, match="service_unavailable"):
                await d.raw(message)
        await redis.aclose()


class TestDeletion:
    async def test_of_a_message_removes_its_cached_contents(self, stage: OpenStage, tmp_path: Path) -> None:
        async with stage() as s, downloads(s, tmp_path) as d:
            gone, kept = await synced(s, raw=with_attachments()), await synced(s)
            await d.raw(kept)
            [file] = d.files()
            await d.attachment(gone, "1")
            assert len(d.files()) == 2
            await s.at_provider.delete(gone.summary.external_id)
            await s.sync()
            with pytest.raises(AppError, match="message_not_found"):
                await d.attachment(gone, "1")
            await clean_cache(s.servers.mail_pool, d.cache)
            assert d.files() == [file]


class TestDisconnecting:
    async def test_removes_the_cached_contents(self, stage: OpenStage, tmp_path: Path) -> None:
        async with stage() as s, downloads(s, tmp_path) as d:
            await d.raw(await synced(s))
            await clean_cache(s.servers.mail_pool, d.cache)
            assert len(d.files()) == 1
            await s.disconnect()
            await clean_cache(s.servers.mail_pool, d.cache)
            assert (d.files(), d.cache.size) == ([], 0)


class TestCancellation:
    async def test_by_the_last_caller_cancels_the_fetch(self, stage: OpenStage, tmp_path: Path) -> None:
        async with stage() as s, downloads(s, tmp_path) as d:
            message = await synced(s)
            await s.at_provider.fail({"method": "gmail.messages.get", "kind": "slow", "seconds": 2})
            one, two = (asyncio.create_task(d.raw(message)) for _ in range(2))

            async def is_fetching() -> bool:
                return len(d.files()) == 1 and sum(fetch.waiting for fetch in d.downloads._fetches.values()) == 2

            await eventually(is_fetching)
            one.cancel()
            await asyncio.wait({one})
            assert len(d.files()) == 1
            two.cancel()
            await asyncio.wait({two})

            async def is_clean() -> bool:
                return d.files() == [] and not d.downloads._fetches

            await eventually(is_clean)
