"""What each message of generated mail is, planned from a hash of its number: kind, thread, labels.

So a message can name its parent without any other message existing in memory.
"""

from dataclasses import dataclass

from services.sandbox.generate.phrases import USER_LABELS
from services.sandbox.generate.seeded_random import SeededRandom

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
class MessagePlan:
    """What a generated message is, before any of its words exist."""

    kind: str
    parent: int | None
    labels: frozenset[str]


class MessagePlanner:
    """The plans of one mailbox; `key` is what its hashes are made with."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def plan(self, index: int) -> MessagePlan:
        """Kind, parent and labels of a message."""
        random = SeededRandom(self._key, index)
        kind = random.choice(KINDS)
        return MessagePlan(kind, self._parent(index, kind, random), _labels(kind, random))

    def _parent(self, index: int, kind: str, random: SeededRandom) -> int | None:
        if kind not in CONVERSATIONS or random.chance(10):
            return None
        parent = index - 1 - random.below(REACH)
        if parent < 0:
            return None
        before = SeededRandom(self._key, parent).choice(KINDS)
        same_circle = (before == "forum") == (kind == "forum")
        return parent if before in CONVERSATIONS and same_circle else None

    def chain(self, index: int) -> list[int]:
        """The message and its ancestors, itself first, the thread's first message last."""
        out = [index]
        while True:
            random = SeededRandom(self._key, out[-1])
            parent = self._parent(out[-1], random.choice(KINDS), random)
            if parent is None:
                return out
            out.append(parent)


def _labels(kind: str, random: SeededRandom) -> frozenset[str]:
    if kind == "sent":
        return frozenset({"SENT"})
    if kind == "spam":
        return frozenset({"SPAM", "UNREAD"}) if random.chance(70) else frozenset({"SPAM"})
    unread = {"UNREAD"} if random.chance(14) else set()
    if random.chance(3):
        return frozenset({"TRASH"} | unread)
    if kind == "personal" and random.chance(12):
        return frozenset(unread)
    labels = unread | {_CATEGORY.get(kind, "CATEGORY_PERSONAL")}
    if random.chance(70):
        labels.add("INBOX")
    if kind in CONVERSATIONS and random.chance(40):
        labels.add("IMPORTANT")
    if random.chance(3):
        labels.add("STARRED")
    if random.chance(18):
        labels.add(f"Label_{1 + random.below(len(USER_LABELS))}")
    return frozenset(labels)
