"""The end of a pass: which messages are deleted, and which have only moved."""

from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from services.mail.providers.errors import RejectedError, UnreadableMessageError
from services.mail.providers.folder_history.identities import identify_places
from services.mail.providers.folder_history.model import KnownFolder, Location, Phase
from services.mail.providers.folder_history.pass_context import PassContext
from services.mail.store.folder_history import folders, locations, passes, settling

# Messages of equal size whose ids are asked for at once.
_COMPARED: Final = 200

log = structlog.get_logger()


async def step(context: PassContext) -> bool:
    """Settle some messages that are in no folder; return whether the pass has ended.

    A message is deleted if it was in no folder before this pass began, all folders could be looked at lately, and no
    message without an id can be it. A large loss of one folder needs a proof. Folders that cannot be looked at for long
    are not asked: they would delay deletions for ever, and the pass with them.
    """
    if await _drop(context):
        return False
    async with context.reading() as connection:
        known = await folders.all_of(connection, context.mailbox_id)
        lost = await settling.lost(connection, context.mailbox_id, context.state.pass_number, limit=context.limits.rows)
    if not lost or any(_delays(context, each) for each in known):
        async with context.writing() as connection:
            await folders.remove_gone(connection, context.mailbox_id)
            await passes.enter(connection, context.mailbox_id, Phase.IDLE)
        return True
    asked = {each.folder_id: each for each in known if not each.is_gone and each.unseen_for is None}
    if await _compare(context, asked, lost):
        return False
    if await _find_again(context, asked, lost):
        return False
    async with context.writing() as connection, context.recording(connection, lost):
        await settling.delete(connection, context.mailbox_id, lost)
    return False


def _delays(context: PassContext, known: KnownFolder) -> bool:
    """Return whether a folder may have messages that could not be looked for."""
    return known.unseen_for is not None and known.unseen_for < context.limits.failing


async def _drop(context: PassContext) -> bool:
    """Forget some old places of messages; return whether there may be more."""
    rows = context.limits.rows
    async with context.writing() as connection:
        moved = await settling.drop_moved(connection, context.mailbox_id, limit=rows)
        return moved or await settling.drop_unidentified(
            connection, context.mailbox_id, context.state.pass_number, limit=rows
        )


async def _compare(context: PassContext, asked: Mapping[int, KnownFolder], lost: Sequence[str]) -> bool:
    """Give ids to some messages that can be lost ones by their size; return whether there were any."""
    async with context.reading() as connection:
        candidates = await settling.unidentified_of_equal_size(
            connection, context.mailbox_id, lost, folder_ids=list(asked), limit=_COMPARED
        )
    for folder_id in await identify_places(context, asked, candidates):
        await _fail(context, folder_id)
    return bool(candidates)


async def _fail(context: PassContext, folder_id: int) -> None:
    """Note that the provider refuses a folder: deletions wait for it, and the pass ends."""
    async with context.writing() as connection:
        await folders.fail(
            connection,
            context.mailbox_id,
            folder_id,
            pass_number=context.state.pass_number,
            skips=True,
            is_refused=True,
        )


async def _find_again(context: PassContext, asked: Mapping[int, KnownFolder], lost: Sequence[str]) -> bool:
    """Look again for messages of folders that lost many; return whether some are there, or cannot be looked for."""
    async with context.reading() as connection:
        losses = await settling.losses(connection, context.mailbox_id, context.state.pass_number)
        places = await locations.of_messages(connection, context.mailbox_id, lost)
    goes_on = False
    for folder_id, folder in asked.items():
        if not _is_doubtful(context, folder, losses.get(folder_id, 0)):
            continue
        listed = [each for each in places if (each.folder_id, each.generation) == (folder_id, folder.generation)]
        try:
            goes_on |= await _put_back(context, folder, listed) > 0
        except (RejectedError, UnreadableMessageError) as error:
            log.warning("a folder fails", mailbox_id=context.mailbox_id, folder_id=folder_id, error=str(error))
            await _fail(context, folder_id)
            goes_on = True
    return goes_on


def _is_doubtful(context: PassContext, folder: KnownFolder, count: int) -> bool:
    limits = context.limits
    if folder.doubtful_in == context.state.pass_number:
        # The rest of the losses, of which a part was settled already.
        return True
    return count > limits.doubtful_count or count > limits.doubtful_share * (folder.known + count)


async def _put_back(context: PassContext, folder: KnownFolder, listed: Sequence[Location]) -> int:
    keys = [each.key for each in listed]
    if not keys:
        return 0
    there = sorted(set(keys) & await context.folders.still_there(folder.folder, keys, numbering=folder.numbering))
    if there:
        log.warning(
            "messages were reported gone that are there",
            mailbox_id=context.mailbox_id,
            folder_id=folder.folder_id,
            count=len(there),
        )
    async with context.writing() as connection:
        await folders.doubt(connection, context.mailbox_id, folder.folder_id, pass_number=context.state.pass_number)
        await locations.put_back(connection, context.mailbox_id, folder.folder_id, folder.generation, there)
        await folders.count(connection, context.mailbox_id, folder.folder_id, len(there))
    return len(there)
