"""Gmail's system labels, label resources, and labels of generated messages.

Source: "Manage labels" of the Gmail API guide.
"""

from services.sandbox.generate.message_plan import MessagePlan
from services.sandbox.mailboxes.labels import Label, LabelScheme

SPAM_AND_TRASH = frozenset({"SPAM", "TRASH"})
"""Labels whose messages a listing leaves out by default."""
FIXED = frozenset({"SENT", "DRAFT"})
"""Labels that the API neither adds nor removes."""
MAX_LABELS = 10_000

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
_HIDDEN_ATTRIBUTES = {"messageListVisibility": "hide", "labelListVisibility": "labelHide"}
_FOLDER_LABELS = {"inbox": "INBOX", "sent": "SENT", "spam": "SPAM", "trash": "TRASH"}
_CATEGORIES = {
    "newsletter": "CATEGORY_PROMOTIONS",
    "notification": "CATEGORY_UPDATES",
    "social": "CATEGORY_SOCIAL",
    "forum": "CATEGORY_FORUMS",
    "bounce": "CATEGORY_UPDATES",
}


class GmailLabels(LabelScheme):
    """The label scheme of Gmail."""

    def system_labels(self) -> dict[str, Label]:
        """Return new system labels by id. Shown ones have no visibility attributes, as in Google's responses."""
        return {
            name: Label(name, name, is_system=True, attributes={} if name in _SHOWN else {**_HIDDEN_ATTRIBUTES})
            for name in SYSTEM_LABELS
        }

    def labels_of(self, plan: MessagePlan) -> frozenset[str]:
        """Return the label ids of a generated message."""
        labels = {
            "UNREAD": plan.is_unread,
            "IMPORTANT": plan.is_important,
            "STARRED": plan.is_starred,
            _FOLDER_LABELS.get(plan.folder, ""): plan.folder in _FOLDER_LABELS,
            _CATEGORIES.get(plan.kind, "CATEGORY_PERSONAL"): plan.is_categorised,
            f"Label_{plan.user_label}": plan.user_label is not None,
        }
        return frozenset(label for label, is_set in labels.items() if is_set)


def label_resource(label: Label) -> dict[str, object]:
    """Return a label as `labels.get` shows it, without counters."""
    return {"id": label.id, "name": label.name, "type": "system" if label.is_system else "user"} | label.attributes
