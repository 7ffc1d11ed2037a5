"""A short soak of one mailbox: mail changes at random while the server fails, connections drop and a worker dies."""

import random

import pytest

from tests.support.imap.mailbox_stage import ImapStage, open_imap_stage
from tests.support.mail.servers import Servers
from tests.support.sandbox.imap_servers import EMAIL

# Operations between two looks of the worker, and rounds of these, unless a fault has not struck by then.
OPERATIONS, ROUNDS, MOST_ROUNDS = 6, 6, 40
# Seconds: mail waits for the connection of a dead worker, and for repeated calls.
LONGEST = 120.0
FAULTS = [
    ("imap.fetch", "duplicate_uids"),
    ("imap.status", "stale_status"),
    ("imap.search", "bye"),
    ("imap.fetch", "cut_literal"),
    ("imap.examine", "lost_response"),
    ("imap.examine", "lying_exists"),
    ("imap.list", "truncate"),
    ("imap.fetch", "error"),
]


class Storm:
    """Changes of Ada's mailbox in a seeded order; messages are known by their ids at the server."""

    def __init__(self, stage: ImapStage, folders: list[str], *, seed: int) -> None:
        self._stage = stage
        self._folders = ["INBOX", "TRASH", *folders]
        self._random = random.Random(seed)
        self._ids: list[str] = []

    async def change(self, number: int) -> None:
        """Deliver a message, or move, mark or delete one."""
        action = self._random.choice([self._deliver, self._deliver, self._move, self._mark, self._delete])
        await (action if self._ids else self._deliver)(number)

    async def _deliver(self, number: int) -> None:
        folder = self._random.choice(self._folders)
        subject = f"message {number}"
        self._ids.append(await self._stage.imap.deliver(subject=subject, text=subject, labels=[folder, "UNREAD"]))

    async def _move(self, _: int) -> None:
        source, target = self._random.sample(self._folders, 2)
        others = [folder for folder in self._folders if folder not in (source, target)]
        await self._stage.imap.relabel(self._random.choice(self._ids), add=[target], remove=[source, *others])

    async def _mark(self, _: int) -> None:
        add, remove = self._random.sample(["UNREAD", "STARRED"], 2)
        await self._stage.imap.relabel(self._random.choice(self._ids), add=[add], remove=[remove])

    async def _delete(self, _: int) -> None:
        id_ = self._ids.pop(self._random.randrange(len(self._ids)))
        await self._stage.imap.control("DELETE", f"users/{EMAIL}/messages/{id_}")


class Ids:
    """The ids of all messages that were ever seen in the copy."""

    def __init__(self, stage: ImapStage) -> None:
        self.changed: set[str] = set()
        self._stage = stage
        self._seen: dict[str, int] = {}

    async def look(self) -> None:
        """Compare the ids with those seen before."""
        for message in await self._stage.listed():
            if self._seen.setdefault(message.external_id, message.message_id) != message.message_id:
                self.changed.add(message.external_id)


async def left_faults(stage: ImapStage) -> set[tuple[str, str]]:
    """Return the faults that have not struck yet."""
    rules = (await stage.imap.control("GET", "faults"))["rules"]
    return {(rule["method"], rule["kind"]) for rule in rules if not rule["fired"]}


@pytest.mark.long
class TestStorm:
    @pytest.mark.parametrize("profile", ["yandex", "modern"])
    async def test_loses_and_duplicates_nothing_and_keeps_ids(self, servers: Servers, profile: str) -> None:
        async with open_imap_stage(servers, profile, messages=10, workers=2, login_window=1.0) as stage:
            await stage.sync(count=None)
            storm = Storm(stage, [await stage.create_folder(name) for name in ("Work", "Play")], seed=7)
            ids = Ids(stage)
            rules = [{"method": method, "kind": kind, "count": 1} for method, kind in FAULTS]
            await stage.imap.control("PUT", "faults", {"rules": rules})
            for number in range(MOST_ROUNDS):
                if number >= ROUNDS and not await left_faults(stage):
                    break
                for each in range(OPERATIONS):
                    await storm.change(OPERATIONS * number + each)
                await stage.hint()
                match number:
                    case 2:
                        await stage.imap.control("DELETE", f"users/{EMAIL}/connections")
                    case 4:
                        await stage.workers[0].crash()
                await stage.until_idle(within=LONGEST)
                await ids.look()
            await stage.equals(within=LONGEST)
            await ids.look()
            assert ids.changed == set()
            assert await left_faults(stage) == set()
