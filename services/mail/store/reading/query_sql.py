"""A query as SQL over `messages m` and `message_search s`.

A message's lexemes carry its mailbox, so a condition that needs at least one of them is an index lookup by itself: the
anchor. (With the mailbox beside the lexeme in one index, a lookup has to intersect the mailbox with every message of
the installation that has the word: 3 to 10 ms instead of 0.2, measured with 160,000 messages.)
"""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from services.mail.marks import Mark
from services.mail.model import Role
from services.mail.providers.label_ids import NOT_SHOWN, UNSEEN, ids_of_category, ids_of_mark
from services.mail.search.addresses import TAG, address_key
from services.mail.search.neighbours import pairs_of
from services.mail.search.syntax import (
    EVERYTHING,
    And,
    HasAddress,
    HasAttachment,
    HasLabel,
    HasMark,
    HasRole,
    InCategory,
    InDomain,
    InThread,
    MessageId,
    Node,
    Not,
    Or,
    Received,
    Size,
    Text,
)
from services.mail.search.vector import (
    Field,
    address_lexeme,
    attachment_lexeme,
    message_id_lexeme,
    pair_lexemes,
    prefix_of,
)
from services.mail.store.threads import kept_id


class Arguments:
    """The values of a statement; adding one returns its placeholder."""

    def __init__(self) -> None:
        self.values: list[object] = []

    def add(self, value: object, type_: str) -> str:
        """Return the placeholder for a value of that Postgres type."""
        self.values.append(value)
        return f"${len(self.values)}::{type_}"


@dataclass(frozen=True, slots=True)
class Query:
    """A compiled query: all parts of it hold.

    `lexemes` is a tsquery, `unordered` the same without the order of the words in phrases: an index does not know their
    places. `excluded` is a tsquery for what does not fit; a query with `lexemes` has it in there. `labels` is one list
    of label ids per label, of which any will do, and `received` bounds. No index answers the rest: `facts`, which a row
    of `messages` tells, and `mixed` conditions, which read lexemes, too.
    """

    lexemes: str | None = None
    unordered: str | None = None
    excluded: str | None = None
    labels: list[Sequence[str]] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    facts: list[Node] = field(default_factory=list)
    mixed: list[Node] = field(default_factory=list)

    @property
    def has_index(self) -> bool:
        """Whether an index finds messages among which all that fit are."""
        return bool(self.lexemes or self.labels)

    @property
    def has_more(self) -> bool:
        """Whether these messages have to be looked at, besides the order of their words."""
        return bool(self.labels or self.facts if self.lexemes else self.excluded)


@dataclass(frozen=True, slots=True)
class Compiler:
    """A compiler of queries for one mailbox. `label_names` and `label_roles` are those of its labels, by id."""

    mailbox_id: int
    label_names: Mapping[str, str]
    label_roles: Mapping[str, Role]

    def compile(self, node: Node) -> Query:
        """Return the parts of a query, by the way in which they are found."""
        positive: list[Node] = []
        negative: list[Node] = []
        query = Query()
        for part in _conjuncts(node):
            match part:
                case _ if self._lexemes(part):
                    (positive if _needs_lexeme(part) else negative).append(part)
                case _ if (label_ids := self._label_ids(part)) is not None:
                    query.labels.append(label_ids)
                case Received():
                    query.received.append(part)
                case _:
                    (query.mixed if reads_lexemes(part) else query.facts).append(part)
        if not positive:
            # Each message is examined anyway, and its row says whether it has attachments.
            return self._without(negative, query)
        attached = HasAttachment() in query.facts
        if attached:
            query.facts.remove(HasAttachment())
        lexemes, unordered = (self._all([*positive, *negative], attached, ordered=ordered) for ordered in (True, False))
        return replace(query, lexemes=lexemes, unordered=unordered)

    def _without(self, nodes: Sequence[Node], query: Query) -> Query:
        """Return the query with these nodes, too, which messages without any lexeme fit."""
        excluded = [negated for negated in map(_negated, nodes) if _needs_lexeme(negated)]
        mixed = [node for node in nodes if not _needs_lexeme(_negated(node))]
        return replace(query, excluded=self._lexemes(Or(tuple(excluded))), mixed=[*query.mixed, *mixed])

    def _all(self, nodes: Sequence[Node], attached: bool, *, ordered: bool) -> str:
        """Return a tsquery for messages that fit all of the nodes, and have attachments if `attached`."""
        parts = [self._lexemes(node, ordered=ordered) for node in nodes]
        return " & ".join(filter(None, [*parts, f"'{attachment_lexeme(self.mailbox_id)}'" if attached else None]))

    def sql(self, node: Node, arguments: Arguments) -> str:
        """Return the SQL of a condition, over `m` and `s`."""
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
            case _ if (label_ids := self._label_ids(node)) is not None:
                return carries(label_ids, arguments)
            case HasMark(Mark.SEEN):
                return f"NOT {carries(UNSEEN, arguments)}"
            case HasAttachment():
                return "m.has_attachments"
            case InThread(thread_id):
                mailbox, thread = arguments.add(self.mailbox_id, "bigint"), arguments.add(thread_id, "text")
                return f"m.thread_id = {kept_id(mailbox=mailbox, thread=thread)}"
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

    def _label_ids(self, node: Node) -> Sequence[str] | None:
        """Return the label ids of which a message that fits has one; None if the node is about something else."""
        match node:
            case HasLabel(label):
                return self._named(label)
            case HasRole(role, names):
                ids = [id_ for id_, known in self.label_roles.items() if known is role]
                return ids or [id_ for name in names for id_ in self._named(name)]
            case Not(HasMark(Mark.SEEN)):
                return UNSEEN
            case HasMark(mark) if mark is not Mark.SEEN:
                return ids_of_mark(mark)
            case InCategory(name):
                return ids_of_category(name)
            case _:
                return None

    def _named(self, label: str) -> list[str]:
        if label in self.label_names:
            return [label]
        key = label_key(label)
        named = [id_ for id_, name in self.label_names.items() if label_key(name) == key]
        # Messages can carry labels that the provider does not list.
        return named or ([] if label in NOT_SHOWN else [label])

    def _lexemes(self, node: Node, *, ordered: bool = True) -> str | None:
        """Return the node as a tsquery; None if it is about more than lexemes."""
        match node:
            case Text():
                return self._phrase(node, ordered=ordered)
            case HasAddress(field, address, tagged):
                return self._address(field, address_key(address), tagged=tagged)
            case InDomain(field, domain):
                return f"{address_lexeme(self.mailbox_id, field, address_key(f'@{domain}'))}:*"
            case MessageId(value):
                return f"'{message_id_lexeme(self.mailbox_id, value)}'"
            case Not(inner):
                # In order: without it, the query would exclude more messages.
                lexemes = self._lexemes(inner)
                return lexemes and f"!{lexemes}"
            case And(nodes) | Or(nodes) if nodes:
                parts = [self._lexemes(inner, ordered=ordered) for inner in nodes]
                between = " & " if isinstance(node, And) else " | "
                return None if None in parts else f"({between.join(filter(None, parts))})"
            case _:
                return None

    def _address(self, field: Field, key: str, *, tagged: bool) -> str:
        exact = address_lexeme(self.mailbox_id, field, key)
        return f"({exact} | {address_lexeme(self.mailbox_id, field, key + TAG)}:*)" if tagged else exact

    def _phrase(self, text: Text, *, ordered: bool) -> str:
        prefix = prefix_of(self.mailbox_id, text.field)
        phrase, last = "", 0
        for term in text.terms:
            # The terms consist of letters and digits: nothing in them needs quoting.
            between = f"<{term.offset - last}>" if ordered else "&"
            phrase += f" {between} " if phrase else ""
            phrase += f"'{prefix}{term.value}'" + (":*" if term.prefix else "")
            last = term.offset
        # Every message with the phrase has its pairs, and few others have.
        pairs = sorted(pairs_of("" if term.prefix else term.value for term in text.terms))
        return f"({''.join(f"'{pair}' & " for pair in pair_lexemes(self.mailbox_id, pairs))}({phrase}))"


def label_key(name: str) -> str:
    """Return the form in which names of labels are compared: without case and kinds of separators."""
    return unicodedata.normalize("NFC", name.casefold()).replace(" ", "-").replace("/", "-")


def carries(label_ids: Sequence[str], arguments: Arguments) -> str:
    """Return the condition that a message carries one of these labels."""
    return f"m.label_ids && {arguments.add(label_ids, 'text[]')}"


def received(bounds: Received, arguments: Arguments, table: str) -> str:
    """Return the condition that a message was received between these bounds."""
    conditions = [
        f"{table}.received_at {sign} {arguments.add(bound, 'timestamptz')}"
        for sign, bound in ((">=", bounds.since), ("<", bounds.until))
        if bound is not None
    ]
    return " AND ".join(conditions) or "true"


def reads_lexemes(node: Node) -> bool:
    """Return whether the condition reads `message_search`."""
    match node:
        case Text() | HasAddress() | InDomain() | MessageId():
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


def _negated(node: Node) -> Node:
    """Return the condition for messages that do not fit, which negates single conditions only."""
    match node:
        case Not(inner):
            return inner
        case And(nodes):
            return Or(tuple(map(_negated, nodes)))
        case Or(nodes):
            return And(tuple(map(_negated, nodes)))
        case _:
            return Not(node)


def _needs_lexeme(node: Node) -> bool:
    """Return whether a message without any lexeme never fits, as an index can tell."""
    match node:
        case Text() | HasAddress() | InDomain() | MessageId():
            return True
        case And(nodes):
            return any(_needs_lexeme(inner) for inner in nodes)
        case Or(nodes):
            return all(_needs_lexeme(inner) for inner in nodes)
        case _:
            return False
