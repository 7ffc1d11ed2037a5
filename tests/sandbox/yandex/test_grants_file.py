"""Consents and tokens of Yandex ID that outlive a restart of the sandbox."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from services.sandbox.app import open_sandbox
from services.sandbox.settings import Settings
from tests.support.sandbox.harness import ISSUER
from tests.support.sandbox.key_ring import next_key
from tests.support.sandbox.yandex_client import YandexClient


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "grants.json"


@asynccontextmanager
async def sandbox_with(file: Path) -> AsyncIterator[YandexClient]:
    """A sandbox that keeps its grants beside this file."""
    settings = Settings(sandbox_enabled=True, messages=0, grants_file=file)
    async with (
        open_sandbox(settings, new_key=next_key) as app,
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ISSUER) as http,
    ):
        yield YandexClient(http)


class TestRestart:
    async def test_keeps_tokens_and_consents(self, file: Path) -> None:
        async with sandbox_with(file) as yandex:
            tokens = (await yandex.exchange(await yandex.code())).json()
        async with sandbox_with(file) as yandex:
            assert (await yandex.info(tokens["access_token"])).status_code == 200
            again = await yandex.refresh(tokens["refresh_token"])
            # The consent is known: no page asks for it again.
            assert (await yandex.authorize({"account": "ada@example.com"})).status_code == 303
        async with sandbox_with(file) as yandex:
            assert (await yandex.refresh(tokens["refresh_token"])).status_code == 400
            assert (await yandex.refresh(again.json()["refresh_token"])).status_code == 200

    async def test_keeps_a_revocation(self, file: Path) -> None:
        async with sandbox_with(file) as yandex:
            tokens = (await yandex.exchange(await yandex.code())).json()
            assert (await yandex.revoke(tokens["access_token"])).status_code == 200
        async with sandbox_with(file) as yandex:
            assert (await yandex.info(tokens["access_token"])).status_code == 401

    async def test_leaves_the_file_to_its_owner(self, file: Path) -> None:
        async with sandbox_with(file) as yandex:
            await yandex.exchange(await yandex.code())
        [kept] = file.parent.glob("grants-yandex.json")
        assert kept.stat().st_mode & 0o777 == 0o600
