"""Mail is compressed for clients that accept it; tokens and contents with ranges are not."""

import gzip
import zlib

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from services.gateway.http.compression import Compression
from tests.gateway.conftest import Gateway
from tests.gateway.routes.test_downloads import header
from tests.gateway.routes.test_messages import connect, message

GZIP = {"Accept-Encoding": "gzip"}


async def raw(gateway: Gateway, path: str, **headers: str) -> tuple[httpx.Response, bytes]:
    """Return a response, and its body as it was sent."""
    sent = gateway.as_user("ada") | GZIP | headers
    async with gateway.http.stream("GET", path, headers=sent) as answer:
        return answer, b"".join([part async for part in answer.aiter_raw()])


class TestList:
    async def test_is_compressed_with_its_length(self, gateway: Gateway) -> None:
        account_id = connect(gateway, *(message(number) for number in range(20)))
        path = f"/emails?account_id={account_id}"
        answer, body = await raw(gateway, path)
        plain, content = await raw(gateway, path, **{"Accept-Encoding": "identity"})
        assert gzip.decompress(body) == content
        assert len(body) < len(content) / 3
        assert (answer.headers["content-encoding"], int(answer.headers["content-length"])) == ("gzip", len(body))
        assert answer.headers["etag"] == plain.headers["etag"]
        assert "content-encoding" not in plain.headers
        for one in (answer, plain):
            assert "accept-encoding" in one.headers["vary"].lower()

    @pytest.mark.parametrize(
        ("accepted", "is_compressed"),
        [
            ("gzip", True),
            ("br, GZIP;q=0.5, identity", True),
            ("deflate,gzip ; q=1.0", True),
            ("gzip;q=0.01", True),
            ("gzip;q=0", False),
            ("br, gzip; q=0.000 , identity", False),
            ("gzipped", False),
            ("identity", False),
            ("", False),
        ],
    )
    async def test_is_compressed_only_for_clients_that_accept_it(
        self, gateway: Gateway, accepted: str, is_compressed: bool
    ) -> None:
        account_id = connect(gateway, *(message(number) for number in range(20)))
        answer, _ = await raw(gateway, f"/emails?account_id={account_id}", **{"Accept-Encoding": accepted})
        assert ("content-encoding" in answer.headers) == is_compressed
        assert "accept-encoding" in answer.headers["vary"].lower()

    async def test_that_is_small_is_not(self, gateway: Gateway) -> None:
        account_id = connect(gateway)
        answer, body = await raw(gateway, f"/emails?account_id={account_id}")
        assert "content-encoding" not in answer.headers
        assert body.startswith(b"{")


class TestStream:
    async def test_is_flushed_after_every_line(self) -> None:
        decompress, lines = zlib.decompressobj(31), [b'{"id":"%d"}\n' % number for number in range(3)]
        seen: list[bytes] = []

        async def app(_: Scope, __: Receive, send: Send) -> None:
            headers = [(b"content-type", b"application/x-ndjson")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            for line in lines:
                await send({"type": "http.response.body", "body": line, "more_body": True})
                # The line can be read before the next one exists.
                assert seen[-1] == line
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        async def receive() -> Message:
            raise NotImplementedError

        async def send(message: Message) -> None:
            if message["type"] == "http.response.body":
                seen.append(decompress.decompress(message["body"]))

        scope = {"type": "http", "path": "/emails/export", "headers": [(b"accept-encoding", b"gzip")]}
        await Compression(app)(scope, receive, send)
        assert b"".join(seen) == b"".join(lines)
        assert decompress.eof


class TestDownload:
    async def test_is_not_compressed(self, gateway: Gateway) -> None:
        for mime_type in ("text/plain", "application/pdf", "image/png", "message/rfc822", "application/x-unknown"):
            gateway.mail.download = [header(mime_type=mime_type, total_size=5000, length=5000), b"0" * 5000]
            answer, body = await raw(gateway, "/emails/m1/raw")
            assert ("content-encoding" in answer.headers, len(body)) == (False, 5000)


class TestOther:
    @pytest.mark.parametrize("path", ["/auth/me", "/.well-known/jwks.json"])
    async def test_is_not_compressed(self, gateway: Gateway, path: str) -> None:
        answer, _ = await raw(gateway, path)
        assert "content-encoding" not in answer.headers
