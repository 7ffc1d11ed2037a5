"""All mailboxes, by the user's `sub`. A user without one has an empty one."""

import gc
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

from services.sandbox.generate.generator import Generator
from services.sandbox.generate.message_plan import REACH
from services.sandbox.generate.phrases import USER_LABELS
from services.sandbox.generate.seeded_random import SeededRandom
from services.sandbox.google.oauth.users import User
from services.sandbox.instruments.audit_log import AuditLog, Now
from services.sandbox.mailboxes.history import Change
from services.sandbox.mailboxes.labels import Label
from services.sandbox.mailboxes.mailbox import Mailbox, Message

DAY_MS = 86_400_000
PER_DAY = 20
"""A generated mailbox got about so many messages a day."""
MAX_DAYS = 12 * 365
MIN_DAYS = 14
MANY = 50_000
"""From so many messages on, the garbage collector rests while they are made and does not walk them again."""


def _nobody_listens(_mailbox: Mailbox, _change: Change) -> None:
    """Before push is connected."""


@contextmanager
def _collector_at_rest(messages: int) -> Iterator[None]:
    """A million new objects that all stay would be walked over and over, while they are made and ever after."""
    if messages < MANY:
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


class Mailboxes:
    """The registry, and the place where generated mail enters."""

    def __init__(self, *, clock: Now, seed: int, retention: float, log: AuditLog) -> None:
        self.log = log
        self.changed: Callable[[Mailbox, Change], None] = _nobody_listens
        self._clock = clock
        self._seed = seed
        self._retention = retention
        self._by_sub: dict[str, Mailbox] = {}
        self._recent_threads: dict[str, deque[str]] = {}

    def of(self, user: User) -> Mailbox:
        """The user's mailbox."""
        mailbox = self._by_sub.get(user.sub)
        if mailbox is None:
            mailbox = self._by_sub[user.sub] = self._new(
                user, Generator(seed=self._seed, email=user.email, name=user.name)
            )
        mailbox.email = user.email
        return mailbox

    def populate(self, user: User, *, messages: int, seed: int | None, ugly: bool) -> int:
        """Generate mail that was always there; returns how many messages the mailbox holds."""
        mailbox = self.of(user)
        if not mailbox.generated:
            chosen = self._seed if seed is None else seed
            mailbox.composer = Generator(seed=chosen, email=user.email, name=user.name, ugly=ugly)
        for i, name in enumerate(USER_LABELS, start=1):
            mailbox.labels.setdefault(f"Label_{i}", Label(f"Label_{i}", name))
        with _collector_at_rest(messages):
            mailbox.load(self._always_there(mailbox, messages))
        return len(mailbox.messages)

    def count(self, user: User) -> int:
        """How many messages the mailbox holds."""
        mailbox = self._by_sub.get(user.sub)
        return 0 if mailbox is None else len(mailbox.messages)

    def drop(self, user: User) -> None:
        """Forget the mailbox."""
        self._by_sub.pop(user.sub, None)
        self._recent_threads.pop(user.sub, None)

    def deliver(self, mailbox: Mailbox, count: int) -> list[Message]:
        """Generate `count` messages that arrive now."""
        arrived = []
        for index in range(mailbox.generated, mailbox.generated + count):
            plan = self._generator(mailbox).plan(index)
            labels = plan.labels if "SENT" in plan.labels else plan.labels | {"UNREAD"}
            arrived.append(mailbox.add(index, labels=labels, thread_id=self._thread(mailbox, index, plan.parent)))
            self._recent(mailbox).append(arrived[-1].thread_id)
        mailbox.generated += count
        return arrived

    def _new(self, user: User, generator: Generator) -> Mailbox:
        return Mailbox(
            sub=user.sub,
            email=user.email,
            clock=self._clock,
            random=Random(f"{self._seed}:{user.sub}"),  # noqa: S311 - reproducible by design
            retention=self._retention,
            log=self.log,
            composer=generator,
            changed=lambda mailbox, change: self.changed(mailbox, change),
        )

    def _generator(self, mailbox: Mailbox) -> Generator:
        composer = mailbox.composer
        if not isinstance(composer, Generator):
            raise TypeError("this mailbox is not a generated one")
        return composer

    def _recent(self, mailbox: Mailbox) -> deque[str]:
        return self._recent_threads.setdefault(mailbox.sub, deque(maxlen=REACH))

    def _thread(self, mailbox: Mailbox, index: int, parent: int | None) -> str | None:
        recent = self._recent(mailbox)
        if parent is None or index - parent > len(recent):
            return None
        return recent[parent - index]

    def _always_there(self, mailbox: Mailbox, count: int) -> list[Message]:
        generator = self._generator(mailbox)
        first = mailbox.generated
        now_ms = int(self._clock.now() * 1000)
        span = min(max(count // PER_DAY, MIN_DAYS), MAX_DAYS) * DAY_MS
        step = span // max(count, 1)
        out = []
        for i in range(count):
            plan = generator.plan(first + i)
            date_ms = now_ms - span + i * step + SeededRandom(b"date", first + i).below(max(step, 1))
            name = mailbox.new_id(date_ms)
            thread_id = self._thread(mailbox, first + i, plan.parent) or name
            self._recent(mailbox).append(thread_id)
            labels = mailbox.shared_labels(plan.labels)
            message = Message(name, thread_id, labels, mailbox.history.next_id(), date_ms, first + i)
            out.append(message)
        mailbox.generated += count
        return out
