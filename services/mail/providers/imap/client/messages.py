"""Messages of the selected folder: UID FETCH and UID SEARCH (RFC 9051, section 6.4)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from services.mail.providers.imap.client.commands import Argument, atom, command, group, sequence
from services.mail.providers.imap.client.connection import Connection, refusal
from services.mail.providers.imap.client.errors import FramingError, MalformedResponseError
from services.mail.providers.imap.client.frames import Sink, Streamed
from services.mail.providers.imap.client.responses import Data, Status
from services.mail.providers.imap.client.uids import HIGHEST_UID, UidRange, ranges_of, within
from services.mail.providers.imap.client.values import Atom, Value, number_of, pairs_of, text_of

# Numbers in the answer to a search. Each takes more than a hundred bytes while it is read.
_MOST_NUMBERS: Final = 1_250_000
_ATTRIBUTES: Final = ("UID", "FLAGS", "INTERNALDATE", "RFC822.SIZE")
_DATE: Final = re.compile(
    rb"\s*(\d{1,2})-([A-Za-z]{3})-(\d{4}) (\d{2}):(\d{2}):(\d{2})(?: ([+-])(\d{2})(\d{2}))?\s*"
)  # fmt: skip
_MONTHS: Final = {
    name: number
    for number, name in enumerate(b"jan feb mar apr may jun jul aug sep oct nov dec".split(), start=1)
}  # fmt: skip

HEADERS_AT_ONCE: Final = 100
"""Messages whose header blocks are fetched at once: some kilobytes each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """The attributes of a message; None for those that the server did not give, or gave in an unknown form."""

    uid: int
    flags: frozenset[str] | None = None
    arrived_at: datetime | None = None
    size: int | None = None
    object_id: str | None = None
    header: bytes | None = None


async def fetch_attributes(
    connection: Connection,
    uids: str,
    *,
    changed_since: int | None = None,
    headers: bool = False,
    answers: list[Data] | None = None,
) -> dict[int, Attributes]:
    """Return the attributes of messages by UID, with their header blocks if `headers`. Raises RefusedError.

    A message that is missing in the answer may exist all the same. With `changed_since`, a modseq of RFC 7162, only
    messages that changed after it are returned. `answers` gets the responses, also those before an error.
    """
    wanted = [*_ATTRIBUTES, *["EMAILID"] * connection.has("OBJECTID"), *["BODY.PEEK[HEADER]"] * headers]
    arguments = [sequence(uids), group(map(atom, wanted))]
    if changed_since is not None:
        arguments.append(group([atom("CHANGEDSINCE"), atom(str(changed_since))]))
    return await _fetch_attributes(connection, arguments, answers=answers)


async def fetch_flags(connection: Connection, uids: str) -> dict[int, Attributes]:
    """Return the flags of messages by UID. Raises RefusedError."""
    return await _fetch_attributes(connection, [sequence(uids), group([atom("UID"), atom("FLAGS")])])


async def fetch_uid(connection: Connection, uid: int) -> None:
    """Ask for nothing but the UID of a message, which fails only where no message can be fetched.

    Raises RefusedError.
    """
    await _fetch_attributes(connection, [sequence(str(uid)), group([atom("UID")])])


async def _fetch_attributes(
    connection: Connection, arguments: Sequence[Argument], *, answers: list[Data] | None = None
) -> dict[int, Attributes]:
    responses: list[Data] = [] if answers is None else answers

    def collect(response: Data | Status) -> None:
        if isinstance(response, Data):
            responses.append(response)

    await connection.run(command("UID FETCH", *arguments), collect=collect)
    return attributes_in(responses)


def attributes_in(responses: Sequence[Data]) -> dict[int, Attributes]:
    """Return the attributes in FETCH responses. One without a UID, or that cannot be read, is left out.

    Several responses about a message add up.
    """
    found: dict[int, dict[str, Value]] = {}
    for response in responses:
        _add(response, found)
    return {uid: _attributes_of(uid, given) for uid, given in found.items()}


def _add(response: Data | Status, found: dict[int, dict[str, Value]]) -> None:
    """Add what a FETCH response says to what is known of its message by UID."""
    given = fetched_in(response)
    uid = None if given is None else number_of(given.get("UID"))
    if given is not None and uid is not None and 0 < uid <= HIGHEST_UID:
        found[uid] = found.get(uid, {}) | given


def fetched_in(response: Data | Status) -> dict[str, Value] | None:
    """Return what a FETCH response says of a message; None for another one, or one that cannot be read."""
    if not isinstance(response, Data) or response.name != "FETCH":
        return None
    try:
        return pairs_of(response.values()[0])
    except (MalformedResponseError, IndexError):
        return None


def _attributes_of(uid: int, given: Mapping[str, Value]) -> Attributes:
    flags, object_id, header = given.get("FLAGS", b""), given.get("EMAILID"), _body(given)
    return Attributes(
        uid=uid,
        # Some servers write NIL for an empty list.
        flags=_flags(flags or []) if flags is None or isinstance(flags, list) else None,
        arrived_at=_date(given.get("INTERNALDATE")),
        size=number_of(given.get("RFC822.SIZE")),
        object_id=_text_in(object_id) if isinstance(object_id, list) else None,
        header=header if isinstance(header, bytes) else None,
    )


def _flags(values: list[Value]) -> frozenset[str]:
    return frozenset(each.decode("ascii", "replace") for each in values if isinstance(each, bytes))


def _text_in(values: list[Value]) -> str | None:
    text = text_of(values[0]) if values else None
    return None if text is None else text.decode("ascii", "replace")


def _date(value: Value) -> datetime | None:
    found = _DATE.fullmatch(value) if isinstance(value, bytes) else None
    if found is None:
        return None
    day, month, year, hour, minute, second, sign, hours, minutes = found.groups()
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    try:
        zone = timezone(-offset if sign == b"-" else offset)
        date = datetime(
            int(year), _MONTHS[month.lower()], int(day), int(hour), int(minute), min(59, int(second)), 0, zone
        )
        return date.astimezone(UTC)
    except (ValueError, KeyError, OverflowError):
        return None


async def fetch_bodies(connection: Connection, uids: str, *, section: str = "") -> dict[int, bytes]:
    """Return the bytes of messages, or of one of their sections such as HEADER, by UID. Raises RefusedError.

    Sets no flag. A message that is missing may exist all the same, and so may one that has no bytes here.
    """
    found: dict[int, bytes] = {}

    def collect(response: Data | Status) -> None:
        given = fetched_in(response)
        uid = None if given is None else number_of(given.get("UID"))
        body = None if given is None else _body(given)
        if uid is not None and isinstance(body, bytes):
            found[uid] = body

    await connection.run(command("UID FETCH", sequence(uids), _body_items(section)), collect=collect)
    return found


async def fetch_headers(connection: Connection, uids: str) -> dict[int, Attributes]:
    """Return the sizes and header blocks of messages by UID. Raises RefusedError. Sets no flag."""
    wanted = group([atom("UID"), atom("RFC822.SIZE"), atom("BODY.PEEK[HEADER]")])
    return await _fetch_attributes(connection, [sequence(uids), wanted])


async def copy_body(connection: Connection, uid: int, sink: Sink, *, section: str = "") -> int | None:
    """Write the bytes of a message, or of one of its sections, to `sink` as they come; return how many.

    None says that the server gave no bytes, or those of another message, or different ones: what was written does not
    count. One that is told twice is written once.
    """
    sizes: set[int] = set()
    quoted: list[bytes] = []
    strangers = 0

    def collect(response: Data | Status) -> None:
        nonlocal strangers
        given = fetched_in(response)
        body = None if given is None else _body(given)
        size = body.size if isinstance(body, Streamed) else len(body or b"")
        if given is None or not size:
            return
        strangers += number_of(given.get("UID")) != uid
        sizes.add(size)
        quoted.extend([body] if isinstance(body, bytes) else [])

    wanted = command("UID FETCH", sequence(str(uid)), _body_items(section))
    await connection.run(wanted, collect=collect, sink=sink)
    if strangers or len(sizes) != 1:
        return None
    for body in quoted[:1]:
        await sink(body)
    return sizes.pop()


def _body_items(section: str) -> Argument:
    return group([atom("UID"), atom(f"BODY.PEEK[{section}]")])


def _body(given: Mapping[str, Value]) -> bytes | Streamed | None:
    for name, value in given.items():
        if name.startswith("BODY[") and isinstance(value, bytes | Streamed) and not isinstance(value, Atom):
            return value
    return None


async def search(connection: Connection, limits: UidRange, *, among: str = "") -> list[int]:
    """Return the UIDs of all messages within `limits`, ascending, or of those in the set `among`.

    Raises RefusedError, MalformedResponseError.
    """
    criteria = [atom("UID"), sequence(among or str(limits))]
    if connection.has("ESEARCH"):
        compact = await _search(connection, limits, [atom("RETURN"), group([atom("ALL")]), *criteria])
        if compact is not None:
            return compact
    plain = await _search(connection, limits, criteria)
    if plain is None:
        raise MalformedResponseError("a search without a result")
    return plain


async def _search(connection: Connection, limits: UidRange, arguments: Sequence[Argument]) -> list[int] | None:
    """Return the UIDs; None if the server gives no list of them."""
    responses: list[Data] = []

    numbers = 0

    def collect(response: Data | Status) -> None:
        nonlocal numbers
        if isinstance(response, Data) and response.name in ("SEARCH", "ESEARCH"):
            responses.append(response)
            numbers += sum(text.count(b" ") + text.count(b",") for text in response.frame.texts)
            if numbers > _MOST_NUMBERS:
                raise FramingError("a search finds more messages than a folder has")

    await connection.run(command("UID SEARCH", *arguments), collect=collect)
    listed = [ranges for response in responses if (ranges := _found(response)) is not None]
    return within([each for ranges in listed for each in ranges], limits) if listed else None


def _found(response: Data) -> list[UidRange] | None:
    values = response.values()
    if response.name == "SEARCH":
        return [each for value in values if isinstance(value, bytes) and value.isdigit() for each in ranges_of(value)]
    # (TAG "A1") UID ALL 1:5,9; without a match there is no ALL, and with COUNT alone there is no list.
    words = [value.upper() if isinstance(value, bytes) else value for value in values]
    if b"ALL" in words[:-1]:
        listed = text_of(values[words.index(b"ALL") + 1])
        return None if listed is None else ranges_of(listed)
    return None if b"COUNT" in words else []


async def search_each(connection: Connection, keys: Sequence[str], *, since: int) -> list[bytes]:
    """Return the UIDs from `since` on of the messages for each search key, as the server writes them: see `uids_of`.

    The searches are sent at once; servers answer them in order. Raises RefusedError, MalformedResponseError.
    """
    limits = [atom("UID"), sequence(str(UidRange(since, HIGHEST_UID)))] if since > 1 else []
    found: list[bytes] = []

    def collect(response: Data | Status) -> None:
        if isinstance(response, Data) and response.name == "SEARCH":
            found.append(response.frame.texts[0][response.end :])

    ended = await connection.run_all(
        [command("UID SEARCH", *limits, *map(atom, key.split(" "))) for key in keys], collect=collect
    )
    if refused := next((each for each in ended if each.kind != "OK"), None):
        raise refusal("UID SEARCH", refused)
    if len(found) != len(keys):
        raise MalformedResponseError(f"{len(found)} answers to {len(keys)} searches")
    return found


def uids_of(text: bytes) -> set[int]:
    """Return the UIDs that a search names. Raises MalformedResponseError."""
    try:
        return set(map(int, text.split()))
    except ValueError as error:
        raise MalformedResponseError("no UIDs") from error
