"""Labels of a mailbox: the system's and the user's."""

from dataclasses import dataclass, field

MAX_LABELS = 10_000
HIDDEN = frozenset({"SPAM", "TRASH"})
"""Labels whose messages a listing leaves out unless asked."""

SYSTEM_LABELS = (
    "CHAT",
    "SENT",
    "INBOX",
    "IMPORTANT",
    "TRASH",
    "DRAFT",
    "SPAM",
    "CATEGORY_FORUMS",
    "CATEGORY_UPDATES",
    "CATEGORY_PERSONAL",
    "CATEGORY_PROMOTIONS",
    "CATEGORY_SOCIAL",
    "STARRED",
    "UNREAD",
)
_SHOWN = frozenset({"SENT", "INBOX", "DRAFT", "STARRED", "UNREAD", "IMPORTANT"})
FIXED = frozenset({"SENT", "DRAFT"})
"""Labels that the API neither adds nor removes."""


@dataclass(slots=True)
class Label:
    """A label as labels.list shows it."""

    id: str
    name: str
    is_system: bool = False
    message_list_visibility: str | None = None
    label_list_visibility: str | None = None
    color: dict[str, str] | None = field(default=None)

    def resource(self) -> dict[str, object]:
        """The JSON object, without keys that have no value."""
        out: dict[str, object] = {"id": self.id, "name": self.name}
        if self.message_list_visibility is not None:
            out["messageListVisibility"] = self.message_list_visibility
        if self.label_list_visibility is not None:
            out["labelListVisibility"] = self.label_list_visibility
        out["type"] = "system" if self.is_system else "user"
        if self.color is not None:
            out["color"] = self.color
        return out


def system_labels() -> dict[str, Label]:
    """The labels that every mailbox has, by id."""
    return {
        name: Label(
            name,
            name,
            is_system=True,
            message_list_visibility=None if name in _SHOWN else "hide",
            label_list_visibility=None if name in _SHOWN else "labelHide",
        )
        for name in SYSTEM_LABELS
    }
