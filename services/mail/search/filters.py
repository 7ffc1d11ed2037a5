"""A list's filters as a query: all of them hold together."""

from collections.abc import Collection
from datetime import datetime

from services.kit.errors import AppError, Kind
from services.mail.marks import Mark
from services.mail.read_model import MessageFilter
from services.mail.search.parser import parse
from services.mail.search.syntax import And, HasAttachment, HasLabel, HasMark, InThread, Node, Not, Received

LONGEST_QUERY = 1_000


def node_of(wanted: MessageFilter, *, me: Collection[str], now: datetime) -> Node:
    """Return the filters as one condition; `me` are the user's own addresses. Raises AppError invalid_query."""
    if len(wanted.query) > LONGEST_QUERY:
        problem = f"A query has at most {LONGEST_QUERY} characters."
        raise AppError(Kind.INVALID, "invalid_query", problem, {"column": str(LONGEST_QUERY + 1)})
    nodes = [parse(wanted.query, now=now, me=me)]
    if wanted.label:
        nodes.append(HasLabel(wanted.label))
    if wanted.thread_id:
        nodes.append(InThread(wanted.thread_id))
    if wanted.unread is not None:
        nodes.append(_if(not wanted.unread, HasMark(Mark.SEEN)))
    if wanted.has_attachment is not None:
        nodes.append(_if(wanted.has_attachment, HasAttachment()))
    if wanted.after or wanted.before:
        nodes.append(Received(since=wanted.after, until=wanted.before))
    return And(tuple(nodes))


def _if(wanted: bool, node: Node) -> Node:
    return node if wanted else Not(node)
