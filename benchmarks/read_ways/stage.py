"""A stack that is kept between runs, and people who own its loaded mailboxes."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import asyncpg
import httpx

from benchmarks.read_ways.load import Load, fill
from deploy.local.postgres import Database, PostgresAddress
from tests.support.e2e.people import Person, Provider
from tests.support.e2e.running_stack import RunningStack, running_stack

# Of ten messages, this many are in the first and in the second mailbox; the others share the rest evenly.
_LARGE_SHARE, _MIDDLE_SHARE = 0.1, 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A running stack; the first person has the large mailbox, the second one a tenth of it."""

    stack: RunningStack
    people: Sequence[Person]

    @property
    def dsn(self) -> str:
        """The mail database, as its administrator."""
        return dsn_of(self.stack)

    def renew_tokens(self) -> None:
        """Sign in every person again: access tokens live for 15 minutes, and loading takes longer."""
        for person in self.people:
            person.token = Person.sign_in(person.http, person.email).token

    @property
    def pids(self) -> dict[str, int]:
        """The stack's processes; a server's children count with it."""
        servers = {name: server.pid for name, server in self.stack.servers.items() if server.pid is not None}
        return {name: self.stack.pid(name) for name in ("gateway", "auth", "mail", "worker", "sandbox")} | servers


@contextmanager
def open_stage(home: Path, *, messages: int, mailboxes: int) -> Iterator[Stage]:
    """Start the stack of `home`, sign people in and load missing mail."""
    with (
        running_stack(home, own_servers=True, SANDBOX_USERS="", LOG_LEVEL="WARNING") as stack,
        closing(Provider(stack.sandbox_url)) as control,
        httpx.Client(base_url=stack.gateway_url, trust_env=False, timeout=90) as http,
    ):
        people = [Person.sign_in(http, _address(control, number)) for number in range(mailboxes)]
        mailbox_ids = asyncio.run(_hand_over(dsn_of(stack), people))
        sizes = _sizes(messages, mailboxes)
        loads = [
            Load(number=number, mailbox_id=mailbox_id, email=person.email, messages=size)
            for number, (mailbox_id, person, size) in enumerate(zip(mailbox_ids, people, sizes, strict=True), 1)
        ]
        # Large ones first, so that all loaders end at about the same time.
        asyncio.run(fill(dsn_of(stack), loads))
        yield Stage(stack=stack, people=people)


def dsn_of(stack: RunningStack) -> str:
    """Return the address of the mail database, as its administrator."""
    of = stack.variables
    server = PostgresAddress(
        host=of["POSTGRES_HOST"],
        port=int(of["POSTGRES_PORT"]),
        user=of["POSTGRES_USER"],
        password=of["POSTGRES_PASSWORD"],
    )
    return Database(server=server, name=f"{of['POSTGRES_DB']}_mail").dsn


def _address(control: Provider, number: int) -> str:
    return control.new_user(email=f"reader-{number}@example.com")


def _sizes(messages: int, mailboxes: int) -> list[int]:
    large, middle = round(messages * _LARGE_SHARE), round(messages * _MIDDLE_SHARE)
    rest = (messages - large - middle) // (mailboxes - 2)
    return [large, middle, *[rest] * (mailboxes - 2)]


async def _hand_over(dsn: str, people: Sequence[Person]) -> list[int]:
    """Assign each person the mailbox of their address, under their current account. Returns the mailboxes' ids.

    The sandbox forgets its users, so a later run meets new accounts with the same addresses.
    """
    connection = await asyncpg.connect(dsn)
    try:
        return [await _hand_one_over(connection, person) for person in people]
    finally:
        await connection.close()


async def _hand_one_over(connection: "asyncpg.Connection[asyncpg.Record]", person: Person) -> int:
    me = person.get("/auth/me").json()
    [account] = me["accounts"]
    found: int | None = await connection.fetchval(
        "UPDATE mailboxes SET user_id = $2, account_id = $3 WHERE email = $1 RETURNING mailbox_id",
        *(person.email, UUID(me["user_id"]), UUID(account["account_id"])),
    )
    if found is None:
        person.address()
        found = await connection.fetchval("SELECT mailbox_id FROM mailboxes WHERE email = $1", person.email)
    assert found is not None
    return found
