"""A listing of a mailbox's messages: by folders, the newest of each first. Listed messages get their ids."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.mail.providers.folder_history.model import KnownFolder, Location
from services.mail.providers.folder_history.pass_context import PassContext, own_id
from services.mail.store.folder_history import folders, locations


@dataclass(frozen=True, slots=True, kw_only=True)
class ListingPage:
    """A page of ids; one that is in several folders is listed several times. The last page has no `token`."""

    external_ids: Sequence[str]
    token: str | None


async def list_page(context: PassContext, *, token: str | None, limit: int) -> ListingPage:
    """Return the next page of messages as of the last look at their folders."""
    async with context.reading() as connection:
        known = [each for each in await folders.all_of(connection, context.mailbox_id) if not each.is_gone]
    place, below = _place(known, token)
    if place == len(known):
        return ListingPage(external_ids=(), token=None)
    folder = known[place]
    async with context.reading() as connection:
        listed = await locations.newest(
            connection, context.mailbox_id, folder.folder_id, folder.generation, below=below, limit=limit
        )
    ids = await _identified(context, folder, listed)
    if len(listed) == limit:
        return ListingPage(external_ids=ids, token=f"{folder.folder_id}:{folder.generation}:{listed[-1].key}")
    if place + 1 == len(known):
        return ListingPage(external_ids=ids, token=None)
    following = known[place + 1]
    return ListingPage(external_ids=ids, token=f"{following.folder_id}:{following.generation}:")


def _place(known: Sequence[KnownFolder], token: str | None) -> tuple[int, str | None]:
    """Return the folder of a token by its place, and the key to go on below.

    A folder that was numbered anew since is listed from its top. For one that is gone the listing goes on with the next
    one: folders are in the order of their ids, after the inbox.
    """
    if token is None:
        return 0, None
    folder_id, generation, below = token.split(":", 2)
    for place, each in enumerate(known):
        if each.folder_id == int(folder_id):
            return place, (below or None) if each.generation == int(generation) else None
    following = (place for place, each in enumerate(known) if place and each.folder_id > int(folder_id))
    return next(following, len(known)), None


async def _identified(context: PassContext, folder: KnownFolder, listed: Sequence[Location]) -> list[str]:
    unknown = [each.key for each in listed if each.external_id is None]
    ids: dict[str, str] = {}
    if unknown:
        found = await context.folders.identify(folder.folder, unknown)
        ids = {key: found.get(key) or own_id(folder, key) for key in unknown}
        async with context.writing() as connection, context.recording(connection, ids.values(), adds=False):
            await locations.set_ids(connection, context.mailbox_id, folder.folder_id, folder.generation, ids)
    return [each.external_id or ids[each.key] for each in listed]
