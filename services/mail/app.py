"""The mail service, put together."""

import asyncio
import time
from contextlib import AsyncExitStack

import structlog

from services.kit.admin import admin_app
from services.kit.egress import Egress, create_http_client
from services.kit.http_server import serve_http
from services.kit.key_set import KeySet
from services.kit.postgres import create_pool
from services.kit.rpc_client import open_channel
from services.kit.rpc_server import serve_rpc
from services.mail import auth_client
from services.mail.auth_client import AuthClient
from services.mail.changes import Changes
from services.mail.mailboxes import Mailboxes
from services.mail.messages import Messages
from services.mail.providers.base import ProviderUnavailableError
from services.mail.push import Push
from services.mail.rpc import registrations
from services.mail.settings import MailSettings
from services.mail.store.connection import DATABASE_LOST, is_reachable
from services.mail.syncs import Syncs

log = structlog.get_logger()


async def serve(settings: MailSettings, stop: asyncio.Event) -> None:
    """Serves mail's RPCs until `stop` is set."""
    async with AsyncExitStack() as stack:
        pool = await create_pool(settings.database, application_name="mail", size=settings.mail_postgres_pool)
        stack.push_async_callback(pool.close)
        channel = await stack.enter_async_context(
            open_channel(settings.auth_address, idempotent=auth_client.IDEMPOTENT)
        )
        mailboxes = Mailboxes(pool, AuthClient(channel))
        egress = Egress(await stack.enter_async_context(create_http_client()), unavailable=ProviderUnavailableError)
        keys = KeySet(url=settings.google_jwks_url, egress=egress, monotonic=time.monotonic)
        quota = settings.quota
        services = registrations(
            mailboxes=mailboxes,
            messages=Messages(pool),
            changes=Changes(pool),
            syncs=Syncs(pool, mailboxes),
            push=Push(pool, keys=keys, sender=settings.push_sender),
            units_per_second=quota.mailbox_limit / quota.window,
            units_per_message=quota.costs.get,
        )
        port = await stack.enter_async_context(
            serve_rpc(host=settings.mail_host, port=settings.mail_port, register=services, passing=DATABASE_LOST)
        )
        admin = admin_app(ready=lambda: is_reachable(pool))
        await stack.enter_async_context(serve_http(admin, host=settings.mail_admin_host, port=settings.mail_admin_port))
        log.info("mail is serving", port=port)
        await stop.wait()
