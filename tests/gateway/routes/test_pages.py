"""The landing page and the description of the API, with assets of their own."""

import re

import pytest

from services.gateway.pages import asset
from tests.gateway.conftest import Gateway, OpenGateway

PAGES = ("/", "/docs")


class TestPage:
    @pytest.mark.parametrize("path", PAGES)
    async def test_loads_from_its_own_origin_only(self, gateway: Gateway, path: str) -> None:
        answer = await gateway.http.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "frame-ancestors 'none'" in policy
        assert "http" not in answer.text
        assert "<script>" not in answer.text
        assert "style=" not in answer.text

    @pytest.mark.parametrize("path", PAGES)
    async def test_names_what_it_loads_relatively_so_that_a_path_prefix_is_kept(
        self, gateway: Gateway, path: str
    ) -> None:
        urls = re.findall(r'(?:href|src)="([^"]+)"', (await gateway.http.get(path)).text)
        assert [url for url in urls if url.startswith("/")] == []
        for url in set(urls) - {"data:,"}:
            assert (await gateway.http.get(f"/{url}")).status_code == 200, url

    async def test_is_the_same_for_head(self, gateway: Gateway) -> None:
        answer = await gateway.http.head("/")
        assert (answer.status_code, answer.content) == (200, b"")


class TestAsset:
    @pytest.mark.parametrize(
        ("name", "media_type"),
        [("swagger-ui-bundle.js", "text/javascript"), ("swagger-ui.css", "text/css"), ("landing.css", "text/css")],
    )
    async def test_is_kept_by_browsers(self, gateway: Gateway, name: str, media_type: str) -> None:
        answer = await gateway.http.get(f"/assets/{name}")
        assert answer.headers["content-type"].startswith(media_type)
        assert answer.headers["cache-control"] == "public, max-age=3600"
        found = asset(name)
        assert found is not None
        assert answer.content == found.content

    @pytest.mark.parametrize("name", ["none.js", "__init__.py", "..%2F__init__.py", "landing.html"])
    async def test_is_one_of_a_list(self, gateway: Gateway, name: str) -> None:
        assert (await gateway.http.get(f"/assets/{name}")).status_code == 404


class TestDescriptionTurnedOff:
    @pytest.mark.parametrize("path", ["/docs", "/openapi.json"])
    async def test_does_not_exist(self, open_gateway: OpenGateway, path: str) -> None:
        async with open_gateway(has_docs=False) as gateway:
            assert (await gateway.http.get(path)).status_code == 404
            assert (await gateway.http.options(path)).status_code == 404
            landing = (await gateway.http.get("/")).text
            assert 'href="readyz"' in landing
            assert f'href="{path[1:]}"' not in landing

    async def test_is_there_by_default(self, gateway: Gateway) -> None:
        assert (await gateway.http.get("/openapi.json")).json()["info"]["title"] == "Mailroom"
        assert 'href="docs"' in (await gateway.http.get("/")).text
