"""A connection that tells how many rows a statement goes through."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from services.mail.store.connection import Connection


class PlannedConnection:
    """Stands for a connection: executes a function's queries, and keeps the work that they took instead of their rows.

    `rows` counts those that a node of a plan returned or left out, once for each time that it was asked. Single values
    are `value`.
    """

    def __init__(self, connection: Connection, *, value: int = 0) -> None:
        self._connection = connection
        self._value = value
        self.rows = 0

    def transaction(self) -> Any:
        """Open a transaction of the connection."""
        return self._connection.transaction()

    async def fetch(self, query: str, *arguments: object) -> list[Any]:
        """Execute a query, and return nothing."""
        await self.execute(query, *arguments)
        return []

    async def fetchval(self, query: str, *arguments: object) -> int:
        """Execute a query, and return the value of all queries."""
        await self.execute(query, *arguments)
        return self._value

    async def execute(self, query: str, *arguments: object) -> None:
        """Execute a statement."""
        if query.startswith("SET "):
            await self._connection.execute(query)
            return
        given = await self._connection.fetchval(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {query}", *arguments)
        [explained] = json.loads(given)
        self.rows += sum(_rows(node) for node in _nodes(explained["Plan"]))


def _nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def _rows(node: Mapping[str, Any]) -> int:
    names = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Join Filter")
    return int(sum(node.get(name, 0) for name in names) * node["Actual Loops"])
