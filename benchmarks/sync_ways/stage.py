"""A running stack without quota, people whose mail is copied, and checks of the copied rows."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import asyncpg
import httpx

from benchmarks.process_cpu import children, command, cpu_seconds, thread_seconds
from benchmarks.sync_ways.mailbox import Task, finish_index
from deploy.local import placement
from deploy.local.postgres import Database, EmbeddedPostgres
from services.sandbox.settings import DEV_CLIENT_ID, DEV_CLIENT_SECRET
from tests.support.e2e.modern_server import modern_server
from tests.support.e2e.people import Person, Provider
from tests.support.e2e.running_stack import RunningStack, running_stack

# Roles of connections. The benchmark asks often how a sync is going.
_OF_REQUESTS = "mailroom_mail_service"
_OF_WORKERS = "mailroom_mail_worker"
_REDIRECT = "http://localhost/callback"
_SCOPE = "https://www.googleapis.com/auth/gmail.readonly"
_STORED = """
    SELECT count(*) FROM mailboxes b JOIN messages USING (mailbox_id)
    JOIN message_contents USING (mailbox_id, message_id) JOIN message_search USING (mailbox_id, message_id)
    WHERE b.email = $1
"""
# Ignores white space. A message without text of its own compares equal: Mailroom derives its text from HTML.
_ALIKE = r"""
    SELECT count(*), avg((
        regexp_replace(concat_ws('/', n.subject, coalesce(n.text, c.text), n.html), '\s+', '', 'g')
        = regexp_replace(concat_ws('/', m.subject, c.text, c.html), '\s+', '', 'g')
    )::int)
    FROM mailboxes b JOIN naive_messages n USING (mailbox_id) JOIN messages m USING (mailbox_id, external_id)
    JOIN message_contents c ON (c.mailbox_id, c.message_id) = (m.mailbox_id, m.message_id) WHERE b.email = $1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A running stack, its databases and CPU times."""

    stack: RunningStack
    control: Provider
    http: httpx.Client

    @property
    def dsn(self) -> str:
        """The mail database, as its administrator."""
        server = self.stack.servers["postgres"]
        assert isinstance(server, EmbeddedPostgres)
        return Database(server=server.address, name=f"{self.stack.variables['POSTGRES_DB']}_mail").dsn

    @property
    def postgres_pid(self) -> int:
        """The server's process."""
        pid = self.stack.servers["postgres"].pid
        assert pid is not None
        return pid

    def cpu(self, *services: str) -> float:
        """Return the CPU seconds so far of these services together."""
        return sum(cpu_seconds(self.stack.pid(service)) for service in services)

    def postgres_cpu(self) -> float:
        """Return the CPU seconds so far of Postgres's processes, without those that serve requests of users."""
        asking = [child for child in children(self.postgres_pid) if _OF_REQUESTS in command(child)]
        return cpu_seconds(self.postgres_pid) - sum(map(cpu_seconds, asking))

    def worker_connections_cpu(self) -> float:
        """Return the CPU seconds so far of the worker's connections to Postgres; they last longer than a sync."""
        own = [child for child in children(self.postgres_pid) if _OF_WORKERS in command(child)]
        return sum(map(thread_seconds, own))

    def at_rest(self, seconds: float = 5) -> float:
        """Return the CPU of a worker and of Postgres per second without work: claims, idle checks, heartbeats."""
        began, cpu = time.perf_counter(), self.cpu("worker") + self.postgres_cpu()
        time.sleep(seconds)
        return (self.cpu("worker") + self.postgres_cpu() - cpu) / (time.perf_counter() - began)

    def person(self, *, messages: int, seed: int, provider: str = "google") -> Person:
        """Create a person with a mailbox that Mailroom knows and has not copied."""
        email = self.control.new_user(messages=messages, seed=seed)
        person = Person.sign_in(self.http, email, provider=provider)
        person.address()
        return person

    def task(self, person: Person) -> Task:
        """Return the person's mailbox for an alternative."""
        return Task(
            gmail_url=self.stack.sandbox_url.replace("localhost", "127.0.0.1"),
            token=_token(self.stack.sandbox_url, person.email),
            dsn=self.dsn,
            mailbox_id=self._row("SELECT mailbox_id FROM mailboxes WHERE email = $1", person.email)[0],
            postgres_pid=self.postgres_pid,
        )

    def finish_index(self) -> None:
        """Merge pending search terms into the index, so that no alternative leaves them to the next one."""
        asyncio.run(self._finish_index())

    async def _finish_index(self) -> None:
        connection = await asyncpg.connect(self.dsn)
        try:
            await finish_index(connection, "ix_message_search_vector")
        finally:
            await connection.close()

    def assert_stored(self, person: Person, messages: int) -> None:
        """End the benchmark unless all messages are stored with contents and search terms."""
        [found] = self._row(_STORED, person.email)
        if found != messages:
            raise SystemExit(f"{found} of {messages} messages were stored")

    def alike(self, person: Person, messages: int) -> float:
        """Return the share of a naive alternative's messages whose subject, text and HTML equal Mailroom's."""
        found, share = self._row(_ALIKE, person.email)
        if found != messages:
            raise SystemExit(f"{found} of {messages} messages were stored twice")
        return float(share)

    def _row(self, query: str, email: str) -> Any:
        async def fetch() -> asyncpg.Record | None:
            connection = await asyncpg.connect(self.dsn)
            try:
                return await connection.fetchrow(query, email)
            finally:
                await connection.close()

        return asyncio.run(fetch())


@contextmanager
def open_stage(*, more_workers: int) -> Iterator[Stage]:
    """Open a separate stack with additional workers, all of them running."""
    home = Path(tempfile.mkdtemp(prefix="mailroom-bench-"))
    unlimited = {"SANDBOX_QUOTA_WINDOW": "0.05", "GMAIL_QUOTA_WINDOW": "0.05"}
    try:
        with (
            modern_server(home) as modern,
            running_stack(
                home,
                more_workers=more_workers,
                own_servers=True,
                SANDBOX_USERS="",
                LOG_LEVEL="WARNING",
                **unlimited,
                **modern,
            ) as stack,
            closing(Provider(stack.sandbox_url)) as control,
            httpx.Client(base_url=stack.gateway_url, trust_env=False, timeout=90) as http,
        ):
            yield Stage(stack=stack, control=control, http=http)
    finally:
        placement.remove(home)
        shutil.rmtree(home, ignore_errors=True)


def _token(sandbox_url: str, email: str) -> str:
    query = {"client_id": DEV_CLIENT_ID, "redirect_uri": _REDIRECT, "response_type": "code", "scope": _SCOPE}
    with httpx.Client(base_url=sandbox_url, trust_env=False) as http:
        page = http.post(f"/o/oauth2/v2/auth?{urlencode(query)}", data={"account": email, "decision": "allow"})
        exchange = {
            "grant_type": "authorization_code",
            "code": parse_qs(urlsplit(page.headers["location"]).query)["code"][0],
            "redirect_uri": _REDIRECT,
            "client_id": DEV_CLIENT_ID,
            "client_secret": DEV_CLIENT_SECRET,
        }
        return str(http.post("/token", data=exchange).raise_for_status().json()["access_token"])
