"""What a request says and no route knows is refused, on every route alike."""

import json
from collections.abc import AsyncIterator, Iterator

import pytest
from fastapi.routing import APIRoute

from services.gateway import app as gateway_app
from services.gateway.routes import pages, push
from tests.gateway.conftest import BODY_LIMIT, Gateway, OpenGateway

JSON = {"Content-Type": "application/json"}
# Called by providers, who may add parameters (RFC 6749 section 4.1.2).
CALLED_BY_PROVIDERS = {("GET", "/auth/{provider}/callback"), ("POST", "/hooks/google")}


def routes() -> Iterator[APIRoute]:
    """Every route of the gateway, those that a setting adds included."""
    for router in (*(module.router for module in gateway_app._ROUTES), push.push_router(["google"]), pages.docs):
        yield from (route for route in router.routes if isinstance(route, APIRoute))


def operations() -> list[tuple[str, str]]:
    return sorted({(method, route.path) for route in routes() for method in route.methods or ()})


def with_body() -> list[tuple[str, str]]:
    return sorted((method, route.path) for route in routes() if route.body_field for method in route.methods or ())


def filled(path: str) -> str:
    """A path with some value for each of its parameters."""
    return path.replace("{provider}", "google").replace("{", "").replace("}", "")


@pytest.fixture
async def whole_gateway(open_gateway: OpenGateway) -> AsyncIterator[Gateway]:
    async with open_gateway(notifying_providers=("google",)) as gateway:
        yield gateway


async def errors_of(gateway: Gateway, method: str, path: str, **options: object) -> list[tuple[str, str]]:
    """Send a request that is refused; return field and message of each error."""
    answer = await gateway.http.request(method, path, **{"headers": gateway.admitted_to(path), **options})  # type: ignore[arg-type]
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request"), answer.text
    return [(error["field"], error["message"]) for error in answer.json()["errors"]]


class TestParameter:
    def test_is_tried_on_every_route(self) -> None:
        assert len(operations()) > 25
        assert set(operations()) > CALLED_BY_PROVIDERS

    @pytest.mark.parametrize(("method", "path"), operations())
    async def test_that_is_unknown_is_refused_by_name(self, whole_gateway: Gateway, method: str, path: str) -> None:
        url = f"{filled(path)}?no_such=1"
        if (method, path) in CALLED_BY_PROVIDERS:
            answer = await whole_gateway.http.request(method, url)
            assert "no_such" not in answer.text
            assert answer.status_code in (303, 401)
        else:
            assert await errors_of(whole_gateway, method, url) == [("no_such", "is not known here")]

    @pytest.mark.parametrize(
        "query", ["=1", "no_such", "user_email=a&no_such=&", "%6eo_such=1", "user_email=a&No_Such="]
    )
    async def test_is_found_however_it_is_written(self, gateway: Gateway, query: str) -> None:
        [(_, message)] = await errors_of(gateway, "GET", f"/emails?{query}")
        assert message == "is not known here"

    async def test_with_a_wrong_case_is_another_one(self, gateway: Gateway) -> None:
        assert await errors_of(gateway, "GET", "/emails?User_Email=a") == [("User_Email", "is not known here")]

    @pytest.mark.parametrize(
        ("path", "name"),
        [
            ("/emails?user_email=a&user_email=b", "user_email"),
            ("/emails?user_email=a&limit=1&q=x&limit=1", "limit"),
            ("/auth/google/start?code_challenge=a&code_challenge=b", "code_challenge"),
        ],
    )
    async def test_that_comes_twice_is_refused_by_name(self, gateway: Gateway, path: str, name: str) -> None:
        assert await errors_of(gateway, "GET", path) == [(name, "must be given once")]

    @pytest.mark.parametrize(("query", "name"), [("q=%ff", "q"), ("user_email=a&q=%C3%28", "q"), ("%ff=1", "query")])
    async def test_that_is_not_utf_8_is_refused_by_name(self, gateway: Gateway, query: str, name: str) -> None:
        assert await errors_of(gateway, "GET", f"/emails?{query}") == [(name, "must be UTF-8")]

    async def test_shows_a_part_of_a_long_name_and_few_of_many(self, gateway: Gateway) -> None:
        query = "&".join(f"{'x' * 150}{number}" for number in range(30))
        errors = await errors_of(gateway, "GET", f"/emails?{query}")
        assert [len(field) for field, _ in errors] == [100] * 20

    async def test_in_utf_8_passes(self, gateway: Gateway) -> None:
        gateway.mail.connect("ada", "ada@example.com")
        url = "/emails?user_email=ada%40example.com&q=%D0%BC%D0%B8%D1%80+%EF%BF%BD&"
        assert (await gateway.http.get(url, headers=gateway.as_user("ada"))).status_code == 200
        assert gateway.mail.listings[0].query == "мир \ufffd"


class TestPath:
    async def test_that_is_not_utf_8_is_refused(self, gateway: Gateway) -> None:
        assert await errors_of(gateway, "GET", "/emails/%ff") == [("path", "must be UTF-8")]

    async def test_with_a_replacement_character_of_its_own_passes(self, gateway: Gateway) -> None:
        answer = await gateway.http.get("/emails/%EF%BF%BD", headers=gateway.as_user("ada"))
        assert (answer.status_code, answer.json()["code"]) == (404, "message_not_found")


class TestBody:
    @pytest.mark.parametrize(("method", "path"), with_body())
    async def test_with_an_unknown_field_is_refused_by_name(self, gateway: Gateway, method: str, path: str) -> None:
        errors = await errors_of(gateway, method, filled(path), json={"no_such": 1})
        assert ("no_such", "is not known here") in errors

    @pytest.mark.parametrize(("method", "path"), with_body())
    async def test_with_a_doubled_field_is_refused_by_name(self, gateway: Gateway, method: str, path: str) -> None:
        headers = gateway.as_user("ada") | JSON
        errors = await errors_of(gateway, method, filled(path), content=b'{"a": 1, "a": 1}', headers=headers)
        assert errors == [("a", "must be given once")]

    @pytest.mark.parametrize(("method", "path"), with_body())
    async def test_with_many_unknown_fields_has_few_named(self, gateway: Gateway, method: str, path: str) -> None:
        content = json.dumps({f"{'x' * 150}{number}": 1 for number in range(10)} | {f"{n}": 1 for n in range(40)})
        assert len(content) < BODY_LIMIT
        errors = await errors_of(gateway, method, filled(path), content=content, headers=gateway.as_user("ada") | JSON)
        assert [len(field) for field, _ in errors] == [100] * 10 + [1] * 10
        assert {message for _, message in errors} == {"is not known here"}

    @pytest.mark.parametrize("name", ["\\ud800", "\\udfff x", "\\ud800\\ud800"])
    @pytest.mark.parametrize("times", [1, 2], ids=["once", "doubled"])
    async def test_with_half_a_character_as_a_name_is_refused(self, gateway: Gateway, name: str, times: int) -> None:
        content = f"{{{', '.join([f'"{name}": 1'] * times)}}}"
        [(field, message)] = await errors_of(gateway, "POST", "/auth/token", content=content, headers=JSON)
        assert "?" in field
        assert message == ("is not known here" if times == 1 else "must be given once")

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1"])
    async def test_in_another_encoding_is_malformed(self, gateway: Gateway, encoding: str) -> None:
        content = json.dumps({"state": "ä"}, ensure_ascii=False).encode(encoding)
        answer = await gateway.http.post("/auth/token", content=content, headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed_json")

    @pytest.mark.parametrize("content", [b'{"state": NaN}', b'{"state": -Infinity}'])
    async def test_with_a_constant_of_javascript_is_malformed(self, gateway: Gateway, content: bytes) -> None:
        answer = await gateway.http.post("/auth/token", content=content, headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed_json")


class TestContentEncoding:
    @pytest.mark.parametrize(("method", "path"), operations())
    async def test_that_is_not_understood_is_refused_by_name(
        self, whole_gateway: Gateway, method: str, path: str
    ) -> None:
        headers = whole_gateway.as_user("ada") | JSON | {"Content-Encoding": "gzip"}
        answer = await whole_gateway.http.request(method, filled(path), content=b"{}", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_content_encoding")
        assert "gzip" in answer.json()["detail"]
        assert answer.headers["accept-encoding"] == "identity"

    @pytest.mark.parametrize("encoding", ["identity", "Identity", ""])
    async def test_of_no_encoding_passes(self, gateway: Gateway, encoding: str) -> None:
        headers = JSON | {"Content-Encoding": encoding}
        answer = await gateway.http.post("/auth/token", content=b'{"state": "x"}', headers=headers)
        assert answer.json()["code"] == "invalid_hand_off"
