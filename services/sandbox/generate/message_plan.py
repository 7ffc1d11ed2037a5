"""Plans of generated messages, from a hash of each message's number.

A message can name its parent although no other message exists in memory.
"""

from dataclasses import dataclass
from typing import Literal

from services.sandbox.generate.phrases import USER_LABELS
from services.sandbox.generate.seeded_random import SeededRandom

REPLY_WINDOW = 30
"""A reply refers to one of this many messages before it."""

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
Folder = Literal["inbox", "archive", "sent", "spam", "trash"]


@dataclass(frozen=True, slots=True)
class MessagePlan:
    """Kind, thread and state of a generated message, before its text exists.

    `parent` is the number of the message that it replies to, `user_label` the number of a user's label, from 1.
    """

    kind: str
    parent: int | None
    folder: Folder
    is_unread: bool = False
    is_categorised: bool = False
    is_important: bool = False
    is_starred: bool = False
    user_label: int | None = None


class MessagePlanner:
    """Plans the messages of one mailbox; `key` keys the hashes."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def plan(self, index: int) -> MessagePlan:
        """Return the plan of the message with this number."""
        random = SeededRandom(self._key, index)
        kind = random.choice(KINDS)
        return _plan(kind, self._parent(index, kind, random), random)

    def _parent(self, index: int, kind: str, random: SeededRandom) -> int | None:
        if kind not in CONVERSATIONS or random.chance(10):
            return None
        parent = index - 1 - random.below(REPLY_WINDOW)
        if parent < 0:
            return None
        before = SeededRandom(self._key, parent).choice(KINDS)
        same_circle = (before == "forum") == (kind == "forum")
        return parent if before in CONVERSATIONS and same_circle else None

    def ancestry(self, index: int) -> list[int]:
        """Return the numbers of the message and its ancestors, itself first, the thread's first message last."""
        out = [index]
        while True:
            random = SeededRandom(self._key, out[-1])
            parent = self._parent(out[-1], random.choice(KINDS), random)
            if parent is None:
                return out
            out.append(parent)


def _plan(kind: str, parent: int | None, random: SeededRandom) -> MessagePlan:
    if kind == "sent":
        return MessagePlan(kind, parent, "sent")
    if kind == "spam":
        return MessagePlan(kind, parent, "spam", is_unread=random.chance(70))
    is_unread = random.chance(14)
    if random.chance(3):
        return MessagePlan(kind, parent, "trash", is_unread)
    if kind == "personal" and random.chance(12):
        return MessagePlan(kind, parent, "archive", is_unread)
    return MessagePlan(
        kind,
        parent,
        folder="inbox" if random.chance(70) else "archive",
        is_unread=is_unread,
        is_categorised=True,
        is_important=kind in CONVERSATIONS and random.chance(40),
        is_starred=random.chance(3),
        user_label=1 + random.below(len(USER_LABELS)) if random.chance(18) else None,
    )
