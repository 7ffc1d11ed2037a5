"""Generated mail of a mailbox, newest first, the same in every run."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from benchmarks.read_ways.words import Words
from services.mail.content.model import Address, Attachment, ParsedMessage
from services.mail.marks import Mark
from services.mail.model import Label, ProviderMessage
from services.mail.providers.gmail.labels import role_of
from services.mail.providers.label_ids import mark_ids

NEWEST = datetime(2026, 6, 1, tzinfo=UTC)
YEARS = 5
_SYSTEM = ("INBOX", "UNREAD", "STARRED", "IMPORTANT", "SENT", "SPAM", "TRASH", "CATEGORY_PROMOTIONS")
_SHARES = (0.7, 0.15, 0.02, 0.2, 0.15, 0.03, 0.02, 0.25)
_FOLDERS = 12
LABELS = [
    *(Label(label_id=name, name=name, type="system", role=role_of(name)) for name in _SYSTEM),
    *(Label(label_id=f"Label_{number}", name=f"Folder/{number}", type="user") for number in range(_FOLDERS)),
]
_CONTACTS = 200
_SNIPPET = 120
_FILES = (("report.pdf", "application/pdf"), ("photo.jpg", "image/jpeg"), ("figures.xlsx", "application/vnd.ms-excel"))


def mail_of(number: int, count: int, words: Words, *, email: str) -> Iterator[ProviderMessage]:
    """Return `count` messages over five years in the mailbox of that number and address."""
    seed = random.Random(number)
    contacts = [_contact(words, seed) for _ in range(_CONTACTS)]
    step = timedelta(days=365 * YEARS) / count
    threads: list[str] = []
    for at in range(count):
        if not threads or seed.random() < 0.6:
            threads = [*threads[-50:], f"{number:04x}{at:08x}"]
        yield _message(
            f"{number:04x}{at:08x}",
            seed.choice(threads),
            NEWEST - step * at,
            words,
            contacts,
            Address("Me", email),
            seed,
        )


def _contact(words: Words, seed: random.Random) -> Address:
    first, last, host = (seed.choice(words.vocabulary[:5000]) for _ in range(3))
    return Address(f"{first.title()} {last.title()}", f"{first}.{last}@{host}.example")


def _message(
    external_id: str,
    thread_id: str,
    received_at: datetime,
    words: Words,
    contacts: list[Address],
    me: Address,
    seed: random.Random,
) -> ProviderMessage:
    sender, *others = seed.choices(contacts, k=seed.randint(1, 4))
    # A number that is in no other message, like those of orders and invoices in real mail.
    text = f"{words.text(int(seed.lognormvariate(4.4, 0.7)), seed)} Nr. {seed.getrandbits(40)}"
    attached = seed.random() < 0.12
    labels = mark_ids("google").read(_labels(seed))
    name, mime_type = seed.choice(_FILES)
    return ProviderMessage(
        external_id=external_id,
        thread_id=thread_id,
        version=seed.randrange(1, 10**7),
        received_at=received_at,
        label_ids=labels.label_ids,
        marks=labels.marked | ({Mark.SEEN} - labels.unmarked),
        snippet=text[:_SNIPPET],
        size=len(text) + 2000 + attached * 100_000,
        content=ParsedMessage(
            headers=(("From", f"{sender.name} <{sender.email}>"), ("Message-ID", f"<{external_id}@mail.example>")),
            from_=sender,
            authors=(sender,),
            to=(me,),
            cc=tuple(others),
            bcc=(),
            reply_to=(),
            subject=words.text(seed.randint(2, 8), seed),
            sent_at=received_at,
            message_id=f"{external_id}@mail.example",
            in_reply_to=None,
            references=(),
            text=text,
            html=f"<p>{text}</p>" if seed.random() < 0.3 else None,
            text_from_html=False,
            attachments=(Attachment("1", name, mime_type, 100_000, False, None),) if attached else (),
            calendar=(),
            encrypted=False,
            truncated=False,
            defects=(),
            missing_parts=(),
        ),
    )


def _labels(seed: random.Random) -> tuple[str, ...]:
    system = [name for name, share in zip(_SYSTEM, _SHARES, strict=True) if seed.random() < share]
    folder = [f"Label_{seed.randrange(_FOLDERS)}"] if seed.random() < 0.3 else []
    return tuple(sorted((*system, *folder)))
