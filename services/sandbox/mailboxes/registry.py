"""All mailboxes, by the user's `sub`."""

import gc
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from random import Random

from services.sandbox.clock import Clock
from services.sandbox.generate.generator import Generator
from services.sandbox.generate.message_plan import REPLY_WINDOW
from services.sandbox.generate.phrases import USER_LABELS
from services.sandbox.generate.seeded_random import SeededRandom
from services.sandbox.instruments.audit_log import AuditLog
from services.sandbox.mailboxes.history import Change
from services.sandbox.mailboxes.labels import Label, LabelScheme
from services.sandbox.mailboxes.mailbox import Mailbox, Message
from services.sandbox.mailboxes.user import User

DAY_MS = 86_400_000
MESSAGES_PER_DAY = 20
"""Rate at which a generated mailbox was filled."""
MAX_DAYS = 12 * 365
MIN_DAYS = 14
COLLECTION_THRESHOLD = 50_000
"""Generating at least this many messages pauses the garbage collector."""


def _ignore_change(_mailbox: Mailbox, _change: Change) -> None:
    """Default listener of changes."""


@contextmanager
def _garbage_collection_paused(messages: int) -> Iterator[None]:
    """Keep the garbage collector from walking a million lasting objects while they are made, and ever after."""
    if messages < COLLECTION_THRESHOLD:
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
    """Creates mailboxes on first use and generates their mail."""

    def __init__(self, *, clock: Clock, seed: int, retention: float, log: AuditLog, label_scheme: LabelScheme) -> None:
        self.log = log
        self.changed: Callable[[Mailbox, Change], None] = _ignore_change
        self._clock = clock
        self._seed = seed
        self._retention = retention
        self._label_scheme = label_scheme
        self._by_sub: dict[str, Mailbox] = {}
        self._recent_threads: dict[str, deque[str]] = {}

    def of(self, user: User) -> Mailbox:
        """Return the user's mailbox, an empty one for a new user."""
        mailbox = self._by_sub.get(user.sub)
        if mailbox is None:
            mailbox = self._by_sub[user.sub] = self._new(
                user, Generator(seed=self._seed, email=user.email, name=user.name)
            )
        mailbox.email = user.email
        return mailbox

    def populate(self, user: User, *, messages: int, seed: int | None, ugly: bool) -> int:
        """Generate mail that predates the sandbox. Returns the number of messages in the mailbox."""
        mailbox = self.of(user)
        if not mailbox.generated:
            chosen = self._seed if seed is None else seed
            mailbox.composer = Generator(seed=chosen, email=user.email, name=user.name, ugly=ugly)
        for i, name in enumerate(USER_LABELS, start=1):
            mailbox.labels.setdefault(f"Label_{i}", Label(f"Label_{i}", name))
        with _garbage_collection_paused(messages):
            mailbox.load(self._existing_messages(mailbox, messages))
        return len(mailbox.messages)

    def count(self, user: User) -> int:
        """Return the number of messages in the mailbox."""
        mailbox = self._by_sub.get(user.sub)
        return 0 if mailbox is None else len(mailbox.messages)

    def drop(self, user: User) -> None:
        """Delete the mailbox."""
        self._by_sub.pop(user.sub, None)
        self._recent_threads.pop(user.sub, None)

    def deliver(self, mailbox: Mailbox, count: int) -> list[Message]:
        """Generate `count` messages that arrive now."""
        arrived = []
        for index in range(mailbox.generated, mailbox.generated + count):
            plan = self._generator(mailbox).plan(index)
            labels = self._label_scheme.labels_of(replace(plan, is_unread=plan.folder != "sent"))
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
            labels=self._label_scheme.system_labels(),
            changed=lambda mailbox, change: self.changed(mailbox, change),
        )

    def _generator(self, mailbox: Mailbox) -> Generator:
        composer = mailbox.composer
        if not isinstance(composer, Generator):
            raise TypeError("this mailbox is not a generated one")
        return composer

    def _recent(self, mailbox: Mailbox) -> deque[str]:
        return self._recent_threads.setdefault(mailbox.sub, deque(maxlen=REPLY_WINDOW))

    def _thread(self, mailbox: Mailbox, index: int, parent: int | None) -> str | None:
        recent = self._recent(mailbox)
        if parent is None or index - parent > len(recent):
            return None
        return recent[parent - index]

    def _existing_messages(self, mailbox: Mailbox, count: int) -> list[Message]:
        generator = self._generator(mailbox)
        first = mailbox.generated
        now_ms = int(self._clock.now() * 1000)
        span = min(max(count // MESSAGES_PER_DAY, MIN_DAYS), MAX_DAYS) * DAY_MS
        step = span // max(count, 1)
        out = []
        for i in range(count):
            plan = generator.plan(first + i)
            date_ms = now_ms - span + i * step + SeededRandom(b"date", first + i).below(max(step, 1))
            name = mailbox.new_id(date_ms)
            thread_id = self._thread(mailbox, first + i, plan.parent) or name
            self._recent(mailbox).append(thread_id)
            labels = mailbox.shared_labels(self._label_scheme.labels_of(plan))
            message = Message(name, thread_id, labels, mailbox.history.next_id(), date_ms, first + i)
            out.append(message)
        mailbox.generated += count
        return out
