"""A listing of a mailbox's messages in the order of their arrival, newest first. Listed messages get their ids."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.mail.providers.errors import ProviderUnavailableError
from services.mail.providers.folder_history.identities import Places, identify_places, identify_twins, known_folders
from services.mail.providers.folder_history.model import KnownFolder, Location
from services.mail.providers.folder_history.pass_context import PassContext
from services.mail.store.folder_history import arrivals, folders
from services.mail.store.folder_history.arrivals import ABOVE_ALL, Place, place_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ListingPage:
    """A page of ids, each message once however many folders it is in. The last page has no `token`.

    Within a page the messages of a folder follow each other: they are fetched together. `skips_none` says that there
    was no record since the first page: what moves between two pages can be on neither.
    """

    external_ids: Sequence[str]
    token: str | None
    skips_none: bool


async def list_page(
    context: PassContext, *, token: str | None, limit: int, without_roles: Collection[str] = ()
) -> ListingPage:
    """Return the next page of messages as of the last look at their folders, without those in folders of these roles.

    Messages of a folder that fails are left out, as far as they have no id, when it has failed for long, or when the
    provider refused the first look at it: a verification finds them when it works again. Raises
    ProviderUnavailableError before.
    """
    known = await known_folders(context)
    if any(_may_recover(context, each) for each in known.values()):
        raise ProviderUnavailableError("a folder fails at which no pass could look yet")
    hidden = [each.folder_id for each in known.values() if each.folder.role in without_roles]
    revision, below = (context.state.revision, ABOVE_ALL) if token is None else _place_in(token)
    async with context.reading() as connection:
        listed = await arrivals.newest(connection, context.mailbox_id, below=below, hidden=hidden, limit=limit)
    token = _token_of(listed[-1], revision=revision) if len(listed) == limit else None
    # Also of messages that a look has identified: the page shows each of them once.
    unknown = [each for each in listed if each.external_id is None]
    await identify_twins(context, ((each.size, each.arrived_at) for each in listed), but=_places(unknown))
    if unknown:
        last = place_of(listed[-1])
        hidden += await _identify(context, known, unknown)
        # With their ids they may turn out to be messages that are listed at another place: the page is shorter then.
        async with context.reading() as connection:
            listed = await arrivals.newest(
                connection, context.mailbox_id, below=below, last=last, hidden=hidden, limit=limit
            )
    return ListingPage(
        external_ids=[each.external_id for each in _by_folder(listed) if each.external_id is not None],
        token=token,
        skips_none=context.state.revision == revision,
    )


def _may_recover(context: PassContext, known: KnownFolder) -> bool:
    """Return whether a folder's messages are unknown since its first look failed lately.

    A provider can list folders that it always refuses, as others have shared them, but never the inbox.
    """
    is_unknown = known.state is None and not known.is_gone and known.failing_for is not None
    is_refused = known.failures == 0 and known.folder.role != "inbox"
    return is_unknown and not is_refused and (known.failing_for or 0.0) < context.limits.listing


def _by_folder(listed: Sequence[Location]) -> list[Location]:
    """Return messages folder by folder, those of the first one's folder first; otherwise their order stays."""
    order: dict[int, int] = {}
    for each in listed:
        order.setdefault(each.folder_id, len(order))
    return sorted(listed, key=lambda each: order[each.folder_id])


def _token_of(last: Location, *, revision: int) -> str:
    """Return the token of the page after a message; `revision` is that of the first page."""
    place = place_of(last)
    return json.dumps([revision, place.arrived_at.isoformat(), place.folder_id, place.generation, place.key])


def _place_in(token: str) -> tuple[int, Place]:
    *revision, arrived_at, folder_id, generation, key = json.loads(token)
    # Those of earlier releases have no revision.
    return (revision or [-1])[0], Place(datetime.fromisoformat(arrived_at), folder_id, generation, key)


def _places(listed: Sequence[Location]) -> Places:
    places: dict[tuple[int, int], list[str]] = {}
    for each in listed:
        places.setdefault((each.folder_id, each.generation), []).append(each.key)
    return places


async def _identify(context: PassContext, known: Mapping[int, KnownFolder], unknown: Sequence[Location]) -> list[int]:
    """Give ids to messages; return the folders that the provider has refused for long."""
    failing = await identify_places(context, known, _places(unknown))
    if lately := [each for each in failing if (known[each].failing_for or 0.0) < context.limits.listing]:
        async with context.writing() as connection:
            for folder_id in lately:
                await folders.fail(
                    connection,
                    context.mailbox_id,
                    folder_id,
                    pass_number=context.state.pass_number,
                    skips=True,
                    is_refused=True,
                )
        raise ProviderUnavailableError("a folder fails whose messages are to be listed")
    return failing
