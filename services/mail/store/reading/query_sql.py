"""A query as SQL over `messages m` and `message_search s`.

A message's lexemes carry its mailbox, so a condition that needs at least one of them is an index lookup by itself: the
anchor. (With the mailbox beside the lexeme in one index, a lookup has to intersect the mailbox with every message of
the installation that has the word: 3 to 10 ms instead of 0.2, measured with 160,000 messages.)
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from services.mail.search.syntax import (
    EVERYTHING,
    And,
    HasAttachment,
    HasLabel,
    InThread,
    MessageId,
    Node,
    Not,
    Or,
    Received,
    Size,
    Text,
)
from services.mail.search.vector import attachment_lexeme, message_id_lexeme, prefix_of

_BEHIND = re.compile(r"<\d+>")


class Arguments:
    """The values of a statement; adding one returns its placeholder."""

    def __init__(self) -> None:
        self.values: list[object] = []

    def add(self, value: object, type_: str) -> str:
        """The placeholder for a value of that Postgres type."""
        self.values.append(value)
        return f"${len(self.values)}::{type_}"


@dataclass(frozen=True, slots=True)
class Query:
    """A compiled query: all parts of it hold.

    `lexemes` is a tsquery that an index answers, `labels` one list of label ids per label, of which any will do,
    `received` bounds, and `rest` whatever no index answers.
    """

    lexemes: str | None = None
    labels: list[list[str]] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    rest: list[Node] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Compiler:
    """Compiles queries for one mailbox. `label_names` are its labels: ids to names."""

    mailbox_id: int
    label_names: Mapping[str, str]

    def compile(self, node: Node) -> Query:
        """The parts of a query by how they are found."""
        positive: list[str] = []
        negative: list[tuple[str, Node]] = []
        query = Query()
        for part in _conjuncts(node):
            lexemes = self._lexemes(part)
            match part:
                case _ if lexemes and _needs_lexeme(part):
                    positive.append(lexemes)
                case _ if lexemes:
                    negative.append((lexemes, part))
                case HasLabel(label):
                    query.labels.append(self._label_ids(label))
                case Received():
                    query.received.append(part)
                case _:
                    query.rest.append(part)
        if not positive:
            # Each message has to be looked at anyway, and its row knows whether it has attachments.
            query.rest.extend(part for _, part in negative)
            return query
        if HasAttachment() in query.rest:
            query.rest.remove(HasAttachment())
            positive.append(f"'{attachment_lexeme(self.mailbox_id)}'")
        lexemes = " & ".join([*positive, *(text for text, _ in negative)])
        return Query(lexemes, query.labels, query.received, query.rest)

    def sql(self, node: Node, arguments: Arguments) -> str:
        """A condition over `m` and `s`."""
        lexemes = self._lexemes(node)
        if lexemes:
            return f"s.vector @@ {arguments.add(lexemes, 'tsquery')}"
        match node:
            case Not(inner):
                return f"NOT {self.sql(inner, arguments)}"
            case And(nodes) | Or(nodes):
                between = " AND " if isinstance(node, And) else " OR "
                return f"({between.join(self.sql(inner, arguments) for inner in nodes) or 'true'})"
            case _:
                return f"({self._fact(node, arguments)})"

    def _fact(self, node: Node, arguments: Arguments) -> str:
        match node:
            case HasLabel(label):
                return carries(self._label_ids(label), arguments)
            case HasAttachment():
                return "m.has_attachments"
            case InThread(thread_id):
                return f"m.thread_id = {arguments.add(thread_id, 'text')}"
            case Received():
                return received(node, arguments, "m")
            case Size(above, below):
                bounds = [
                    f"m.size {sign} {arguments.add(bound, 'bigint')}"
                    for sign, bound in ((">", above), ("<", below))
                    if bound is not None
                ]
                return " AND ".join(bounds) or "true"
            case _:
                raise TypeError(node)

    def _label_ids(self, label: str) -> list[str]:
        if label in self.label_names:
            return [label]
        key = label_key(label)
        # An unknown one stays as it is and matches nothing.
        return [id_ for id_, name in self.label_names.items() if label_key(name) == key] or [label]

    def _lexemes(self, node: Node) -> str | None:
        """The node as a tsquery; None if it speaks of more than lexemes."""
        match node:
            case Text():
                return self._phrase(node)
            case MessageId(value):
                return f"'{message_id_lexeme(self.mailbox_id, value)}'"
            case Not(inner):
                lexemes = self._lexemes(inner)
                return lexemes and f"!{lexemes}"
            case And(nodes) | Or(nodes) if nodes:
                parts = [self._lexemes(inner) for inner in nodes]
                between = " & " if isinstance(node, And) else " | "
                return None if None in parts else f"({between.join(filter(None, parts))})"
            case _:
                return None

    def _phrase(self, text: Text) -> str:
        prefix = prefix_of(self.mailbox_id, text.field)
        phrase, last = "", 0
        for term in text.terms:
            # The terms consist of letters and digits: nothing in them needs quoting.
            phrase += f" <{term.offset - last}> " if phrase else ""
            phrase += f"'{prefix}{term.value}'" + (":*" if term.prefix else "")
            last = term.offset
        return f"({phrase})"


def without_order(lexemes: str) -> str:
    """A tsquery for what has the words of each phrase anywhere: an index does not know their places.

    One that excludes something stays as it is: without order it could exclude more.
    """
    return lexemes if "!" in lexemes else _BEHIND.sub("&", lexemes)


def label_key(name: str) -> str:
    """What names of labels are compared by: neither case nor the kind of separator matters, as at Gmail."""
    return unicodedata.normalize("NFC", name.casefold()).replace(" ", "-").replace("/", "-")


def carries(label_ids: Sequence[str], arguments: Arguments) -> str:
    """The condition that a message carries one of these labels."""
    return f"m.label_ids && {arguments.add(label_ids, 'text[]')}"


def received(bounds: Received, arguments: Arguments, table: str) -> str:
    """The condition that a message came between these bounds."""
    conditions = [
        f"{table}.received_at {sign} {arguments.add(bound, 'timestamptz')}"
        for sign, bound in ((">=", bounds.since), ("<", bounds.until))
        if bound is not None
    ]
    return " AND ".join(conditions) or "true"


def reads_lexemes(node: Node) -> bool:
    """Whether the condition looks into `message_search`."""
    match node:
        case Text() | MessageId():
            return True
        case Not(inner):
            return reads_lexemes(inner)
        case And(nodes) | Or(nodes):
            return any(reads_lexemes(inner) for inner in nodes)
        case _:
            return False


def _conjuncts(node: Node) -> tuple[Node, ...]:
    if node == EVERYTHING:
        return ()
    return tuple(part for inner in node.nodes for part in _conjuncts(inner)) if isinstance(node, And) else (node,)


def _needs_lexeme(node: Node) -> bool:
    """Whether a message without any lexeme never fits."""
    match node:
        case Text() | MessageId():
            return True
        case And(nodes):
            return any(_needs_lexeme(inner) for inner in nodes)
        case Or(nodes):
            return all(_needs_lexeme(inner) for inner in nodes)
        case _:
            return False
