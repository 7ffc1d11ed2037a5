"""IDLE (RFC 2177): the server announces changes of the selected folder while the client waits."""

import asyncio
import random
from typing import Final

from services.mail.providers.imap.client.commands import command
from services.mail.providers.imap.client.connection import Connection, SelectedFolder, refusal
from services.mail.providers.imap.client.errors import FramingError, SilenceError
from services.mail.providers.imap.client.responses import Continuation, Status

# Seconds of one IDLE: middleboxes forget connections after some minutes, and servers end them after half an hour.
SHORTEST: Final = 9 * 60.0
LONGEST: Final = 14 * 60.0


def some_seconds(generator: random.Random) -> float:
    """Return how long to idle; a random time keeps many mailboxes from renewing at once."""
    return generator.uniform(SHORTEST, LONGEST)


async def idle(connection: Connection, *, seconds: float, stop: asyncio.Event, heard: int = 0) -> int:
    """Wait for more news of the selected folder than were `heard`, up to `seconds` or until `stop`; return the count.

    News since the folder was selected count: what is announced before the server idles is not announced again. They
    are a signal to look, no more. Raises RefusedError, ConnectionLostError: a server that does not end IDLE in time is
    gone, whatever TCP says.
    """
    selected = connection.selected
    if selected is None:
        raise ValueError("no folder is selected")
    with connection.exchange():
        [tag] = await connection.send_all([command("IDLE")])
        status = await _until_idling(connection, tag)
        if status is None:
            status = await _until_done(connection, tag, selected, seconds=seconds, stop=stop, heard=heard)
    if status.kind != "OK":
        raise refusal("IDLE", status)
    return selected.news


async def _until_idling(connection: Connection, tag: bytes) -> Status | None:
    """Return None once the server idles, or its status if it refuses to."""
    while True:
        match await connection.receive():
            case Continuation():
                return None
            case Status(tag=ended, kind=kind) as status if ended == tag:
                if kind == "OK":
                    raise FramingError("IDLE ended by itself")
                return status


async def _until_done(
    connection: Connection, tag: bytes, selected: SelectedFolder, *, seconds: float, stop: asyncio.Event, heard: int
) -> Status:
    """Take responses until IDLE has ended. All of them are taken here, so none is cut by the end."""
    longest = seconds + connection.patience.done
    news = asyncio.Event()
    try:
        async with asyncio.timeout(longest) as deadline:
            ending = asyncio.create_task(_end(connection, deadline, seconds=seconds, news=news, stop=stop))
            try:
                return await _take_all(connection, tag, selected, seconds=longest, news=news, heard=heard)
            finally:
                ending.cancel()
                # A failure to send ends the connection, and so the loop above.
                await asyncio.gather(ending, return_exceptions=True)
    except TimeoutError as error:
        raise SilenceError("IDLE does not end") from error


async def _take_all(
    connection: Connection, tag: bytes, selected: SelectedFolder, *, seconds: float, news: asyncio.Event, heard: int
) -> Status:
    while True:
        if selected.news > heard:
            news.set()
        match await connection.receive(seconds=seconds):
            case Status(tag=ended) as status if ended == tag:
                return status


async def _end(
    connection: Connection, deadline: asyncio.Timeout, *, seconds: float, news: asyncio.Event, stop: asyncio.Event
) -> None:
    """Send DONE once there are news, `stop` is set, or the time is over; the server has to answer by a new deadline."""
    waits = [asyncio.create_task(event.wait()) for event in (news, stop)]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    deadline.reschedule(asyncio.get_running_loop().time() + connection.patience.done)
    await connection.send(b"DONE")
