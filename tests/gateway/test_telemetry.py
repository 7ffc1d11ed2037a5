"""The gateway's metrics of requests, and their labels."""

import pytest

from tests.gateway.conftest import Gateway


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
