"""The history of a mailbox: passes over its folders, in steps that can be cut and repeated anywhere.

A step asks the provider, and then writes what it learnt with the place where to go on. A pass looks at every folder,
and then decides which messages are deleted: those that were in no folder before it began, and still are in none.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final

import structlog

from services.mail.providers.errors import ProviderUnavailableError, RejectedError
from services.mail.providers.folder_history import listing, look, settle
from services.mail.providers.folder_history.listing import ListingPage
from services.mail.providers.folder_history.model import KnownFolder, Phase, Record
from services.mail.providers.folder_history.pass_context import HistoryLimits, PassContext
from services.mail.providers.folder_history.port import Folder, FolderListing, LookedAt, MailFolders
from services.mail.store.connection import Connection
from services.mail.store.folder_history import folders, locations, passes

_LIMITS: Final = HistoryLimits()
# Pairs of a folder that is missing and a new one that are compared: a renamed folder can have hundreds within it.
_MOST_PAIRS: Final = 400
# Messages whose equality proves that a folder was renamed.
_SAMPLE: Final = 10

log = structlog.get_logger()


class FolderHistory:
    """The history of one mailbox. Methods raise ProviderError, and what `writing` raises when the mailbox is lost."""

    def __init__(
        self,
        mailbox_id: int,
        *,
        folders: MailFolders,
        reading: Callable[[], AbstractAsyncContextManager[Connection]],
        writing: Callable[[], AbstractAsyncContextManager[Connection]],
        limits: HistoryLimits = _LIMITS,
    ) -> None:
        self._mailbox_id = mailbox_id
        self._folders = folders
        self._reading = reading
        self._writing = writing
        self._limits = limits

    async def step(self) -> bool:
        """Do the next step of the pass, or begin one; return whether it has ended."""
        context = await self._context()
        match context.state.phase:
            case Phase.IDLE:
                await _begin(context)
                return False
            case Phase.LOOK:
                await look.step(context)
                return False
            case Phase.SETTLE:
                return await settle.step(context)

    async def records(self, after: int, *, limit: int) -> Sequence[Record]:
        """Return up to `limit` records after this one, in order."""
        async with self._reading() as connection:
            return await passes.after(connection, self._mailbox_id, after, limit=limit)

    async def list_page(self, *, token: str | None, limit: int, without_roles: Collection[str] = ()) -> ListingPage:
        """Return the next page of all messages, as of the last look at their folders; see listing.py."""
        return await listing.list_page(await self._context(), token=token, limit=limit, without_roles=without_roles)

    async def _context(self) -> PassContext:
        async with self._reading() as connection:
            state = await passes.load(connection, self._mailbox_id)
        return PassContext(
            mailbox_id=self._mailbox_id,
            folders=self._folders,
            reading=self._reading,
            writing=self._writing,
            limits=self._limits,
            state=state,
        )


async def _begin(context: PassContext) -> None:
    listed = await context.folders.folders()
    if not listed.folders:
        raise ProviderUnavailableError("no folder is listed")
    async with context.reading() as connection:
        known = await folders.all_of(connection, context.mailbox_id)
    renamed = await _renamed(context, known, listed)
    async with context.writing() as connection:
        for folder_id, folder in renamed.items():
            await folders.rename(connection, context.mailbox_id, folder_id, folder)
        await folders.record_listed(connection, context.mailbox_id, listed.folders, is_complete=listed.is_complete)
        pass_number = await passes.begin(connection, context.mailbox_id)
        unchanged = _unchanged(context, await folders.all_of(connection, context.mailbox_id))
        await folders.skip(connection, context.mailbox_id, unchanged, pass_number=pass_number)


def _unchanged(context: PassContext, known: Sequence[KnownFolder]) -> list[int]:
    """Return the folders that this pass need not look at: of thousands most are quiet."""
    looked_at = {
        each.folder.key: LookedAt(folder=each.folder, state=each.state, known=each.known)
        for each in known
        if each.state is not None and each.token is None and each.is_there
    }
    quiet = context.folders.unchanged(list(looked_at.values()))
    return [each.folder_id for each in known if each.folder.key in quiet and each.is_there]


async def _renamed(context: PassContext, known: Sequence[KnownFolder], listed: FolderListing) -> dict[int, Folder]:
    """Return the folders that were renamed, with their new names; a name under which it had another key stays one."""
    there = {each.folder.key: each for each in known if not each.is_gone}
    keys = {folder.key for folder in listed.folders}
    missing = [each for key, each in there.items() if key not in keys]
    new = [folder for folder in listed.folders if folder.key not in there]
    by_path = {each.folder.path: each.folder_id for each in missing}
    found = {by_path[folder.path]: folder for folder in new if folder.path in by_path}
    missing = [each for each in missing if each.folder_id not in found and each.state is not None]
    new = [folder for folder in new if folder.path not in by_path]
    if not listed.is_complete or len(missing) * len(new) > _MOST_PAIRS:
        return found
    for folder in new:
        for each in missing:
            if each.folder_id not in found and await _is_same(context, each, folder):
                found[each.folder_id] = folder
                break
    return found


async def _is_same(context: PassContext, known: KnownFolder, folder: Folder) -> bool:
    """Return whether a new folder is a known one: numbered as that one was, with the same messages.

    One that the provider refuses is none: a folder must not keep the pass from beginning.
    """
    try:
        return known.state is not None and await _continues(context, known, folder, state=known.state)
    except RejectedError as error:
        log.warning("a new folder fails", mailbox_id=context.mailbox_id, error=str(error))
        return False


async def _continues(context: PassContext, known: KnownFolder, folder: Folder, *, state: str) -> bool:
    if not await context.folders.continues(folder, state=state):
        return False
    async with context.reading() as connection:
        sample = await locations.identified(
            connection, context.mailbox_id, known.folder_id, known.generation, limit=_SAMPLE
        )
    expected = {each.key: each.external_id for each in sample}
    if not expected:
        return True
    found = await _identities(context, folder, list(expected), numbering=state)
    return bool(found) and all(expected[key] == external_id for key, external_id in found.items())


async def _identities(context: PassContext, folder: Folder, keys: Sequence[str], *, numbering: str) -> dict[str, str]:
    """Return the ids that messages have at the provider or by their contents."""
    items = await context.folders.items(folder, keys, numbering=numbering)
    given = {each.key: each.external_id for each in items}
    if unknown := [key for key, external_id in given.items() if external_id is None]:
        given |= await context.folders.identify(folder, unknown, numbering=numbering)
    return {key: external_id for key, external_id in given.items() if external_id is not None}
