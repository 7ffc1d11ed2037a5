"""The routes of downloads: ranges, conditions, names, and clients that leave."""

import asyncio
import re
from collections import Counter
from typing import Any

import httpx
import pytest
from mailroom.mail.v1 import mail_pb2

from services.gateway.downloads import condition_of, content_disposition
from services.kit.errors import AppError, Kind
from tests.gateway.conftest import Gateway

RAW, ATTACHMENT = "/emails/m1/raw", "/emails/m1/attachments/0.1"


def header(**fields: Any) -> mail_pb2.DownloadHeader:
    """The header of a download of ten bytes."""
    values = {"etag": "e1", "filename": "a.png", "mime_type": "image/png", "total_size": 10, "length": 10, **fields}
    return mail_pb2.DownloadHeader(**values)


async def get(gateway: Gateway, path: str = ATTACHMENT, **headers: str) -> httpx.Response:
    return await gateway.http.get(path, headers={**gateway.as_user("ada"), **headers})


class TestDownload:
    @pytest.mark.parametrize("path", [RAW, ATTACHMENT])
    async def test_passes_on_all_bytes_as_a_download(self, gateway: Gateway, path: str) -> None:
        gateway.mail.download = [header(), b"01234", b"56789"]
        answer = await get(gateway, path)
        assert (answer.status_code, answer.content) == (200, b"0123456789")
        expected = {
            "content-type": "image/png",
            "content-length": "10",
            "content-disposition": 'attachment; filename="a.png"',
            "content-security-policy": "sandbox; default-src 'none'",
            "x-content-type-options": "nosniff",
            "accept-ranges": "bytes",
            "etag": '"e1"',
            "cache-control": "no-store",
        }
        assert {name: answer.headers[name] for name in expected} == expected
        [request] = gateway.mail.downloads
        assert (request.user_id, request.message_id) == ("ada", "m1")

    async def test_names_the_attachment_that_is_asked_for(self, gateway: Gateway) -> None:
        gateway.mail.download = [header(), b"0123456789"]
        await get(gateway)
        [request] = gateway.mail.downloads
        assert isinstance(request, mail_pb2.DownloadAttachmentRequest)
        assert request.attachment_id == "0.1"

    async def test_of_nothing_is_empty(self, gateway: Gateway) -> None:
        gateway.mail.download = [header(total_size=0, length=0)]
        answer = await get(gateway)
        assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "0")

    @pytest.mark.parametrize("mime_type", ["text/html", "image/svg+xml", "application/javascript", "x\r\ny: z", ""])
    async def test_of_a_type_with_scripts_is_sent_as_bytes(self, gateway: Gateway, mime_type: str) -> None:
        gateway.mail.download = [header(mime_type=mime_type), b"0123456789"]
        assert (await get(gateway)).headers["content-type"] == "application/octet-stream"

    async def test_of_a_range_is_partial(self, gateway: Gateway) -> None:
        gateway.mail.download = [header(offset=2, length=3, ranged=True), b"234"]
        answer = await get(gateway, **{"Range": "bytes=2-4", "If-Range": '"e1"'})
        assert (answer.status_code, answer.content) == (206, b"234")
        assert (answer.headers["content-range"], answer.headers["content-length"]) == ("bytes 2-4/10", "3")
        [request] = gateway.mail.downloads
        assert request.condition == mail_pb2.DownloadCondition(first=2, last=4, range_etag="e1")

    async def test_of_a_range_outside_says_how_long_it_is(self, gateway: Gateway) -> None:
        gateway.mail.download = [header(out_of_range=True, length=0)]
        answer = await get(gateway, Range="bytes=10-")
        assert (answer.status_code, answer.json()["code"]) == (416, "range_not_satisfiable")
        assert answer.headers["content-range"] == "bytes */10"

    async def test_of_an_unchanged_content_is_not_repeated(self, gateway: Gateway) -> None:
        gateway.mail.download = [header(unchanged=True)]
        answer = await get(gateway, **{"If-None-Match": 'W/"e1", "e2"'})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", '"e1"')
        assert list(gateway.mail.downloads[0].condition.known_etags) == ["e1", "e2"]

    @pytest.mark.parametrize(
        ("kind", "reason", "status"),
        [
            (Kind.NOT_FOUND, "attachment_not_found", 404),
            (Kind.GONE, "message_gone", 410),
            (Kind.UNAVAILABLE, "provider_unavailable", 503),
            (Kind.RATE_LIMITED, "provider_rate_limited", 429),
        ],
    )
    async def test_that_fails_is_a_problem(self, gateway: Gateway, kind: Kind, reason: str, status: int) -> None:
        gateway.mail.download = [AppError(kind, reason, "No.", {"retry_after": "3"})]
        answer = await get(gateway)
        assert (answer.status_code, answer.json()["code"]) == (status, reason)

    async def test_needs_a_token(self, gateway: Gateway) -> None:
        assert (await gateway.http.get(RAW)).status_code == 401

    @pytest.mark.parametrize("parts", [[None], [header(), b"012", None]])
    async def test_ends_at_mail_when_the_client_leaves(self, gateway: Gateway, parts: list[Any]) -> None:
        gateway.mail.download = parts
        asking = asyncio.create_task(_asgi_get(gateway))
        async with asyncio.timeout(30):
            await gateway.mail.cancelled.wait()
            await asking


async def _asgi_get(gateway: Gateway) -> None:
    """Act as a client that leaves once mail has been called, which httpx's transport cannot do."""
    headers = [(b"authorization", gateway.as_user("ada")["Authorization"].encode()), (b"host", b"gateway")]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": ATTACHMENT, "raw_path": ATTACHMENT.encode(), "query_string": b"", "root_path": "", "headers": headers,
        "client": ("127.0.0.1", 1), "server": ("gateway", 80),
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        while not gateway.mail.downloads:  # noqa: ASYNC110 - the fake is asked over a real connection
            await asyncio.sleep(0.01)
        return {"type": "http.disconnect"}

    async def send(_: Any) -> None:
        return

    transport = gateway.http._transport
    assert isinstance(transport, httpx.ASGITransport)
    await transport.app(scope, receive, send)


class TestConditions:
    @pytest.mark.parametrize(
        ("wanted", "first", "last"),
        [
            ("bytes=0-0", 0, 0),
            ("bytes=5-", 5, None),
            ("bytes=-5", None, 5),
            ("Bytes = 1-2", 1, 2),
            ("bytes=1-99999999999999999999999", 1, 10**18 - 1),
        ],
    )
    def test_hold_a_single_range(self, wanted: str, first: int | None, last: int | None) -> None:
        condition = condition_of(wanted=wanted, if_range="", if_none_match="")
        assert (condition.first if condition.HasField("first") else None) == first
        assert (condition.last if condition.HasField("last") else None) == last

    @pytest.mark.parametrize(
        "wanted", ["", "bytes=", "bytes=-", "bytes=2-1", "bytes=0-1,3-4", "items=0-1", "bytes=a-b", "x"]
    )
    def test_ignore_all_but_a_single_range(self, wanted: str) -> None:
        assert condition_of(wanted=wanted, if_range='"e"', if_none_match="") == mail_pb2.DownloadCondition()

    @pytest.mark.parametrize("value", ['W/"e1"', "Tue, 03 Mar 2026 10:00:00 GMT", '""'])
    def test_name_no_etag_for_weak_or_empty_validators_of_ranges(self, value: str) -> None:
        # An etag is hexadecimal, and mail streams all where the validator is another text.
        named = condition_of(wanted="bytes=0-1", if_range=value, if_none_match="").range_etag
        assert named
        assert not re.fullmatch("[0-9a-f]+", named)

    def test_name_the_etag_of_a_strong_validator(self) -> None:
        assert condition_of(wanted="bytes=0-1", if_range='"0af1"', if_none_match="").range_etag == "0af1"

    def test_know_any_etag(self) -> None:
        assert list(condition_of(wanted="", if_range="", if_none_match="*").known_etags) == ["*"]
        assert list(condition_of(wanted="", if_range="", if_none_match='"*", "e"').known_etags) == ["e"]


class TestContentDisposition:
    @pytest.mark.parametrize(
        ("filename", "expected"),
        [
            ("a b.txt", 'attachment; filename="a b.txt"'),
            ("отчёт.txt", "attachment; filename=\"_____.txt\"; filename*=UTF-8''%D0%BE%D1%82%D1%87%D1%91%D1%82.txt"),
            ('a"b\\c%41.txt', "attachment; filename=\"a_b_c_41.txt\"; filename*=UTF-8''a%22b%5Cc%2541.txt"),
            (
                "a\r\nSet-Cookie: x",
                "attachment; filename=\"a__Set-Cookie: x\"; filename*=UTF-8''a%0D%0ASet-Cookie%3A%20x",
            ),
        ],
    )
    def test_names_the_file_for_old_and_new_clients(self, filename: str, expected: str) -> None:
        assert content_disposition(filename) == expected


class TestShare:
    async def test_of_a_user_leaves_room_for_others(self, gateway: Gateway) -> None:
        gateway.mail.download = [header(), None]
        downloads = {asyncio.create_task(get(gateway, RAW)) for _ in range(PER_USER + WAITING + 1)}
        try:
            async with asyncio.timeout(20):
                [refused], _ = await asyncio.wait(downloads, return_when=asyncio.FIRST_COMPLETED)
                assert (refused.result().status_code, refused.result().json()["code"]) == (429, "too_many_requests")
                downloads.add(asyncio.create_task(gateway.http.get(RAW, headers=gateway.as_user("grace"))))
                while len(gateway.mail.downloads) < PER_USER + 1:  # noqa: ASYNC110 - the fake tells nothing
                    await asyncio.sleep(0.01)
            users = Counter(request.user_id for request in gateway.mail.downloads)
            assert users == {"ada": PER_USER, "grace": 1}
        finally:
            for download in downloads:
                download.cancel()
            await asyncio.wait(downloads)


PER_USER, WAITING = 8, 64
"""Downloads of a user at a time, and those that wait."""
