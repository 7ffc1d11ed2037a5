"""Changes of mail by its users while services fail: a seeded stream at the provider."""

import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

_SYSTEM_LABELS = ("UNREAD", "STARRED", "INBOX", "IMPORTANT", "SPAM", "TRASH")
_FOLDERS = ("INBOX", "SENT", "ARCHIVE", "TRASH")
_WORDS = [
    "harbour",
    "lantern",
    "ledger",
    "orchard",
    "отчёт",
    "встреча",
    "счёт",
    "会议",
    "資料",
    "café",
    "naïve",
    "größe",
]


@dataclass
class _Known:
    """The state of one mailbox at the provider as this stream knows it."""

    email: str
    ids: list[str]
    drafts: list[str] = field(default_factory=list)
    # Names by id.
    labels: dict[str, str] = field(default_factory=dict)
    # Message ids of delivered messages, each with the thread that it got.
    threads: dict[str, str] = field(default_factory=dict)
    # Pairs of threads with a message that refers to both.
    linked: list[tuple[str, str]] = field(default_factory=list)


class Traffic:
    """Deliveries, relabels, deletions, drafts, labels, expired tokens and lost history through the control API."""

    def __init__(
        self,
        control_url: str,
        mailboxes: Mapping[str, Sequence[str]],
        *,
        folders: Mapping[str, Mapping[str, str]],
        seed: int,
        rate: float,
    ) -> None:
        """`mailboxes` has the ids of the messages in each, by address; `rate` is in changes per second.

        `folders` has names by id of the mailboxes over IMAP, by address.
        """
        self.done: Counter[str] = Counter()
        # The sandbox closes what is idle for 5 s: a request must not meet that.
        limits = httpx.Limits(keepalive_expiry=2)
        self._http = httpx.Client(base_url=control_url, trust_env=False, timeout=30, limits=limits)
        self._mailboxes = [
            _Known(email, list(ids), labels=dict(folders.get(email, {}))) for email, ids in mailboxes.items()
        ]
        self._with_folders = [known for known in self._mailboxes if known.email in folders]
        self._random = random.Random(seed)
        self._pause = 1 / rate
        self._choices: list[tuple[Callable[[_Known], None], int]] = [
            (self._deliver, 30),
            (self._deliver_many, 15),
            (self._deliver_link, 4),
            (self._relabel, 30),
            (self._delete, 10),
            (self._save_draft, 15),
            (self._create_label, 2),
            (self._rename_label, 2),
            (self._delete_label, 1),
            (self._expire_tokens, 2),
            (self._lose_history, 1),
            (self._renumber, 1),
            (self._drop_connections, 1),
        ]

    @property
    def label_names(self) -> dict[str, dict[str, str]]:
        """The users' labels at the provider: names by id, by address."""
        return {known.email: known.labels for known in self._mailboxes}

    @property
    def linked_threads(self) -> dict[str, list[tuple[str, str]]]:
        """Pairs of threads at the provider that messages refer to together, by address."""
        return {known.email: known.linked for known in self._mailboxes}

    def run(self, stop: threading.Event) -> None:
        """Change mailboxes until `stop` is set. Raises httpx.HTTPError when the sandbox refuses."""
        with self._http:
            actions, weights = zip(*self._choices, strict=True)
            for action in actions:
                action(self._random.choice(self._mailboxes))
            while not stop.wait(self._random.expovariate(1 / self._pause)):
                [action] = self._random.choices(actions, weights)
                action(self._random.choice(self._mailboxes))

    def _deliver(self, known: _Known) -> None:
        subject = " ".join(self._random.choices(_WORDS, k=4))
        text = "\n".join(" ".join(self._random.choices(_WORDS, k=8)) for _ in range(self._random.randint(1, 20)))
        mail = {"from": "Bob <bob@example.net>", "subject": subject, "text": text}
        message_id = f"{self._random.randrange(10**12)}@soak.example"
        [message] = self._post(known, "messages", mail | {"headers": [["Message-ID", f"<{message_id}>"]]})["messages"]
        known.ids.append(message["id"])
        known.threads[message_id] = message["threadId"]
        self.done["delivered"] += 1

    def _deliver_link(self, known: _Known) -> None:
        """Deliver a message that refers to two others, which it joins in one thread. It is never deleted."""
        if len(known.threads) > 1:
            chosen = self._random.sample(sorted(known.threads), 2)
            references = " ".join(f"<{each}>" for each in chosen)
            mail = {"subject": "link", "text": "Both of them", "headers": [["References", references]]}
            [message] = self._post(known, "messages", mail)["messages"]
            threads = [known.threads[each] for each in chosen]
            known.linked += [(thread, message["threadId"]) for thread in threads]
            self.done["threads linked"] += 1

    def _deliver_many(self, known: _Known) -> None:
        ids = self._ids(self._post(known, "messages", {"count": self._random.randint(1, 12)}))
        known.ids += ids
        self.done["delivered"] += len(ids)

    def _relabel(self, known: _Known) -> None:
        if known.ids:
            labels = [*_SYSTEM_LABELS, *known.labels]
            add, remove = self._random.sample(labels, 2)
            path = f"messages/{self._random.choice(known.ids)}/labels"
            self._post(known, path, {"add": [add], "remove": [remove]})
            self.done["relabelled"] += 1

    def _delete(self, known: _Known) -> None:
        if known.ids:
            id_ = known.ids.pop(self._random.randrange(len(known.ids)))
            self._http.delete(f"/users/{known.email}/messages/{id_}").raise_for_status()
            self.done["deleted"] += 1

    def _save_draft(self, known: _Known) -> None:
        body = {"to": "bob@example.net", "subject": " ".join(self._random.choices(_WORDS, k=3)), "text": "Not yet"}
        if known.drafts and self._random.random() < 0.7:
            path = f"/users/{known.email}/drafts/{self._random.choice(known.drafts)}"
            self._http.put(path, json=body).raise_for_status()
        else:
            known.drafts.append(self._post(known, "drafts", body)["id"])
        self.done["drafts saved"] += 1

    def _create_label(self, known: _Known) -> None:
        name = f"{self._random.choice(_WORDS)} {self._random.randrange(10**9)}"
        known.labels[self._post(known, "labels", {"name": name})["id"]] = name
        self.done["labels created"] += 1

    def _rename_label(self, known: _Known) -> None:
        if known.labels:
            label, name = self._random.choice([*known.labels]), f"renamed {self._random.randrange(10**9)}"
            answer = self._http.patch(f"/users/{known.email}/labels/{label}", json={"name": name})
            answer.raise_for_status()
            known.labels[label] = name
            self.done["labels renamed"] += 1

    def _delete_label(self, known: _Known) -> None:
        if known.labels:
            label = self._random.choice([*known.labels])
            del known.labels[label]
            self._http.delete(f"/users/{known.email}/labels/{label}").raise_for_status()
            self.done["labels deleted"] += 1

    def _expire_tokens(self, known: _Known) -> None:
        self._post(known, "tokens/expire", None)
        self.done["tokens expired"] += 1

    def _lose_history(self, known: _Known) -> None:
        self._post(known, "history/expire", None)
        self.done["cursors lost"] += 1

    def _renumber(self, _: _Known) -> None:
        if self._with_folders:
            known = self._random.choice(self._with_folders)
            self._post(known, f"folders/{self._random.choice([*_FOLDERS, *known.labels])}/reset", None)
            self.done["folders numbered anew"] += 1

    def _drop_connections(self, _: _Known) -> None:
        if self._with_folders:
            known = self._random.choice(self._with_folders)
            self._http.delete(f"/users/{known.email}/connections").raise_for_status()
            self.done["connections dropped"] += 1

    def _post(self, known: _Known, path: str, body: object) -> Any:
        answer = self._http.post(f"/users/{known.email}/{path}", json=body)
        return answer.raise_for_status().json() if answer.content else None

    @staticmethod
    def _ids(answer: Any) -> list[str]:
        return [message["id"] for message in answer["messages"]]
