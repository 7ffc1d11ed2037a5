"""A look at one folder over IMAP, page by page: what is new, what is gone, and whose marks have changed."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import batched
from typing import Final

import structlog

from services.mail.providers.errors import LimitError, ProviderUnavailableError
from services.mail.providers.folder_history.port import Item, KeyRange, Page
from services.mail.providers.imap.client.connection import Connection
from services.mail.providers.imap.client.errors import ConnectionLostError, MalformedResponseError, RefusedError
from services.mail.providers.imap.client.folders import Examined, FolderStatus, examine
from services.mail.providers.imap.client.messages import HEADERS_AT_ONCE, fetch_attributes, search
from services.mail.providers.imap.client.uids import HIGHEST_UID, UidRange, gaps, sets_of
from services.mail.providers.imap.content.attributes import AttributeReader, MakeItem, without
from services.mail.providers.imap.look_plan import FolderState, LookPlan, Stage, key_of, state_at, width_for
from services.mail.providers.imap.refusals import is_of_messages
from services.mail.providers.imap.session import ImapSession

# Messages of a page: with attributes, about 90 bytes each on the wire, and as numbers only, about 8 bytes each.
_LISTED: Final = 2_000
_COMPARED: Final = 50_000
RECENT: Final = 1_000
"""The last messages, whose marks each look reads where the server does not number changes. Those of a folder that is
new, and the last new ones, get their ids with their attributes, since they are listed or fetched next."""
_MOST_RANGES: Final = 100
# Extensions that a server may advertise and not have: a proxy before it does (cyrus-imapd 4787).
_DOUBTFUL: Final = frozenset({"QRESYNC", "CONDSTORE", "ESEARCH"})
# Messages whose attributes fail are asked for again on the next day.
_DAY: Final = 86_400.0

log = structlog.get_logger()

# Returns the messages of the selected folder whose marks were found to be others than those of the copy.
type Doubted = Callable[[Connection], Collection[int]]
type FetchItems = Callable[[Connection, Sequence[int], AttributeReader], Awaitable[Sequence[Item]]]


async def first_page(
    session: ImapSession,
    name: bytes,
    *,
    state: str | None,
    status: FolderStatus | None,
    item: MakeItem,
    now: float,
    blames: bool,
) -> Page:
    """Return the first page of a look. `status` are the folder's numbers before it, as far as they are known.

    `now` is Unix time.
    """
    before = None if state is None else FolderState.of(state)
    seen = _Seen(unseen=None if status is None else status.unseen, marks_at=now)
    unreadable = () if before is None or before.marks_at // _DAY != now // _DAY else before.unreadable
    examined = None
    if before is not None and before.modseq is not None and not unreadable:
        examined = await _examine_since(session, name, before.validity, before.modseq)
    async with session.connection() as connection:
        examined = examined or await _examine(connection, name)
        reader = AttributeReader(
            session,
            name,
            validity=examined.status.uid_validity or 0,
            unreadable=unreadable,
            item=item,
            blames=blames,
        )
        if before is None:
            return await _begin(connection, examined.status, reader, seen)
        if (examined.status.uid_validity or 0) != before.validity:
            return Page(restarts=True)
        end = replace(
            state_at(examined.status),
            swept=before.swept,
            unseen=seen.unseen,
            marks_at=seen.marks_at,
            unreadable=unreadable,
        )
        is_older = end.uid_next < before.uid_next < HIGHEST_UID
        if is_older:
            # Numbers only grow. With those that are known the next pass looks again, and not only if they change.
            end = replace(end, uid_next=before.uid_next)
        plan = LookPlan(stage=Stage.NEW, at=before.uid_next, width=1, end=end, since=before.modseq)
        page = await _or_without_headers(_new(connection, plan, reader, fetch=_identified), plan)
        vanished = [_keys(each.first, each.last) for each in examined.vanished]
        # The count tells of those that so many ranges name, and one search finds them all.
        return replace(page, vanished=vanished if len(vanished) <= _MOST_RANGES else (), is_older=is_older)


async def _examine_since(session: ImapSession, name: bytes, validity: int, modseq: int) -> Examined | None:
    """Select a folder and ask what is gone since; None where the connection ends, as by a message that has changed."""
    try:
        async with session.connection() as connection:
            return await _examine(connection, name, since=(validity, modseq))
    except ProviderUnavailableError:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """The count of unseen messages before a look, and the time of the look."""

    unseen: int | None
    marks_at: float


async def _begin(connection: Connection, status: FolderStatus, reader: AttributeReader, seen: _Seen) -> Page:
    """Begin the first look at a folder."""
    end = replace(state_at(status), unseen=seen.unseen, marks_at=seen.marks_at)
    plan = LookPlan(stage=Stage.ALL, at=max(1, end.uid_next - 1), width=width_for(_LISTED, status=status), end=end)
    if not status.exists:
        return Page(state=replace(end, uid_next=1 if status.uid_next is None else end.uid_next).text())
    return await _or_without_headers(_all(connection, plan, reader, fetch=_identified), plan)


async def _or_without_headers(page: Awaitable[Page], plan: LookPlan) -> Page:
    """Return the page; where a fetch fails, one from which the look goes on, and reads no headers any more.

    A message whose headers the server cannot read hides no others.
    """
    try:
        return await page
    except (RefusedError, ConnectionLostError) as error:
        if not is_of_messages(error):
            raise
        log.info("a mail server gives no headers", error=str(error))
        return Page(token=plan.text())


async def next_page(
    session: ImapSession, name: bytes, *, token: str, known: int, item: MakeItem, doubted: Doubted, blames: bool
) -> Page:
    """Return the page at which a look goes on.

    It `blames` messages also where it knows of unreadable ones: these seldom come alone.
    """
    plan = LookPlan.of(token)
    async with session.connection() as connection:
        status = FolderStatus()
        counts = plan.stage in (Stage.COUNT, Stage.COMPARE)
        if counts or connection.selected is None or connection.selected.name != name:
            status = (await _examine(connection, name)).status
        # Whatever has selected it: a connection that was opened meanwhile may have another numbering.
        if connection.selected is None or (connection.selected.validity or 0) != plan.end.validity:
            return Page(restarts=True)
        end = plan.end
        reader = AttributeReader(
            session,
            name,
            validity=end.validity,
            unreadable=end.unreadable,
            item=item,
            blames=blames or bool(end.unreadable),
        )
        try:
            page = await _page(connection, plan, status, reader, known=known, doubted=doubted)
        except LimitError:
            if not reader.has_found_some:
                raise
            # What it cost sign-ins to find out is kept.
            page = Page(token=token)
        return _noting(page, reader) if reader.has_found_some else page


async def _page(
    connection: Connection,
    plan: LookPlan,
    status: FolderStatus,
    reader: AttributeReader,
    *,
    known: int,
    doubted: Doubted,
) -> Page:
    match plan.stage:
        case Stage.ALL:
            return await _all(connection, plan, reader)
        case Stage.NEW:
            return await _new(connection, plan, reader)
        case Stage.COUNT:
            return await _count(connection, plan, status, reader, known=known)
        case Stage.COMPARE:
            return await _compare(connection, plan, status)
        case Stage.CHANGED:
            return await _changed(connection, plan, reader)
        case Stage.RECENT | Stage.SWEEP:
            return await _marks(connection, plan, reader, doubted=doubted)


def _noting(page: Page, reader: AttributeReader) -> Page:
    """Return a page whose token and state name the messages that are unreadable."""
    unreadable = tuple(sorted(reader.unreadable))
    token, state = page.token, page.state
    if token is not None:
        plan = LookPlan.of(token)
        token = replace(plan, end=replace(plan.end, unreadable=unreadable)).text()
    if state:
        state = replace(FolderState.of(state), unreadable=unreadable).text()
    return replace(page, token=token, state=state)


async def _examine(connection: Connection, name: bytes, *, since: tuple[int, int] | None = None) -> Examined:
    """Select a folder, without the extensions with which the server cannot do it. Raises ImapError."""
    try:
        return await examine(connection, name, since=since)
    except (RefusedError, MalformedResponseError) as error:
        doubtful = _DOUBTFUL & (connection.capabilities | connection.enabled)
        if not doubtful or (isinstance(error, RefusedError) and error.status != "BAD"):
            raise
        log.warning("the mail server has not what it advertises", extensions=sorted(doubtful), error=str(error))
    connection.capabilities -= _DOUBTFUL
    connection.enabled -= _DOUBTFUL
    return await examine(connection, name)


@dataclass(frozen=True, slots=True)
class _Window:
    """Messages from `bottom` up to the window's top, all of them; and the width of the next window."""

    bottom: int
    uids: Sequence[int]
    width: int


async def _window(connection: Connection, plan: LookPlan, *, most: int) -> _Window:
    """Return the messages at and below the plan's place, at most so many. UIDs can be far apart: the width adapts."""
    bottom = max(1, plan.at - plan.width + 1)
    uids = await search(connection, UidRange(bottom, plan.at))
    width = plan.width
    if len(uids) > 2 * most:
        width = max(most, width // 2)
    elif len(uids) < most // 2:
        width = min(HIGHEST_UID, width * 4)
    if len(uids) > most:
        uids = uids[-most:]
        bottom = uids[0]
    return _Window(bottom, uids, width)


async def _attributes(
    connection: Connection, uids: Iterable[int], reader: AttributeReader, *, headers: bool = False
) -> list[Item]:
    items: list[Item] = []
    wanted = set(without(uids, reader.unreadable))
    for some in sets_of(wanted):
        given = await fetch_attributes(connection, some, headers=headers)
        items += [reader.item(each) for uid, each in given.items() if uid in wanted]
    return items


async def _read(_: Connection, uids: Sequence[int], reader: AttributeReader) -> list[Item]:
    return await reader.items(uids)


async def _identified(connection: Connection, uids: Sequence[int], reader: AttributeReader) -> list[Item]:
    """Return messages, the last ones with ids by their headers unless the server has ids: one FETCH instead of two."""
    if connection.has("OBJECTID"):
        return await _attributes(connection, uids, reader)
    items = await _attributes(connection, uids[:-RECENT], reader)
    for some in batched(uids[-RECENT:], HEADERS_AT_ONCE, strict=False):
        items += await _attributes(connection, some, reader, headers=True)
    return items


async def _all(connection: Connection, plan: LookPlan, reader: AttributeReader, *, fetch: FetchItems = _read) -> Page:
    """List the next messages of a new folder, in descending order."""
    window = await _window(connection, plan, most=_LISTED)
    items = await fetch(connection, window.uids, reader)
    end = replace(plan.end, uid_next=_known_next(plan.end, window))
    following = replace(plan, end=end).next(Stage.ALL, at=window.bottom - 1, width=window.width)
    return Page(
        items=items,
        present=[key_of(uid) for uid in window.uids],
        covers=_keys(window.bottom, plan.at),
        token=following.text() if window.bottom > 1 else None,
        state=end.text(),
    )


def _known_next(end: FolderState, window: _Window) -> int:
    """Return the next UID; where the server did not say, the one after those that were found."""
    if end.uid_next < HIGHEST_UID:
        return end.uid_next
    if window.uids:
        return window.uids[-1] + 1
    return end.uid_next if window.bottom > 1 else 1


async def _new(connection: Connection, plan: LookPlan, reader: AttributeReader, *, fetch: FetchItems = _read) -> Page:
    """List the next messages that are new, in ascending order."""
    top = max(plan.at, plan.end.uid_next - 1)
    uids = await search(connection, UidRange(plan.at, top)) if plan.at < plan.end.uid_next else []
    chosen = uids[:_LISTED]
    page = await _page_of(connection, chosen, reader, fetch=fetch)
    if len(uids) > len(chosen):
        return replace(page, token=plan.next(Stage.NEW, at=chosen[-1] + 1).text())
    end = plan.end
    if end.uid_next == HIGHEST_UID:
        end = replace(end, uid_next=chosen[-1] + 1 if chosen else plan.at)
    return replace(page, token=replace(plan, end=end).next(Stage.COUNT, at=end.uid_next).text())


async def _page_of(
    connection: Connection, uids: Sequence[int], reader: AttributeReader, *, fetch: FetchItems = _read
) -> Page:
    """Return a page with new messages, also with those of which the server gives no attributes."""
    page = Page(items=await fetch(connection, uids, reader))
    if len(page.items) == len(uids):
        return page
    # The count would not tell of a message without attributes while another one has vanished.
    return replace(page, covers=_keys(uids[0], uids[-1]), present=[key_of(uid) for uid in uids])


async def _count(
    connection: Connection, plan: LookPlan, status: FolderStatus, reader: AttributeReader, *, known: int
) -> Page:
    """Compare the server's count with ours, and list what has come since the look began.

    What comes from now on is the next look's: where messages come all the time, a look has to end for other folders.
    """
    page, later = Page(), 0
    if status.uid_next is not None and status.uid_next > plan.end.uid_next:
        uids = await search(connection, UidRange(plan.end.uid_next, status.uid_next - 1))
        chosen = uids[:_LISTED]
        page, known, later = await _page_of(connection, chosen, reader), known + len(chosen), len(uids) - len(chosen)
        plan = replace(plan, end=replace(plan.end, uid_next=chosen[-1] + 1 if later else status.uid_next))
    if (status.exists or 0) - later != known:
        following = plan.next(Stage.COMPARE, at=HIGHEST_UID, width=HIGHEST_UID)
        if status.exists and status.exists > _COMPARED:
            width = width_for(_COMPARED, status=status)
            following = plan.next(Stage.COMPARE, at=max(1, plan.end.uid_next - 1), width=width)
        return replace(page, token=following.text())
    return _then_marks(plan, page, status)


async def _compare(connection: Connection, plan: LookPlan, status: FolderStatus) -> Page:
    """Tell which messages are there, in descending order. Raises MalformedResponseError if some are left out."""
    window = await _window(connection, plan, most=_COMPARED)
    is_whole = plan.at == HIGHEST_UID and window.bottom == 1
    # Messages may have come or gone since the folder was selected.
    least = min(status.exists or 0, 0 if connection.selected is None else connection.selected.exists)
    if is_whole and len(window.uids) < least:
        raise MalformedResponseError(f"a search finds {len(window.uids)} of {least} messages")
    page = Page(present=[key_of(uid) for uid in window.uids], covers=_keys(window.bottom, plan.at))
    if window.bottom > 1:
        return replace(page, token=plan.next(Stage.COMPARE, at=window.bottom - 1, width=window.width).text())
    return _then_marks(plan, page, status)


def _then_marks(plan: LookPlan, page: Page, status: FolderStatus) -> Page:
    """Go on with the marks, or end the look where none can have changed."""
    top = plan.end.uid_next - 1
    if not status.exists or top < 1 or (plan.end.modseq is not None and plan.end.modseq == plan.since):
        return replace(page, token=None, state=plan.end.text())
    if plan.end.modseq is not None and plan.since is not None:
        return replace(page, token=plan.next(Stage.CHANGED, at=top, width=width_for(_COMPARED, status=status)).text())
    return replace(page, token=plan.next(Stage.RECENT, at=top, width=width_for(RECENT, status=status)).text())


async def _changed(connection: Connection, plan: LookPlan, reader: AttributeReader) -> Page:
    """Read the messages that changed since the last look, in descending order; all of them where that fails."""
    bottom = max(1, plan.at - plan.width + 1)
    wanted = gaps(UidRange(bottom, plan.at), reader.unreadable)
    try:
        given = await fetch_attributes(connection, wanted, changed_since=plan.since) if wanted else {}
    except (RefusedError, ConnectionLostError) as error:
        if not is_of_messages(error):
            raise
        return Page(token=plan.next(Stage.RECENT, at=plan.end.uid_next - 1).text())
    page = Page(
        items=[reader.item(each) for uid, each in given.items() if bottom <= uid <= plan.at and each.flags is not None]
    )
    if bottom > 1:
        return replace(page, token=plan.next(Stage.CHANGED, at=bottom - 1).text())
    return replace(page, state=plan.end.text())


async def _marks(connection: Connection, plan: LookPlan, reader: AttributeReader, *, doubted: Doubted) -> Page:
    """Read the last messages, and doubted ones or those whose turn it is: without modseq marks change unnoticed.

    All of them where the server has a modseq and had none before: the next look reads what changes after it only.
    """
    if plan.stage is Stage.SWEEP and plan.end.modseq is None and (uids := doubted(connection)):
        return Page(items=await _marked(uids, reader), state=plan.end.text())
    window = await _window(connection, plan, most=RECENT)
    page = Page(items=await _marked(window.uids, reader))
    if plan.end.modseq is not None and window.bottom > 1:
        return replace(page, token=plan.next(Stage.SWEEP, at=window.bottom - 1, width=window.width).text())
    if plan.stage is Stage.RECENT and window.bottom > 1:
        turn = plan.end.swept - 1 if 1 < plan.end.swept <= window.bottom else window.bottom - 1
        return replace(page, token=plan.next(Stage.SWEEP, at=turn, width=window.width).text())
    return replace(page, state=replace(plan.end, swept=window.bottom).text())


async def _marked(uids: Iterable[int], reader: AttributeReader) -> list[Item]:
    """Return messages as far as the server gives their flags: no flags are another answer than none given."""
    return [reader.item(each) for each in (await reader.read(uids)).values() if each.flags is not None]


def _keys(first: int, last: int) -> KeyRange:
    return KeyRange(key_of(first), key_of(last))
