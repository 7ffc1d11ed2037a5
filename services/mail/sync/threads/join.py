"""The threads of a batch of messages: those that share an id, directly or by way of others, are in one thread.

So threads do not depend on the order in which messages arrive, nor on what they refer to: messages that have not
arrived, themselves, or each other in a circle.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Self

import structlog

from services.mail.model import ProviderMessage
from services.mail.store import threads
from services.mail.store.connection import Connection
from services.mail.store.threads import StoredThread
from services.mail.sync.threads.references import references_of, thread_of_root

_LARGE: Final = 100
"""Rows that change when a thread is merged into another one; up to so many are no reason to keep the newer thread."""
_COUNTED: Final = 2_000
"""Rows that are counted of a thread: larger ones count as equally large."""
_NOT_STORED: Final = datetime.max.replace(tzinfo=UTC)

log = structlog.get_logger()

# A digest of a message id, or the id of a stored thread.
type _Node = bytes | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """The threads of messages by external id, the threads of new references, and those to merge into a kept one."""

    thread_ids: Mapping[str, str]
    references: Mapping[bytes, StoredThread]
    merges: Mapping[str, StoredThread]


async def with_threads(
    connection: Connection, mailbox_id: int, messages: Sequence[ProviderMessage]
) -> Sequence[ProviderMessage]:
    """Return messages with their threads: the provider's, or where it has none those that their references make.

    The threads that these messages join are merged. Transactions of one mailbox come one after the other, under its
    lease, so that none can find what another one is about to merge.
    """
    without = {each.external_id: references_of(each.content) for each in messages if each.thread_id is None}
    if not without:
        return messages
    wanted = sorted({reference for references in without.values() for reference in references})
    known = await threads.of_references(connection, mailbox_id, wanted) if wanted else {}
    parts = _Parts.of(without, known)
    joined = _join(parts, without, known, await _sizes(connection, mailbox_id, parts, known))
    if joined.merges:
        log.info("threads are merged", mailbox_id=mailbox_id, n=len(joined.merges))
        await threads.merge(connection, mailbox_id, joined.merges)
    if joined.references:
        await threads.add_references(connection, mailbox_id, joined.references)
    return [
        each if each.thread_id is not None else replace(each, thread_id=joined.thread_ids[each.external_id])
        for each in messages
    ]


class _Parts:
    """Disjoint sets of connected nodes (union-find)."""

    def __init__(self) -> None:
        self._parents: dict[_Node, _Node] = {}

    @classmethod
    def of(cls, messages: Mapping[str, Sequence[bytes]], known: Mapping[bytes, StoredThread]) -> Self:
        """Connect the references of each message, and known references with their threads."""
        parts = cls()
        for references in messages.values():
            parts.unite(references)
        for reference, thread in known.items():
            parts.unite((reference, thread.thread_id))
        return parts

    def stored(self, known: Mapping[bytes, StoredThread]) -> Mapping[_Node, Collection[StoredThread]]:
        """Return the threads of known references by the part that they are in."""
        found: dict[_Node, set[StoredThread]] = {}
        for reference, thread in known.items():
            found.setdefault(self.root_of(reference), set()).add(thread)
        return found

    def root_of(self, node: _Node) -> _Node:
        """Return the node that stands for the part of this one."""
        parents = self._parents
        while (parent := parents.setdefault(node, node)) != node:
            # Halve the path, so that long chains stay cheap.
            parents[node] = parents[parent]
            node = parent
        return node

    def unite(self, nodes: Iterable[_Node]) -> None:
        """Connect nodes."""
        first: _Node | None = None
        for node in nodes:
            first = self.root_of(node) if first is None else first
            self._parents[self.root_of(node)] = first


async def _sizes(
    connection: Connection, mailbox_id: int, parts: _Parts, known: Mapping[bytes, StoredThread]
) -> Mapping[str, int]:
    """Return the sizes of the threads that are to be merged."""
    found = [{thread.thread_id for thread in each} for each in parts.stored(known).values()]
    merging = sorted(set[str]().union(*(each for each in found if len(each) > 1)))
    return await threads.sizes(connection, mailbox_id, merging, limit=_COUNTED) if merging else {}


def _join(
    parts: _Parts,
    messages: Mapping[str, Sequence[bytes]],
    known: Mapping[bytes, StoredThread],
    sizes: Mapping[str, int],
) -> Joined:
    """Join messages, given by their references, with each other and with the threads of known references.

    A message without references is a thread of its own.
    """
    stored = parts.stored(known)
    kept = {root: _kept(found, sizes) for root, found in stored.items()}
    for references in messages.values():
        if references:
            new = StoredThread(thread_id=thread_of_root(references[0]), since=None)
            kept.setdefault(parts.root_of(references[0]), new)
    return Joined(
        thread_ids={
            external_id: kept[parts.root_of(references[0])].thread_id if references else external_id
            for external_id, references in messages.items()
        },
        references={
            reference: kept[parts.root_of(reference)]
            for references in messages.values()
            for reference in references
            if reference not in known
        },
        merges={
            thread.thread_id: kept[root]
            for root, found in stored.items()
            for thread in found
            if thread.thread_id != kept[root].thread_id
        },
    )


def _kept(found: Collection[StoredThread], sizes: Mapping[str, int]) -> StoredThread:
    """Return the thread that others are merged into: the oldest one, but for those that are small beside the largest.

    So a message of a large thread moves only to threads half as large again, a few times however many merges follow
    each other.
    """
    largest = max(sizes.get(thread.thread_id, 0) for thread in found)
    enough = largest / 2 if largest > _LARGE else 0
    return min((thread for thread in found if sizes.get(thread.thread_id, 0) >= enough), key=_age)


def _age(thread: StoredThread) -> tuple[datetime, str]:
    return thread.since or _NOT_STORED, thread.thread_id
