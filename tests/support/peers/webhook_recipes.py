"""The receivers of docs/webhooks.md as processes, and deliveries to them."""

import asyncio
import os
import shutil
import sqlite3
import sys
from abc import ABC, abstractmethod
from asyncio.subprocess import DEVNULL, create_subprocess_exec
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, override

import asyncpg
import httpx

from deploy.local.postgres import Database
from services.mail.webhooks.secrets import signed_headers
from tests.support.mail.waiting import eventually
from tests.support.peers.installation import FOLDER, ROOT
from tests.support.peers.skips import require

RECIPES = ROOT / "docs/webhooks"


class Store(ABC):
    """What a receiver has stored."""

    @abstractmethod
    async def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement; return its rows."""


@dataclass(frozen=True, slots=True)
class Sqlite(Store):
    """A store in a file."""

    file: Path

    @override
    async def query(self, statement: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.file)) as connection, connection:
            return connection.execute(statement).fetchall()


@dataclass(frozen=True, slots=True)
class Postgres(Store):
    """A store in a database of a server."""

    database: Database

    @override
    async def query(self, statement: str) -> list[tuple[Any, ...]]:
        connection = await asyncpg.connect(self.database.dsn)
        try:
            return [tuple(row) for row in await connection.fetch(statement)]
        finally:
            await connection.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A receiver to run: its command, variables of its own, and its store."""

    command: Sequence[str | Path]
    folder: Path
    environment: Mapping[str, str]
    port: int
    store: Store


def fastapi_recipe(folder: Path, *, port: int) -> Recipe:
    """Return the receiver with FastAPI, whose store is a file in the folder."""
    file = folder / "receiver.sqlite3"
    return Recipe(
        command=[sys.executable, "-m", "uvicorn", "receiver:app", "--port", str(port), "--app-dir", RECIPES],
        folder=folder,
        environment={"DATABASE": str(file), "PYTHONDONTWRITEBYTECODE": "1"},
        port=port,
        store=Sqlite(file),
    )


def express_recipe(folder: Path, *, port: int, database: Database) -> Recipe:
    """Return the receiver with Express, in a folder in which its packages are installed."""
    node = require(shutil.which("node"), "Node", source="debian")
    require(FOLDER / "node_modules/.installed", "Express", source="npm")
    shutil.copy(RECIPES / "receiver.mjs", folder)
    (folder / "node_modules").symlink_to(FOLDER / "node_modules")
    return Recipe(
        command=[node, "receiver.mjs"],
        folder=folder,
        environment={"DATABASE_URL": database.dsn, "PORT": str(port)},
        port=port,
        store=Postgres(database),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningReceiver:
    """A receiver at work, with a client of it."""

    http: httpx.AsyncClient
    store: Store
    secret: str

    async def deliver(
        self,
        event_id: str,
        body: bytes,
        *,
        secrets: Sequence[str] = (),
        age: timedelta = timedelta(0),
        sent: bytes = b"",
    ) -> int:
        """Deliver a body, or in its place `sent`, signed `age` ago, by default with the receiver's secret alone.

        Returns the status of the answer.
        """
        at = datetime.now(UTC) - age
        headers = signed_headers(event_id, body, at=at, secrets=secrets or [self.secret])
        return await self.post(sent or body, httpx.Headers(headers))

    async def post(self, body: bytes, headers: httpx.Headers) -> int:
        """Send a request; return the status of the answer."""
        typed = httpx.Headers([*headers.raw, (b"content-type", b"application/json")])
        answer = await self.http.post("/mailroom", content=body, headers=typed)
        return answer.status_code

    async def stored(self, event_id: str) -> int:
        """Return how often an event is stored."""
        [(number,)] = await self.store.query(f"SELECT count(*) FROM events WHERE id = '{event_id}'")  # noqa: S608
        return int(number)

    async def until_applied(self) -> None:
        """Wait until all stored events are applied."""
        await self.until_kept_back()

    async def until_kept_back(self, *event_ids: str) -> None:
        """Wait until all stored events but these are applied."""

        async def are_kept_back() -> bool:
            rows = await self.store.query("SELECT id FROM events WHERE NOT is_applied ORDER BY number")
            return rows == [(event_id,) for event_id in event_ids]

        await eventually(are_kept_back)


@asynccontextmanager
async def running(recipe: Recipe, *, secret: str, mailroom: str, api_key: str) -> AsyncIterator[RunningReceiver]:
    """Run a receiver until the block ends."""
    environment = {
        "PATH": os.environ["PATH"],
        "WEBHOOK_SECRET": secret,
        "MAILROOM": mailroom,
        "API_KEY": api_key,
        "RETRY_SECONDS": "0.1",
        **recipe.environment,
    }
    with (recipe.folder / "log").open("wb") as log:
        process = await create_subprocess_exec(
            *map(str, recipe.command), cwd=recipe.folder, env=environment, stdin=DEVNULL, stdout=log, stderr=log
        )
    # uvicorn closes the connection after an error: each request has its own.
    limits = httpx.Limits(max_keepalive_connections=0)
    url = f"http://127.0.0.1:{recipe.port}"
    try:
        async with httpx.AsyncClient(base_url=url, limits=limits, trust_env=False) as http:
            await _until_listening(http, process, log=recipe.folder / "log")
            yield RunningReceiver(http=http, store=recipe.store, secret=secret)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _until_listening(http: httpx.AsyncClient, process: asyncio.subprocess.Process, *, log: Path) -> None:
    async def listens() -> bool:
        assert process.returncode is None, f"the receiver has ended: {log}"
        try:
            await http.get("/")
        except httpx.ConnectError:
            return False
        return True

    await eventually(listens, within=60)
