"""The messages of a mailbox in the order of their arrival, whatever folders they are in."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from services.mail.providers.folder_history.model import Location
from services.mail.store.connection import Connection
from services.mail.store.folder_history.index_order import index_order
from services.mail.store.folder_history.locations import COLUMNS, location_of


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a message in the order. Those of equal arrival are in the order of folder, generation and key."""

    arrived_at: datetime
    folder_id: int
    generation: int
    key: str


def place_of(location: Location) -> Place:
    """Return the place of a location."""
    return Place(location.arrived_at, location.folder_id, location.generation, location.key)


ABOVE_ALL: Final = Place(datetime.max.replace(tzinfo=UTC), 0, 0, "")
BELOW_ALL: Final = Place(datetime.min.replace(tzinfo=UTC), 0, 0, "")
"""Before the first message, and after the last one."""


async def newest(
    connection: Connection,
    mailbox_id: int,
    *,
    below: Place = ABOVE_ALL,
    last: Place = BELOW_ALL,
    hidden: Collection[int],
    limit: int,
) -> list[Location]:
    """Return the next messages in descending order, each at its first place outside of the `hidden` folders.

    They are `below` a place, down to the `last` one. A message that is in no folder any more keeps its places until a
    pass has decided that it is deleted. One without an id in a folder that is numbered anew is left out: nothing can
    tell its id, and the next look finds it as a new one.
    """
    async with index_order(connection):
        rows = await connection.fetch(
            f"""
            SELECT {COLUMNS} FROM mail_locations l
            -- A range of one id has an order, unlike an equality, and with a limit it is looked up for each row.
            LEFT JOIN LATERAL (
                SELECT true AS is_first FROM mail_locations o
                WHERE o.mailbox_id = $1 AND o.external_id BETWEEN l.external_id AND l.external_id
                    AND o.folder_id <> ALL($2::bigint[])
                    AND CASE WHEN (o.gone_in IS NULL) = (l.gone_in IS NULL)
                        THEN (o.arrived_at, o.folder_id, o.generation, o.key)
                            > (l.arrived_at, l.folder_id, l.generation, l.key)
                        ELSE o.gone_in IS NULL END
                ORDER BY o.external_id LIMIT 1
            ) other ON true
            WHERE l.mailbox_id = $1 AND l.folder_id <> ALL($2::bigint[]) AND other.is_first IS NULL
                AND (l.arrived_at, l.folder_id, l.generation, l.key) < ($3::timestamptz, $4, $5, $6)
                AND (l.arrived_at, l.folder_id, l.generation, l.key) >= ($7::timestamptz, $8, $9, $10)
                AND (l.external_id IS NOT NULL OR (l.gone_in IS NULL AND EXISTS (
                    SELECT FROM mail_folders f WHERE f.mailbox_id = $1 AND f.folder_id = l.folder_id
                        AND f.generation = l.generation)))
            ORDER BY l.arrived_at DESC, l.folder_id DESC, l.generation DESC, l.key DESC LIMIT $11
            """,
            mailbox_id,
            list(hidden),
            below.arrived_at,
            below.folder_id,
            below.generation,
            below.key,
            last.arrived_at,
            last.folder_id,
            last.generation,
            last.key,
            limit,
        )
    return [location_of(row) for row in rows]


async def identified(connection: Connection, mailbox_id: int, *, after: str, limit: int) -> Sequence[str]:
    """Return the next ids of messages, in the order of ids."""
    rows = await connection.fetch(
        """
        SELECT DISTINCT external_id FROM mail_locations
        WHERE mailbox_id = $1 AND external_id > $2 ORDER BY external_id LIMIT $3
        """,
        mailbox_id,
        after,
        limit,
    )
    return [row["external_id"] for row in rows]
