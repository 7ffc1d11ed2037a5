"""ETags of responses that are built whole."""

import pytest

from services.gateway.requests.conditional import CONDITIONAL
from tests.gateway.conftest import Gateway
from tests.gateway.requests.test_strict_input import routes
from tests.gateway.routes.test_messages import connect, message


def conditional_paths() -> list[str]:
    return sorted({route.path for route in routes() if CONDITIONAL in route.dependencies})


async def etag_of(gateway: Gateway, path: str) -> str:
    answer = await gateway.http.get(path, headers=gateway.as_user("ada"))
    assert answer.status_code == 200
    return answer.headers["etag"]


class TestEtag:
    def test_is_of_messages_and_lists(self) -> None:
        lists = ["/emails", "/emails/", "/emails/labels", "/emails/threads"]
        assert conditional_paths() == sorted([*lists, "/emails/threads/{id}", "/emails/{id}"])

    @pytest.mark.parametrize("template", ["{}", 'W/"other", {}', '"{}"', "*"])
    async def test_that_the_client_has_saves_the_body(self, gateway: Gateway, template: str) -> None:
        account_id = connect(gateway, message())
        for path in (f"/emails?account_id={account_id}", "/emails/m1", f"/emails/labels?account_id={account_id}"):
            etag = await etag_of(gateway, path)
            known = template.format(etag[3:-1] if '"{}"' in template else etag)
            answer = await gateway.http.get(path, headers=gateway.as_user("ada") | {"If-None-Match": known})
            assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)

    async def test_changes_with_the_body(self, gateway: Gateway) -> None:
        account_id = connect(gateway, message(1))
        path = f"/emails?account_id={account_id}"
        before = await etag_of(gateway, path)
        gateway.mail.messages[account_id].append(message(2))
        answer = await gateway.http.get(path, headers=gateway.as_user("ada") | {"If-None-Match": before})
        assert answer.status_code == 200
        assert answer.headers["etag"] != before

    async def test_is_not_of_failures(self, gateway: Gateway) -> None:
        answer = await gateway.http.get("/emails/none", headers=gateway.as_user("ada") | {"If-None-Match": "*"})
        assert (answer.status_code, "etag" in answer.headers) == (404, False)
