"""Ids for messages that were known by their places only, since they may be others."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

import structlog

from services.mail.providers.errors import ProviderError, RejectedError, UnreadableMessageError
from services.mail.providers.folder_history.model import KnownFolder
from services.mail.providers.folder_history.pass_context import PassContext, own_id
from services.mail.store.folder_history import folders, locations

log = structlog.get_logger()


# Keys by folder and generation.
type Places = Mapping[tuple[int, int], Sequence[str]]
_NOWHERE: Final[Places] = {}


async def identify_twins(
    context: PassContext, messages: Iterable[tuple[int, datetime]], *, but: Places = _NOWHERE
) -> None:
    """Give ids to all messages of these sizes and arrivals, `but` for some: copies in other folders keep both.

    It comes before the messages themselves get their ids or are stored: what is cut in between is repeated then.
    """
    wanted = sorted(set(messages))
    if wanted:
        async with context.reading() as connection:
            found = await locations.unidentified(connection, context.mailbox_id, wanted)
        twins = {place: [key for key in keys if key not in but.get(place, ())] for place, keys in found.items()}
        if twins := {place: keys for place, keys in twins.items() if keys}:
            await identify_places(context, await known_folders(context), twins)


async def known_folders(context: PassContext) -> dict[int, KnownFolder]:
    """Return the folders by id."""
    async with context.reading() as connection:
        return {each.folder_id: each for each in await folders.all_of(connection, context.mailbox_id)}


async def identify_places(context: PassContext, known: Mapping[int, KnownFolder], places: Places) -> list[int]:
    """Give ids to messages without one, by folder and generation; return the folders that the provider refuses.

    They were known by their place only: nothing has to hear of them, unless they are known messages. Those found before
    an error of the provider are kept.
    """
    failing: list[int] = []
    ids: dict[tuple[int, int, str], str] = {}
    try:
        for (folder_id, generation), keys in places.items():
            folder = known[folder_id]
            left = keys
            try:
                while left:
                    found = await identify_some(context, folder, left)
                    ids |= {(folder_id, generation, key): external_id for key, external_id in found.items()}
                    left = [key for key in left if key not in found]
            except (RejectedError, UnreadableMessageError) as error:
                log.warning("a folder fails", mailbox_id=context.mailbox_id, folder_id=folder_id, error=str(error))
                failing.append(folder_id)
    except ProviderError:
        await _set_ids(context, ids)
        raise
    await _set_ids(context, ids)
    return failing


async def identify_some(context: PassContext, folder: KnownFolder, keys: Sequence[str]) -> dict[str, str]:
    """Return ids of some of these messages, at least of one; ids of our own for those that have none."""
    found = await context.folders.identify(folder.folder, keys, numbering=folder.numbering) or dict.fromkeys(keys)
    return {key: external_id or own_id(folder, key) for key, external_id in found.items()}


async def _set_ids(context: PassContext, ids: Mapping[tuple[int, int, str], str]) -> None:
    if ids:
        async with context.writing() as connection, context.recording(connection, set(ids.values()), adds=False):
            await locations.set_ids(connection, context.mailbox_id, ids)
