"""Compares stored messages with the provider's own account, without any of Mailroom's code.

The expected state is replayed from the sandbox's log; subjects and bodies are parsed from the RFC 5322 bytes by
Python's email package; the stored state is read from the tables.
"""

import asyncio
import email
import email.policy
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any

import asyncpg
import httpx

from tests.soak.terms import GmailTerms

type Labels = dict[str, frozenset[str]]

_STORED = """
    SELECT b.email, m.external_id, m.thread_id, m.label_ids, m.subject, c.text, c.html
    FROM mailboxes b JOIN messages m USING (mailbox_id) LEFT JOIN message_contents c USING (mailbox_id, message_id)
"""

_LABELS = """
    SELECT b.email, l.label_id, l.name FROM mailboxes b JOIN labels l USING (mailbox_id) WHERE l.removed_at IS NULL
"""

_UNSETTLED = """
    SELECT b.email, f.path, f.missing_since, f.failing_since, f.restarted_at
    FROM mail_folders f JOIN mailboxes b USING (mailbox_id)
    WHERE NOT f.is_gone AND (f.missing_since IS NOT NULL OR f.failing_since IS NOT NULL)
"""

_LET_MARKS_BE_DUE = """
    UPDATE mail_folders SET state = jsonb_set(state::jsonb, '{marks_at}', '0')::text
    WHERE state::jsonb ->> 'modseq' IS NULL
"""

_STATE = """
    SELECT now(), b.mailbox_id, b.status, to_json(q) AS schedule, to_json(s) AS state,
        (SELECT json_agg(i) FROM (SELECT * FROM fetch_queue WHERE mailbox_id = b.mailbox_id LIMIT 5) i) AS queued
    FROM mailboxes b LEFT JOIN mailbox_schedule q USING (mailbox_id) LEFT JOIN sync_states s USING (mailbox_id)
    WHERE b.email = $1
"""

# Of a mailbox with differences.
_EVIDENCE = (
    *("mailboxes", "syncs", "mailbox_schedule", "sync_states", "folder_histories", "mail_folders", "mail_locations"),
    *("folder_records", "fetch_queue", "message_changes"),
)


@dataclass
class Verdict:
    """Differences as sentences; `messages` were compared."""

    messages: int = 0
    lost: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    contents: list[str] = field(default_factory=list)
    label_names: list[str] = field(default_factory=list)
    threads: list[str] = field(default_factory=list)

    @property
    def differences(self) -> dict[str, list[str]]:
        """The kinds of difference that occurred, each with its cases."""
        kinds = {
            "lost": self.lost,
            "extra": self.extra,
            "duplicated": self.duplicated,
            "labels": self.labels,
            "contents": self.contents,
            "label names": self.label_names,
            "threads": self.threads,
        }
        return {kind: cases for kind, cases in kinds.items() if cases}

    @property
    def addresses(self) -> list[str]:
        """The mailboxes with differences."""
        return sorted({case.partition("/")[0] for cases in self.differences.values() for case in cases})


class ProviderAccount:
    """The sandbox's log, mailboxes and counts."""

    def __init__(self, sandbox_url: str) -> None:
        # The sandbox closes what is idle for 5 s: a request must not meet that.
        limits = httpx.Limits(keepalive_expiry=2)
        self._http = httpx.Client(base_url=f"{sandbox_url}/_sandbox", trust_env=False, timeout=120, limits=limits)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def labels(self, address: str) -> Labels:
        """Return the ids of the messages in a mailbox with their labels."""
        lines = self._lines(f"/users/{address}/messages?sha256=0")
        return {fact["id"]: frozenset(fact["labelIds"]) for fact in lines}

    def threads(self, address: str) -> dict[str, str]:
        """Return the ids of the messages in a mailbox with their threads."""
        return {fact["id"]: fact["threadId"] for fact in self._lines(f"/users/{address}/messages?sha256=0")}

    def log(self, since: int = 0) -> list[dict[str, Any]]:
        """Return the events after a sequence number."""
        return list(self._lines(f"/log?since={since}"))

    def raw(self, address: str, id_: str) -> bytes:
        """Return the RFC 5322 bytes of a message."""
        return self._http.get(f"/users/{address}/messages/{id_}/raw").raise_for_status().content

    def get(self, path: str) -> Any:
        """Return any other part of the control API."""
        return self._http.get(path).raise_for_status().json()

    def _lines(self, path: str) -> Iterator[dict[str, Any]]:
        for line in self._http.get(path).raise_for_status().text.splitlines():
            yield json.loads(line)


def replay(before: Mapping[str, Labels], log: Iterable[Mapping[str, Any]]) -> dict[str, Labels]:
    """Return the mailboxes after the events of the log."""
    now = {address: dict(labels) for address, labels in before.items()}
    for event in log:
        mailbox = now[event["user"]]
        match event["event"]:
            case "messageAdded" | "labelsChanged":
                mailbox[event["id"]] = frozenset(event["labelIds"])
            case "messageDeleted":
                del mailbox[event["id"]]
            case other:
                raise ValueError(f"an event {other} was not planned")
    return now


def check(
    expected: Mapping[str, Labels],
    provider: ProviderAccount,
    *,
    dsn: str,
    terms: Mapping[str, GmailTerms],
    label_names: Mapping[str, Mapping[str, str]],
    linked_threads: Mapping[str, Sequence[tuple[str, str]]],
) -> Verdict:
    """Compare every stored message with the expected one, contents included.

    `terms` are those of each mailbox, by address; `label_names` its users' labels at the provider, and
    `linked_threads` pairs of the provider's threads that messages refer to together.
    """
    rows = asyncio.run(_rows(dsn, _STORED))
    names = _stored_label_names(dsn)
    stored: dict[str, dict[str, asyncpg.Record]] = {address: {} for address in expected}
    verdict = Verdict()
    for row in rows:
        known = stored[row["email"]]
        if row["external_id"] in known:
            verdict.duplicated.append(f"{row['email']}/{row['external_id']}")
        known[row["external_id"]] = row
    for address, labels in expected.items():
        of = terms[address]
        wanted: dict[str, _Expected] = {}
        threads = of.threads(provider.threads(address), linked_threads[address])
        for id_ in labels:
            raw = provider.raw(address, id_)
            wanted[of.id_of(id_, raw)] = _Expected(
                id_, of.labels_of(labels[id_], label_names[address]), raw, threads[id_]
            )
        if len(wanted) != len(labels):
            raise AssertionError(f"messages of {address} cannot be told apart")
        found = {
            id_: _Stored(of.stored_labels(frozenset(row["label_ids"]), names.get(address, {})), row)
            for id_, row in stored[address].items()
        }
        _compare(address, wanted, found, verdict)
        differing = differing_threads(
            {id_: each.thread for id_, each in wanted.items()},
            {id_: each.row["thread_id"] for id_, each in found.items()},
            by_id=of.has_threads,
        )
        verdict.threads += [f"{address}/{each}" for each in differing]
    return verdict


def differing_label_names(
    expected: Mapping[str, Mapping[str, str]], *, dsn: str, terms: Mapping[str, GmailTerms]
) -> list[str]:
    """Compare the names of labels; `expected` has them by id, by address. Other labels do not count."""
    stored = _stored_label_names(dsn)
    different = []
    for address, names in expected.items():
        found = stored.get(address, {})
        # Where the copy has ids of its own, labels are found by their names.
        known = {**found, **{name: name for name in found.values()}}
        for id_, name in terms[address].label_names(names).items():
            if known.get(id_) != name:
                different.append(f"{address}/{id_}: {known.get(id_)}, expected {name}")
    return different


def _stored_label_names(dsn: str) -> dict[str, dict[str, str]]:
    names: dict[str, dict[str, str]] = {}
    for row in asyncio.run(_rows(dsn, _LABELS)):
        names.setdefault(row["email"], {})[row["label_id"]] = row["name"]
    return names


def unsettled_folders(*, dsn: str) -> list[str]:
    """Return the folders of which a history over folders does not know whether they are there, or what they have."""
    return [str(dict(row)) for row in asyncio.run(_rows(dsn, _UNSETTLED))]


def let_marks_be_due(*, dsn: str) -> None:
    """Let the marks of quiet folders be due at once, not within a quarter of an hour, where servers do not number them.

    A star set in a folder in which nothing else happens shows only then.
    """
    asyncio.run(_rows(dsn, _LET_MARKS_BE_DUE))


def describe(address: str, *, dsn: str) -> str:
    """Describe the state of a mailbox's sync, to find the reason of a sync that does not end."""
    return "; ".join(str(dict(row)) for row in asyncio.run(_rows(dsn, _STATE, address)))


def evidence(address: str, provider: ProviderAccount, *, dsn: str) -> Iterator[str]:
    """Yield what both sides know of a mailbox, as lines of JSON: what is wrong shows only there."""
    for table in _EVIDENCE:
        query = f"SELECT to_json(t) FROM {table} t JOIN mailboxes b USING (mailbox_id) WHERE b.email = $1"  # noqa: S608
        for row in asyncio.run(_rows(dsn, query, address)):
            yield json.dumps({"table": table, **json.loads(row[0])})
    for folder in provider.get(f"/users/{address}/folders")["folders"]:
        yield json.dumps({"provider": "folder", **folder})
    for event in provider.log():
        if event["user"] == address:
            yield json.dumps({"provider": "event", **event})


async def _rows(dsn: str, query: str, *args: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetch(query, *args)
    finally:
        await connection.close()


@dataclass(frozen=True, slots=True)
class _Expected:
    """A message at the provider, with its labels in the copy's terms."""

    id: str
    labels: frozenset[str]
    raw: bytes
    thread: str


@dataclass(frozen=True, slots=True)
class _Stored:
    """A message in the copy."""

    labels: frozenset[str]
    row: asyncpg.Record


def _compare(address: str, expected: Mapping[str, _Expected], stored: Mapping[str, _Stored], verdict: Verdict) -> None:
    lost = [(id_, expected[id_]) for id_ in expected.keys() - stored.keys()]
    verdict.lost += [f"{address}/{id_}: {each.id} in {sorted(each.labels)}" for id_, each in lost]
    verdict.extra += [f"{address}/{id_}" for id_ in stored.keys() - expected.keys()]
    for id_ in expected.keys() & stored.keys():
        wanted, found, row = expected[id_], stored[id_].labels, stored[id_].row
        verdict.messages += 1
        if found != wanted.labels or len(found) != len(row["label_ids"]):
            verdict.labels.append(f"{address}/{id_}: {sorted(found)}, expected {sorted(wanted.labels)}")
        if _digest(row["subject"], row["text"], row["html"]) != _digest(*_read(wanted.raw, row["text"])):
            verdict.contents.append(f"{address}/{id_}: {row['subject']}")


def differing_threads(expected: Mapping[str, str], stored: Mapping[str, str], *, by_id: bool) -> list[str]:
    """Compare the threads of messages: which are in one, and `by_id` also the provider's ids. Others do not count."""
    both = expected.keys() & stored.keys()
    wanted, found = (_members({id_: threads[id_] for id_ in both}) for threads in (expected, stored))
    return [
        f"{id_}: {stored[id_]}, apart from it or only there {sorted(wanted[expected[id_]] ^ found[stored[id_]])[:5]}"
        for id_ in sorted(both)
        if wanted[expected[id_]] != found[stored[id_]] or (by_id and expected[id_] != stored[id_])
    ]


def _members(threads: Mapping[str, str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for id_, thread in threads.items():
        found.setdefault(thread, set()).add(id_)
    return found


def _read(data: bytes, stored_text: str | None) -> tuple[str | None, str | None, str | None]:
    """Return subject, text and HTML; text that Mailroom derives from HTML counts as given."""
    message = email.message_from_bytes(data, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    plain, html = message.get_body(("plain",)), message.get_body(("html",))
    text = stored_text if plain is None else plain.get_content()
    return message["subject"], text, None if html is None else html.get_content()


def _digest(*values: str | None) -> str:
    """Return SHA-256 over the values; folding of white space does not count."""
    folded = [None if value is None else " ".join(str(value).split()) for value in values]
    return hashlib.sha256(json.dumps(folded).encode()).hexdigest()
