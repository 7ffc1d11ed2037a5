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
_PALETTE = """
    000000 434343 666666 999999 cccccc efefef f3f3f3 ffffff fb4c2f ffad47 fad165 16a766 43d692 4a86e8 a479e2 f691b3
    f6c5be ffe6c7 fef1d1 b9e4d0 c6f3de c9daf8 e4d7f5 fcdee8 efa093 ffd6a2 fce8b3 89d3b2 a0eac9 a4c2f4 d0bcf1 fbc8d9
    e66550 ffbc6b fcda83 44b984 68dfa9 6d9eeb b694e8 f7a7c0 cc3a21 eaa041 f2c960 149e60 3dc789 3c78d8 8e63ce e07798
    ac2b16 cf8933 d5ae49 0b804b 2a9c68 285bac 653e9b b65775 822111 a46a21 aa8831 076239 1a764d 1c4587 41236d 83334c
    464646 e7e7e7 0d3472 b6cff5 0d3b44 98d7e4 3d188e e3d7ff 711a36 fbd3e0 8a1c0a f2b2a8 7a2e0b ffc8af 7a4706 ffdeb5
    594c05 fbe983 684e07 fdedc1 0b4f30 b3efd3 04502e a2dcc1 c2c2c2 4986e7 2da2bb b99aff 994a64 f691b2 ff7537 ffad46
    662e37 ebdbde cca6ac 094228 42d692 16a765 757575 1e53b8 007286 7858c3 c2185b d93025 54240e 633e04 521d28 202124
    083018
"""
LABEL_PALETTE = frozenset(f"#{color}" for color in _PALETTE.split())
"""The colours that a label's text and background may have (LabelColor in the API's reference)."""

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
