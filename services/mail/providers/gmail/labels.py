"""Gmail's system labels: which of them are marks, roles and categories. Source: Gmail API guide, "Manage labels"."""

from collections.abc import Mapping
from typing import Final

from services.mail.marks import MarkIds
from services.mail.model import Label, Role

MARK_IDS: Final = MarkIds(unseen="UNREAD", flagged="STARRED", draft="DRAFT", important="IMPORTANT")
# The ids of categories by the names of the query language.
CATEGORY_IDS: Final[Mapping[str, str]] = {
    "primary": "CATEGORY_PERSONAL",
    "social": "CATEGORY_SOCIAL",
    "promotions": "CATEGORY_PROMOTIONS",
    "updates": "CATEGORY_UPDATES",
    "forums": "CATEGORY_FORUMS",
}
_ROLES: Final[Mapping[str, Role]] = {
    "INBOX": Role.INBOX,
    "SENT": Role.SENT,
    "DRAFT": Role.DRAFTS,
    "SPAM": Role.SPAM,
    "TRASH": Role.TRASH,
}


def role_of(label_id: str) -> Role:
    """Return the role of a label. Gmail has none for an archive: archived messages have no label of their own."""
    return _ROLES.get(label_id, Role.NONE)


# The labels of every mailbox.
SYSTEM_LABELS: Final = tuple(
    Label(label_id=id_, name=id_, type="system", role=role_of(id_))
    for id_ in (
        *("INBOX", "SPAM", "TRASH", "UNREAD", "STARRED", "IMPORTANT", "SENT", "DRAFT", "CHAT"),
        *CATEGORY_IDS.values(),
    )
)
