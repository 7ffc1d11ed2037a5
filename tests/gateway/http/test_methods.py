"""HEAD wherever GET is, OPTIONS everywhere, and 405 with all methods of the resource."""

import pytest

from tests.gateway.conftest import Gateway
from tests.gateway.requests.test_strict_input import filled, operations
from tests.gateway.routes.test_messages import connect, message

WITH_GET = [path for method, path in operations() if method == "GET"]


class TestHead:
    @pytest.mark.parametrize("path", [path for path in WITH_GET if "callback" not in path])
    async def test_is_get_without_a_body(self, gateway: Gateway, path: str) -> None:
        headers = gateway.as_user("ada")
        head = await gateway.http.head(filled(path), headers=headers)
        got = await gateway.http.get(filled(path), headers=headers)
        assert (head.status_code, head.content) == (got.status_code, b"")
        assert head.headers.keys() == got.headers.keys()

    async def test_has_the_length_of_the_body(self, gateway: Gateway) -> None:
        account_id = connect(gateway, message())
        path, headers = f"/emails?account_id={account_id}", gateway.as_user("ada") | {"Accept-Encoding": "identity"}
        head = await gateway.http.head(path, headers=headers)
        got = await gateway.http.get(path, headers=headers)
        assert int(head.headers["content-length"]) == len(got.content) > 0

    async def test_ends_an_export_at_mail(self, gateway: Gateway) -> None:
        account_id = connect(gateway, message())
        gateway.mail.export_never_ends = True
        answer = await gateway.http.head(f"/emails/export?account_id={account_id}", headers=gateway.as_user("ada"))
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
        await gateway.mail.exports_ended.wait()

    async def test_of_the_callback_takes_no_login_code(self, gateway: Gateway) -> None:
        answer = await gateway.http.head("/auth/google/callback?state=x&code=y")
        assert answer.status_code == 204
        assert gateway.auth.completions == []

    async def test_is_counted_under_its_route(self, gateway: Gateway) -> None:
        await gateway.http.head("/emails/m1", headers=gateway.as_user("ada"))
        labels = {"method": "HEAD", "route": "/emails/{id}", "status": "404"}
        assert gateway.registry.get_sample_value("mailroom_http_request_seconds_count", labels) == 1


class TestOptions:
    @pytest.mark.parametrize("path", sorted({path for _, path in operations() if path != "/hooks/google"}))
    async def test_names_the_methods(self, gateway: Gateway, path: str) -> None:
        answer = await gateway.http.options(filled(path))
        assert (answer.status_code, answer.content) == (204, b"")
        own = {method for method, other in operations() if other == path}
        allowed = set(answer.headers["allow"].split(", "))
        assert allowed == own | {"OPTIONS"} | ({"HEAD"} if "GET" in own else set())

    async def test_of_an_unknown_path_is_not_found(self, gateway: Gateway) -> None:
        answer = await gateway.http.options("/nowhere")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


class TestOtherMethod:
    @pytest.mark.parametrize(
        ("method", "path", "allowed"),
        [
            ("GET", "/emails/sync", "OPTIONS, POST"),
            ("HEAD", "/emails/sync", "OPTIONS, POST"),
            ("GET", "/emails/verify", "OPTIONS, POST"),
            ("GET", "/auth/token", "OPTIONS, POST"),
            ("DELETE", "/emails/labels", "GET, HEAD, OPTIONS"),
            ("POST", "/emails/syncs/s1", "DELETE, GET, HEAD, OPTIONS"),
            ("PATCH", "/auth/me", "DELETE, GET, HEAD, OPTIONS"),
            ("BREW", "/healthz", "GET, HEAD, OPTIONS"),
        ],
    )
    async def test_is_refused_with_all_methods_of_the_resource(
        self, gateway: Gateway, method: str, path: str, allowed: str
    ) -> None:
        answer = await gateway.http.request(method, path, headers=gateway.as_user("ada"))
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
        assert method == "HEAD" or answer.json()["code"] == "method_not_allowed"
