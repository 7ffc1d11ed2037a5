"""Generated mail. Each message is composed from the seed and its number when it is read; only the number is stored."""

from random import Random

from services.sandbox.generate.correspondents import Correspondence
from services.sandbox.generate.malformed_mail import malformed_message
from services.sandbox.generate.message_plan import MessagePlan, MessagePlanner
from services.sandbox.generate.message_writer import MessageWriter
from services.sandbox.generate.seeded_random import SeededRandom
from services.sandbox.mime.content import Content, StoredContent


class Generator:
    """The mail of one user. `index` counts from 0 for the oldest message."""

    def __init__(self, *, seed: int, email: str, name: str, ugly: bool = False) -> None:
        root = f"{seed}:{email}".encode()[:48]
        self._planner = MessagePlanner(b"plan:" + root)
        random = Random(f"{seed}:{email}")  # noqa: S311 - reproducible by design
        self._mail = Correspondence(b"text:" + root, random, email=email, name=name)
        self._ugly = ugly

    def plan(self, index: int) -> MessagePlan:
        """Return the plan of the message with this number."""
        return self._planner.plan(index)

    def content(self, index: int, *, date_ms: int) -> Content:
        """Compose the message with this number; `date_ms` is its arrival in epoch ms."""
        if self._ugly and index % 6 == 5:
            random = SeededRandom(self._mail.key, index)
            return StoredContent(malformed_message(index // 6, random=random, to=self._mail.email, date_ms=date_ms))
        plan = self._planner.plan(index)
        ancestry = self._planner.ancestry(index) if plan.parent is not None else [index]
        return MessageWriter(self._mail, plan.kind, ancestry, date_ms=date_ms).compose()
