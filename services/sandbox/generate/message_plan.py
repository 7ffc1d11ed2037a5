"""What each message of generated mail is, planned from a hash of its number: kind, thread, labels.

So a message can name its parent without any other message existing in memory.
"""

from dataclasses import dataclass

from services.sandbox.generate.phrases import USER_LABELS
from services.sandbox.generate.seeded_random import Draws

REACH = 30
"""A reply answers one of so many messages before it."""

KINDS = (
    ["personal"] * 36
    + ["sent"] * 14
    + ["newsletter"] * 13
    + ["notification"] * 16
    + ["social"] * 5
    + ["forum"] * 9
    + ["spam"] * 4
    + ["invitation", "bounce", "forward"]
)
CONVERSATIONS = frozenset({"personal", "sent", "forum"})
_CATEGORY = {
    "newsletter": "CATEGORY_PROMOTIONS",
    "notification": "CATEGORY_UPDATES",
    "social": "CATEGORY_SOCIAL",
    "forum": "CATEGORY_FORUMS",
    "invitation": "CATEGORY_PERSONAL",
    "bounce": "CATEGORY_UPDATES",
    "forward": "CATEGORY_PERSONAL",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What a generated message is, before any of its words exist."""

    kind: str
    parent: int | None
    labels: frozenset[str]


class Planner:
    """The plans of one mailbox; `key` is what its hashes are made with."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def plan(self, index: int) -> Plan:
        """Kind, parent and labels of a message."""
        draws = Draws(self._key, index)
        kind = draws.choice(KINDS)
        return Plan(kind, self._parent(index, kind, draws), _labels(kind, draws))

    def _parent(self, index: int, kind: str, draws: Draws) -> int | None:
        if kind not in CONVERSATIONS or draws.chance(10):
            return None
        parent = index - 1 - draws.below(REACH)
        if parent < 0:
            return None
        before = Draws(self._key, parent).choice(KINDS)
        same_circle = (before == "forum") == (kind == "forum")
        return parent if before in CONVERSATIONS and same_circle else None

    def chain(self, index: int) -> list[int]:
        """The message and its ancestors, itself first, the thread's first message last."""
        out = [index]
        while True:
            draws = Draws(self._key, out[-1])
            parent = self._parent(out[-1], draws.choice(KINDS), draws)
            if parent is None:
                return out
            out.append(parent)


def _labels(kind: str, draws: Draws) -> frozenset[str]:
    if kind == "sent":
        return frozenset({"SENT"})
    if kind == "spam":
        return frozenset({"SPAM", "UNREAD"}) if draws.chance(70) else frozenset({"SPAM"})
    unread = {"UNREAD"} if draws.chance(14) else set()
    if draws.chance(3):
        return frozenset({"TRASH"} | unread)
    if kind == "personal" and draws.chance(12):
        return frozenset(unread)
    labels = unread | {_CATEGORY.get(kind, "CATEGORY_PERSONAL")}
    if draws.chance(70):
        labels.add("INBOX")
    if kind in CONVERSATIONS and draws.chance(40):
        labels.add("IMPORTANT")
    if draws.chance(3):
        labels.add("STARRED")
    if draws.chance(18):
        labels.add(f"Label_{1 + draws.below(len(USER_LABELS))}")
    return frozenset(labels)
