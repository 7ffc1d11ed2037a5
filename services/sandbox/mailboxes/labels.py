"""Labels of a mailbox, which every provider has under one name or another."""

from dataclasses import dataclass, field
from typing import Protocol

from services.sandbox.generate.message_plan import MessagePlan


@dataclass(slots=True)
class Label:
    """A label. `attributes` are further fields of its resource, by their names in the provider's API."""

    id: str
    name: str
    is_system: bool = False
    attributes: dict[str, object] = field(default_factory=dict)


class LabelScheme(Protocol):
    """The labels that a provider defines."""

    def system_labels(self) -> dict[str, Label]:
        """Return new labels that every mailbox starts with, by id."""

    def labels_of(self, plan: MessagePlan) -> frozenset[str]:
        """Return the label ids of a generated message."""
