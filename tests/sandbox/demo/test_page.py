"""The demo page as a browser receives it."""

import re

import httpx

from services.sandbox.app import open_sandbox
from services.sandbox.settings import Settings
from tests.support.sandbox.harness import SandboxClient
from tests.support.sandbox.key_ring import next_key


class TestDemo:
    async def test_the_root_path_redirects_to_it(self, sandbox: SandboxClient) -> None:
        answer = await sandbox.http.get("/")
        assert (answer.status_code, answer.headers["location"]) == (302, "/demo")

    async def test_only_its_own_script_runs_and_only_the_gateway_is_called(self, sandbox: SandboxClient) -> None:
        page = await sandbox.http.get("/demo")
        policy = page.headers["content-security-policy"]
        [nonce] = re.findall('<script nonce="([^"]+)">', page.text)
        assert f"script-src 'nonce-{nonce}'" in policy
        assert "connect-src 'self' http://localhost:8000;" in policy
        assert "default-src 'none'" in policy
        assert nonce not in (await sandbox.http.get("/demo")).text

    async def test_it_loads_nothing_from_other_origins(self, sandbox: SandboxClient) -> None:
        page = (await sandbox.http.get("/demo")).text
        assert re.findall(r'(?:src|href)="(?!data:)[^"]*"', page) == []
        assert "{{" not in page

    async def test_mail_is_shown_in_a_frame_that_may_do_nothing(self, sandbox: SandboxClient) -> None:
        page = (await sandbox.http.get("/demo")).text
        [frame] = re.findall("<iframe[^>]*>", page)
        assert 'sandbox=""' in frame
        assert "innerHTML" not in page

    async def test_it_knows_where_the_gateway_is(self) -> None:
        settings = Settings(sandbox_enabled=True, messages=0, gateway_url="https://mail.example/api", port=8123)
        async with (
            open_sandbox(settings, new_key=next_key) as app,
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost:8123") as http,
        ):
            page = await http.get("/demo")
        assert 'data-api="https://mail.example/api" data-home="http://localhost:8123"' in page.text
        assert "connect-src 'self' https://mail.example;" in page.headers["content-security-policy"]
