"""A query as a tree. Every node is a condition on one message."""

from dataclasses import dataclass
from datetime import datetime

from services.mail.marks import Mark
from services.mail.model import Role
from services.mail.search.terms import Term
from services.mail.search.vector import Field


@dataclass(frozen=True, slots=True)
class Text:
    """These terms stand one after the other, in that field; None: in any text of the message."""

    field: Field | None
    terms: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class HasAddress:
    """An address in that field is this one; with `tagged`, also this one with a tag: `ada+shop@example.com`."""

    field: Field
    address: str
    tagged: bool = False


@dataclass(frozen=True, slots=True)
class InDomain:
    """An address in that field is of this domain."""

    field: Field
    domain: str


@dataclass(frozen=True, slots=True)
class MessageId:
    """The Message-ID header is this."""

    value: str


@dataclass(frozen=True, slots=True)
class HasLabel:
    """It carries the label with this id or name."""

    label: str


@dataclass(frozen=True, slots=True)
class HasRole:
    """A label of it has this role; in a mailbox without such a label, a label of it has one of these names."""

    role: Role
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HasMark:
    """It has this mark."""

    mark: Mark


@dataclass(frozen=True, slots=True)
class InCategory:
    """The provider has put it into this category."""

    name: str


@dataclass(frozen=True, slots=True)
class HasAttachment:
    """Something is attached."""


@dataclass(frozen=True, slots=True)
class InThread:
    """It belongs to this thread."""

    thread_id: str


@dataclass(frozen=True, slots=True)
class Received:
    """It was received at or after `since` and before `until`; None is unbounded."""

    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Size:
    """It has more bytes than `above` and fewer than `below`; None is unbounded."""

    above: int | None = None
    below: int | None = None


@dataclass(frozen=True, slots=True)
class Not:
    """The other condition does not hold."""

    node: "Node"


@dataclass(frozen=True, slots=True)
class And:
    """All of these hold; none at all always holds."""

    nodes: "tuple[Node, ...]" = ()


@dataclass(frozen=True, slots=True)
class Or:
    """One of these holds."""

    nodes: "tuple[Node, ...]"


type Node = (
    Text
    | HasAddress
    | InDomain
    | MessageId
    | HasLabel
    | HasRole
    | HasMark
    | InCategory
    | HasAttachment
    | InThread
    | Received
    | Size
    | Not
    | And
    | Or
)

EVERYTHING = And()
NOTHING = Not(EVERYTHING)
