"""Contents of messages over IMAP: small ones whole and several at once, large ones without their attachments."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import structlog

from services.mail.content.limits import LARGE_BYTES
from services.mail.content.model import ParsedMessage
from services.mail.content.parse import build_message, parse_raw
from services.mail.providers.base import Write
from services.mail.providers.errors import (
    LimitError,
    MessageGoneError,
    OwnLimitError,
    PostponedError,
    ProviderError,
    ProviderUnavailableError,
    UnreadableMessageError,
)
from services.mail.providers.folder_history.port import Folder
from services.mail.providers.imap.client.connection import Connection
from services.mail.providers.imap.client.errors import MalformedResponseError, RefusedError
from services.mail.providers.imap.client.folders import examine
from services.mail.providers.imap.client.messages import copy_body, fetch_bodies, search
from services.mail.providers.imap.client.parts import fetch_sections, fetch_structure
from services.mail.providers.imap.client.uids import HIGHEST_UID, UidRange, sets_of
from services.mail.providers.imap.content.skeleton import sections_of, tree_of
from services.mail.providers.imap.content.structure import structure_of
from services.mail.providers.imap.look_plan import FolderState, key_of
from services.mail.providers.imap.refusals import is_rejection
from services.mail.providers.imap.session import ImapSession

WHOLE_UP_TO: Final = 1024 * 1024
"""Bytes of a message that is fetched whole."""
_BATCH_BYTES: Final = 8 * 1024 * 1024
_BATCH_MESSAGES: Final = 50

log = structlog.get_logger()

type Contents = Mapping[str, ParsedMessage | ProviderError]
# Raises OwnLimitError where a lost connection would cost a sign-in that other messages need.
type EnsureSpare = Callable[[], Awaitable[None]]


async def _spare() -> None:
    """Let any message cost a connection."""


class ImapContents:
    """The contents of a mailbox's messages. Methods raise ProviderError.

    They take the folder's state after its last look: under another numbering a key would be another message.
    """

    def __init__(
        self, session: ImapSession, *, whole_up_to: int = WHOLE_UP_TO, ensure_spare: EnsureSpare = _spare
    ) -> None:
        self._session = session
        self._whole_up_to = whole_up_to
        self._ensure_spare = ensure_spare

    async def fetch(self, folder: Folder, sizes: Mapping[str, int], *, state: str, singly: bool = False) -> Contents:
        """Return the contents of messages by key, with an error for each that has none. `sizes` are those by key.

        If `singly`, or once they end the connection together, messages are fetched one by one: then each of them costs
        one of the few sign-ins. Some of these are left for other messages: PostponedError stands for the rest. A limit
        is the error of those that it keeps from being fetched, so that the others are not in vain.
        """
        found: dict[str, ParsedMessage | ProviderError] = {}
        doubted, whole = set(sizes) if singly else set[str](), set[str]()
        waiting = deque([key] for key in sizes) if singly else deque(_batches(sizes, self._whole_up_to))
        try:
            while waiting:
                keys = waiting.popleft()
                if doubted.issuperset(keys) and (postponed := await self._lacks_spare()) is not None:
                    found |= dict.fromkeys(keys, postponed)
                    continue
                # A server that cannot be reached is no fault of these messages.
                await self._session.ensure_open()
                try:
                    is_large = len(keys) == 1 and sizes[keys[0]] > self._whole_up_to and keys[0] not in whole
                    found |= await self._fetch_batch(folder, keys, state, is_large=is_large)
                except (ProviderUnavailableError, UnreadableMessageError) as error:
                    doubted.update(keys)
                    if is_large:
                        # The description can be what ends the connection, and not the message.
                        whole.update(keys)
                    elif len(keys) == 1:
                        found[keys[0]] = error
                        continue
                    waiting.extendleft([key] for key in reversed(keys))
        except LimitError as limit:
            return dict.fromkeys(sizes, limit) | found
        return found

    async def _lacks_spare(self) -> PostponedError | None:
        try:
            await self._ensure_spare()
        except OwnLimitError as limit:
            return PostponedError(limit.detail, retry_after=limit.retry_after)
        return None

    async def _fetch_batch(self, folder: Folder, keys: Sequence[str], state: str, *, is_large: bool) -> Contents:
        async with self._session.connection() as connection:
            await _select(connection, folder, state)
            if is_large:
                return {keys[0]: await _fetch_large(connection, int(keys[0]))}
            return await _fetch_whole(connection, keys)

    async def copy_raw(self, folder: Folder, key: str, write: Write, *, state: str) -> None:
        """Write the RFC 5322 bytes of a message as they come. Raises MessageGoneError."""
        async with self._session.connection() as connection:
            await _select(connection, folder, state)
            if not await copy_body(connection, int(key), write):
                raise await _reason(connection, int(key))


def _batches(sizes: Mapping[str, int], whole_up_to: int) -> list[list[str]]:
    """Return the messages of each command: small ones together, then large ones, each alone."""
    batches: list[list[str]] = []
    room = count = 0
    for key, size in sizes.items():
        if size > whole_up_to:
            continue
        if size > room or not count:
            batches.append([])
            room, count = _BATCH_BYTES, _BATCH_MESSAGES
        batches[-1].append(key)
        room, count = room - size, count - 1
    return [*batches, *([key] for key, size in sizes.items() if size > whole_up_to)]


async def _select(connection: Connection, folder: Folder, state: str) -> None:
    """Select a folder in the numbering of a state, which cannot change while it is selected."""
    name, selected = folder.path.encode("latin-1"), connection.selected
    if selected is not None and selected.name == name:
        validity = selected.validity
    else:
        validity = (await examine(connection, name)).status.uid_validity
    if (validity or 0) != FolderState.of(state).validity:
        raise ProviderUnavailableError("the folder is numbered anew, and has to be looked at first")


async def _fetch_whole(connection: Connection, keys: Sequence[str]) -> Contents:
    found: dict[int, bytes] = {}
    for uids in sets_of(map(int, keys)):
        found |= await _bodies(connection, uids)
    contents: dict[str, ParsedMessage | ProviderError] = {}
    for key in keys:
        body = found.get(int(key))
        contents[key] = await _parsed(body) if body else await _fetch_again(connection, int(key))
    return contents


async def _bodies(connection: Connection, uids: str) -> dict[int, bytes]:
    """Return the bytes of messages, of none where the server refuses them: it may refuse all because of one."""
    try:
        return await fetch_bodies(connection, uids)
    except RefusedError as error:
        if not is_rejection(error):
            raise
        log.info("a mail server refuses messages", error=str(error))
        return {}


async def _parsed(body: bytes) -> ParsedMessage:
    return await asyncio.to_thread(parse_raw, body) if len(body) > LARGE_BYTES else parse_raw(body)


async def _fetch_again(connection: Connection, uid: int) -> ParsedMessage | ProviderError:
    """Fetch a message alone, after an answer that has left it out."""
    body = (await _bodies(connection, str(uid))).get(uid)
    return await _parsed(body) if body else await _reason(connection, uid)


async def _reason(connection: Connection, uid: int) -> ProviderError:
    """Return why a message has no bytes: its absence in a fetch proves nothing, but a search does."""
    there = await search(connection, UidRange(1, HIGHEST_UID), among=str(uid))
    return UnreadableMessageError("the server gives no bytes") if there else MessageGoneError(key_of(uid))


async def _fetch_large(connection: Connection, uid: int) -> ParsedMessage | ProviderError:
    """Fetch a message without its attachments, or whole where the server does not describe it rightly."""
    try:
        structure = structure_of(await fetch_structure(connection, uid))
        tree = tree_of(structure, await fetch_sections(connection, uid, sections_of(structure)))
    except MalformedResponseError:
        tree = None
    except RefusedError as error:
        if not is_rejection(error):
            raise
        tree = None
    return await _fetch_again(connection, uid) if tree is None else build_message(tree)
