"""The gateway's metrics of requests, and their labels."""

import asyncio

import pytest
from structlog.testing import capture_logs

from services.kit.http.bounds import Bounds
from services.kit.http.server import serve_http
from tests.gateway.conftest import Gateway, OpenGateway
from tests.support.mail.waiting import eventually


def count(gateway: Gateway, **labels: str) -> float | None:
    return gateway.registry.get_sample_value("mailroom_http_request_seconds_count", labels)


class TestRequest:
    async def test_is_counted_by_the_template_of_its_route(self, gateway: Gateway) -> None:
        for message_id in ("one", "two"):
            await gateway.http.get(f"/emails/{message_id}", headers=gateway.as_user("ada"))
        assert count(gateway, method="GET", route="/emails/{id}", status="404") == 2

    async def test_that_fails_is_counted_as_answered(self, gateway: Gateway) -> None:
        gateway.mail.failure = RuntimeError("hunter2")
        await gateway.http.get("/emails/addresses", headers=gateway.as_user("ada"))
        assert count(gateway, method="GET", route="/emails/addresses", status="500") == 1

    @pytest.mark.parametrize("path", ["/no/such/page", "/wp-login.php"])
    async def test_to_nowhere_makes_no_label_of_its_own(self, gateway: Gateway, path: str) -> None:
        await gateway.http.get(path)
        assert count(gateway, method="GET", route="none", status="404") == 1

    async def test_of_a_made_up_method_makes_no_label_of_its_own(self, gateway: Gateway) -> None:
        await gateway.http.request("BREW", "/emails/addresses")
        assert count(gateway, method="other", route="/emails/addresses", status="405") == 1

    @pytest.mark.parametrize("path", ["/auth/token", "/auth/logout", "/emails/sync", "/hooks/google"])
    @pytest.mark.parametrize("stays", [False, True], ids=["left", "stopped sending"])
    async def test_whose_body_does_not_end_is_no_failure(
        self, open_gateway: OpenGateway, path: str, stays: bool
    ) -> None:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\nContent-Length: 9\r\n\r\n{{"
        async with open_gateway(notifying_providers=("google",)) as gateway:
            bounds = Bounds(body_seconds=0.1)
            with capture_logs() as logs:
                async with serve_http(gateway.app, host="127.0.0.1", port=0, bounds=bounds) as port:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.write(head.encode())
                    await (reader.read() if stays else writer.drain())
                    writer.close()

                    async def is_counted() -> bool:
                        return count(gateway, method="POST", route=path, status="none") == 1

                    await eventually(is_counted)
            assert count(gateway, method="POST", route=path, status="500") is None
            assert [entry for entry in logs if entry["log_level"] in ("warning", "error")] == []
