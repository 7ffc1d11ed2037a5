"""Grants that outlive a restart of the sandbox."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from services.sandbox.app import open_sandbox
from services.sandbox.clock import Clock
from services.sandbox.google.oauth.grants_file import GrantsFile, KeptGrants
from services.sandbox.settings import Settings
from tests.support.sandbox.harness import ISSUER, SandboxClient
from tests.support.sandbox.key_ring import next_key


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "grants.json"


@asynccontextmanager
async def sandbox_with(file: Path) -> AsyncIterator[SandboxClient]:
    """A sandbox that keeps its grants in this file."""
    clock, settings = Clock(), Settings(sandbox_enabled=True, messages=0, grants_file=file)
    async with (
        open_sandbox(settings, clock=clock, new_key=next_key) as app,
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ISSUER) as http,
    ):
        yield SandboxClient(http, clock)


async def refreshed(sandbox: SandboxClient, refresh_token: str) -> int:
    answer = await sandbox.token(grant_type="refresh_token", refresh_token=refresh_token)
    return answer.status_code


class TestRestart:
    async def test_keeps_refresh_tokens_and_what_was_granted(self, file: Path) -> None:
        async with sandbox_with(file) as sandbox:
            token = (await sandbox.sign_in())["refresh_token"]
        async with sandbox_with(file) as sandbox:
            assert await refreshed(sandbox, token) == 200
            # A grant that is known needs no consent page.
            again = await sandbox.visit(prompt="none", login_hint="ada@example.com")
            assert again.status_code == 303, again.text

    async def test_keeps_a_revocation(self, file: Path) -> None:
        async with sandbox_with(file) as sandbox:
            token = (await sandbox.sign_in())["refresh_token"]
            assert (await sandbox.http.post("/revoke", data={"token": token})).status_code == 200
        async with sandbox_with(file) as sandbox:
            assert await refreshed(sandbox, token) == 400

    async def test_without_a_file_forgets(self, sandbox: SandboxClient, file: Path) -> None:
        token = (await sandbox.sign_in())["refresh_token"]
        async with sandbox_with(file) as other:
            assert await refreshed(other, token) == 400


class TestFile:
    def test_is_for_its_owner_alone(self, file: Path) -> None:
        GrantsFile(file).save(KeptGrants())
        assert file.stat().st_mode & 0o777 == 0o600

    def test_that_is_damaged_is_an_error(self, file: Path) -> None:
        file.write_text("{")
        with pytest.raises(ValueError, match="JSON"):
            GrantsFile(file).load()
