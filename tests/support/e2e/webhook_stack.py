"""Postgres and deliverers as real processes, and feeds that a program fills in place of workers."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from pydantic import SecretStr

from deploy.local.ports import Ports
from services.kit.settings import Postgres
from services.kit.stores.postgres import create_pool
from services.mail.webhooks.endpoints import Webhooks
from services.mail.webhooks.secrets import EndpointSecrets, webhook_cipher
from tests.support.e2e.running_stack import RunningStack, running_stack
from tests.support.mail.filled_feeds import FilledFeeds


@contextmanager
def webhook_stack(home: Path, *, deliverers: int, **chosen: str) -> Iterator[tuple[RunningStack, list[str]]]:
    """Run so many deliverers with a Postgres of their own; yield the stack and their names."""
    ports = Ports()
    with running_stack(home, more_workers=0, own_servers=True, order=["deliverer"], **chosen) as stack:
        names = ["deliverer"]
        for number in range(2, 1 + deliverers):
            names.append(stack.add_twin("deliverer", number=number, DELIVERER_ADMIN_PORT=ports.free()))
            stack.start(names[-1])
        yield stack, names
    ports.release()


@asynccontextmanager
async def filled_feeds(stack: RunningStack, *, connections: int = 8) -> AsyncIterator[FilledFeeds]:
    """Yield the feeds of a stack without mailboxes."""
    variables = stack.variables
    database = Postgres(
        host=variables["POSTGRES_HOST"],
        port=int(variables["POSTGRES_PORT"]),
        user=variables["POSTGRES_USER"],
        password=SecretStr(variables["POSTGRES_PASSWORD"]),
        database=f"{variables['POSTGRES_DB']}_mail",
    )
    secrets = EndpointSecrets(webhook_cipher(variables["MAIL_SECRET_KEY"], previous=None))
    pool = await create_pool(database, application_name="feeds", size=connections)
    try:
        yield FilledFeeds(pool=pool, webhooks=Webhooks(pool, secrets=secrets, allow_http=True, most=20))
    finally:
        await pool.close()
