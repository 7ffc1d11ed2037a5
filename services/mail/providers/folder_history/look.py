"""The look of a pass at its folders, page by page."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from typing import Final

import structlog

from services.mail.providers.errors import ProviderUnavailableError, RejectedError, UnreadableMessageError
from services.mail.providers.folder_history.identities import identify_some, identify_twins
from services.mail.providers.folder_history.model import KnownFolder, Location, Phase
from services.mail.providers.folder_history.pass_context import PassContext, ids_of
from services.mail.providers.folder_history.port import Item, KeyRange, Page
from services.mail.store.connection import Connection
from services.mail.store.folder_history import folders, locations, passes

# A folder that failed so often in a row, in this pass or before, is left out of it: others must not wait for it.
_MOST_FAILURES: Final = 4

log = structlog.get_logger()


async def step(context: PassContext) -> None:
    """Look at the next page of the next folder, or end the look."""
    async with context.reading() as connection:
        known = await folders.next_to_look_at(connection, context.mailbox_id, context.state.pass_number)
    if known is None:
        async with context.writing() as connection:
            await passes.enter(connection, context.mailbox_id, Phase.SETTLE)
    elif known.is_retiring:
        await _retire(context, known)
    elif known.is_gone:
        await _skip(context, known)
    else:
        await _guarded(context, known)


async def _skip(context: PassContext, known: KnownFolder) -> None:
    async with context.writing() as connection:
        await folders.skip(connection, context.mailbox_id, [known.folder_id], pass_number=context.state.pass_number)


async def _guarded(context: PassContext, known: KnownFolder) -> None:
    """Look at a folder, and note its failures. Raises those that may be the provider's as a whole."""
    try:
        await (_look if known.missing_for is None else _look_for)(context, known)
    except RejectedError as error:
        await _fail(context, known, error, skips=True, is_refused=True)
    except (ProviderUnavailableError, UnreadableMessageError) as error:
        skips = known.failures + 1 >= _MOST_FAILURES
        await _fail(context, known, error, skips=skips, is_refused=False)
        if not skips:
            raise


async def _fail(context: PassContext, known: KnownFolder, error: Exception, *, skips: bool, is_refused: bool) -> None:
    log.warning("a folder fails", mailbox_id=context.mailbox_id, folder_id=known.folder_id, error=str(error))
    async with context.writing() as connection:
        await folders.fail(
            connection,
            context.mailbox_id,
            known.folder_id,
            pass_number=context.state.pass_number,
            skips=skips,
            is_refused=is_refused,
        )


async def _look_for(context: PassContext, known: KnownFolder) -> None:
    """Take a folder for gone that listings lack for long enough, if the provider does not know its name either."""
    is_over = known.missing_for is not None and known.missing_for >= context.limits.missing
    if not is_over or await context.folders.exists(known.folder):
        await _skip(context, known)
        return
    async with context.writing() as connection:
        await folders.restart(connection, context.mailbox_id, known.folder_id, is_gone=True)


async def _retire(context: PassContext, known: KnownFolder) -> None:
    """Mark some messages of earlier generations as gone. Their ids wait for messages that equal them."""
    async with context.writing() as connection:
        some = await locations.of_earlier_generations(
            connection, context.mailbox_id, known.folder_id, known.generation, limit=context.limits.rows
        )
        for generation in {each.generation for each in some}:
            listed = [each for each in some if each.generation == generation]
            await _mark_gone(context, connection, known.folder_id, generation, listed)
        if len(some) < context.limits.rows:
            looked = context.state.pass_number if known.is_gone else None
            await folders.end_retiring(connection, context.mailbox_id, known.folder_id, looked_pass=looked)


async def _look(context: PassContext, known: KnownFolder) -> None:
    page = await context.folders.page(
        known.folder, state=known.state, known=known.known, token=known.token, blames=_blames(known)
    )
    if page.restarts:
        await _restart(context, known)
        return
    if page.is_older:
        async with context.writing() as connection:
            await folders.doubt(connection, context.mailbox_id, known.folder_id, pass_number=context.state.pass_number)
    known = replace(known, token=page.token, state=page.state or known.state)
    for keys in page.vanished:
        await _take_away(context, known, keys, present=())
    if page.covers is not None:
        present = sorted({*page.present, *(item.key for item in page.items)})
        if not _is_new(context, known):
            await _take_away(context, known, page.covers, present=present)
        await _put_missed(context, known, page, present)
    await _put(context, known, page.items, last=page)


def _blames(known: KnownFolder) -> bool:
    """Return whether single messages may be to blame: the looks at this folder fail again and again."""
    return known.failures >= _MOST_FAILURES - 1


def _is_new(context: PassContext, known: KnownFolder) -> bool:
    """Return whether nothing is known of a folder's messages: the first pass sees many folders for the first time."""
    return context.state.is_baseline and known.known == 0


async def _go_on(context: PassContext, connection: Connection, known: KnownFolder, page: Page, *, more: int) -> None:
    """Note that a page was read, which has so many more messages than were known."""
    await folders.go_on(
        connection,
        context.mailbox_id,
        known.folder_id,
        token=page.token,
        state=page.state,
        more=more,
        pass_number=context.state.pass_number,
    )


async def _restart(context: PassContext, known: KnownFolder) -> None:
    if known.restarted_ago is not None and known.restarted_ago < context.limits.between_restarts(known.known):
        raise RejectedError("the folder is numbered anew again and again")
    async with context.writing() as connection:
        await folders.restart(connection, context.mailbox_id, known.folder_id, is_gone=False)


async def _take_away(context: PassContext, known: KnownFolder, keys: KeyRange, *, present: Sequence[str]) -> None:
    """Mark the known messages in a range as gone, but for those present."""
    while gone := await _absent(context, known, keys, present):
        async with context.writing() as connection:
            await _mark_gone(context, connection, known.folder_id, known.generation, gone)
            await folders.count(connection, context.mailbox_id, known.folder_id, -len(gone))


async def _absent(
    context: PassContext, known: KnownFolder, keys: KeyRange, present: Sequence[str]
) -> Sequence[Location]:
    async with context.reading() as connection:
        return await locations.absent(
            connection,
            context.mailbox_id,
            known.folder_id,
            known.generation,
            keys,
            present=present,
            limit=context.limits.rows,
        )


async def _mark_gone(
    context: PassContext, connection: Connection, folder_id: int, generation: int, gone: Sequence[Location]
) -> None:
    async with context.recording(connection, ids_of(gone)):
        await locations.mark_gone(
            connection,
            context.mailbox_id,
            folder_id,
            generation,
            [each.key for each in gone],
            pass_number=context.state.pass_number,
        )


async def _put_missed(context: PassContext, known: KnownFolder, page: Page, present: Sequence[str]) -> None:
    """Store messages that are there, are not known, and are not among the page's items."""
    given = {item.key for item in page.items}
    left = [key for key in present if key not in given]
    while left:
        async with context.reading() as connection:
            missed = await locations.unknown(
                connection, context.mailbox_id, known.folder_id, known.generation, left, limit=context.limits.rows
            )
        if not missed:
            return
        items = await context.folders.items(known.folder, missed, numbering=known.numbering, blames=_blames(known))
        await _put(context, known, items)
        left = [key for key in left if key > missed[-1]]


async def _put(context: PassContext, known: KnownFolder, items: Sequence[Item], *, last: Page | None = None) -> None:
    """Store messages that are in a folder, in bounded transactions. The last one notes that a page was read, if any."""
    by_key = {item.key: item for item in items}
    listed = [by_key[key] for key in sorted(by_key)]
    rows = context.limits.rows
    for begin in range(0, max(1, len(listed)), rows):
        is_last = begin + rows >= len(listed)
        left: Sequence[Item] = listed[begin : begin + rows]
        while left := await _put_some(context, known, left, last=last if is_last else None):
            pass


async def _put_some(
    context: PassContext, known: KnownFolder, items: Sequence[Item], *, last: Page | None
) -> Sequence[Item]:
    """Store messages; return those that are still to be identified. Without any, note that the page was read."""
    changed, stored = await _changed(context, known, items)
    ids = {item.key: item.external_id for item in changed if item.external_id is not None}
    left: Sequence[Item] = []
    if changed and not context.state.is_baseline:
        new = [item for item in changed if item.key not in stored]
        await identify_twins(context, ((item.size, item.arrived_at) for item in new))
        if unknown := [item for item in new if item.external_id is None]:
            ids |= await identify_some(context, known, [item.key for item in unknown])
            left = [item for item in unknown if item.key not in ids]
    if left:
        last, waiting = None, {item.key for item in left}
        changed = [item for item in changed if item.key not in waiting]
    if changed or last is not None:
        await _store(context, known, changed, stored=stored, ids=ids, last=last)
    return left


async def _changed(
    context: PassContext, known: KnownFolder, items: Sequence[Item]
) -> tuple[list[Item], Mapping[str, Location]]:
    """Return the messages that differ from what is stored, and what is stored."""
    if not items or _is_new(context, known):
        return list(items), {}
    async with context.reading() as connection:
        stored = await locations.with_keys(
            connection, context.mailbox_id, known.folder_id, known.generation, [item.key for item in items]
        )
    return [item for item in items if _differs(item, stored.get(item.key))], stored


def _differs(item: Item, stored: Location | None) -> bool:
    return stored is None or stored.gone_in is not None or stored.marks != item.marks


def _recording(
    context: PassContext, connection: Connection, external_ids: Collection[str]
) -> AbstractAsyncContextManager[None]:
    """Append records, but in the first pass: no message was listed before its end."""
    return nullcontext() if context.state.is_baseline else context.recording(connection, external_ids)


async def _store(
    context: PassContext,
    known: KnownFolder,
    items: Sequence[Item],
    *,
    stored: Mapping[str, Location],
    ids: Mapping[str, str],
    last: Page | None,
) -> None:
    before = [stored[item.key] for item in items if item.key in stored]
    appeared = len(items) - sum(each.gone_in is None for each in before)
    async with context.writing() as connection:
        if items:
            async with _recording(context, connection, ids_of(before) | set(ids.values())):
                await locations.put(connection, context.mailbox_id, known.folder_id, known.generation, items, ids)
        if last is None:
            await folders.count(connection, context.mailbox_id, known.folder_id, appeared)
        else:
            await _go_on(context, connection, known, last, more=appeared)
