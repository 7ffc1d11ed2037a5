"""Connections that wait between sessions: the server announces changes of the inbox over them (IDLE, RFC 2177)."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import structlog

from services.mail.providers.imap.client.connection import Connection
from services.mail.providers.imap.client.errors import ImapError
from services.mail.providers.imap.client.folders import INBOX, FolderStatus, examine
from services.mail.providers.imap.client.idle import idle, some_seconds

# Seconds of a connection after which its loss is no sign of a server that refuses to keep any.
_STABLE: Final = 60.0
# Seconds, at most, after which a lost connection is opened again, so that many are not opened at once.
_LONGEST_PAUSE: Final = 5.0

log = structlog.get_logger()

# Returns whether the inbox is as the last pass has left it.
type IsKnown = Callable[[FolderStatus], Awaitable[bool]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcer:
    """What idling needs besides a connection: to tell the schedule of news, and chance."""

    announce: Callable[[int], Awaitable[None]]
    generator: random.Random


async def wait_for_news(
    mailbox_id: int, connection: Connection, *, is_known: IsKnown, announcer: Announcer, stop: asyncio.Event
) -> None:
    """Announce news of the inbox until `stop` or the loss of the connection, which is announced, too.

    The first look at the inbox finds what came after the last pass had looked at it.
    """
    began = time.monotonic()
    try:
        status = (await examine(connection, INBOX)).status
        if not await is_known(status):
            await announcer.announce(mailbox_id)
        while not stop.is_set():
            has_news = await idle(connection, seconds=some_seconds(announcer.generator), stop=stop)
            if stop.is_set():
                return
            before, status = status, (await examine(connection, INBOX)).status
            if has_news or status != before:
                await announcer.announce(mailbox_id)
    except ImapError as error:
        log.info("a mailbox idles no more", mailbox_id=mailbox_id, error=type(error).__name__)
        if stop.is_set() or time.monotonic() - began < _STABLE:
            return
        await asyncio.sleep(announcer.generator.uniform(0, _LONGEST_PAUSE))
        await announcer.announce(mailbox_id)
