"""Real workers copy a mailbox at the sandbox's IMAP servers, and make its threads from references."""

import email
import email.policy

import pytest

from services.mail.read_model import MessageFilter
from tests.support.imap.mailbox_stage import ImapStage, open_imap_stage
from tests.support.mail.servers import Servers
from tests.support.mail.threaded_mailbox import Letter, parts_of
from tests.support.sandbox.imap_servers import EMAIL

PROFILES = ["yandex", "modern"]


async def letters_at(stage: ImapStage) -> list[Letter]:
    """Return the ids in the messages of the true log, as Python reads them, by the ids that they have in the copy."""
    found = []
    for fact in await stage.imap.messages():
        raw = await stage.imap.raw(fact["id"])
        header = email.message_from_bytes(raw, policy=email.policy.compat32)

        def ids(name: str, header: email.message.Message = header) -> tuple[str, ...]:
            return tuple(each.strip("<>") for each in str(header.get(name, "")).split())

        found.append(
            Letter(
                name=stage.id_of(fact["id"], raw),
                own="".join(ids("Message-ID")),
                references=ids("References"),
                in_reply_to="".join(ids("In-Reply-To")[:1]),
            )
        )
    return found


async def true_threads(stage: ImapStage) -> set[frozenset[str]]:
    """Return the threads of the true log, which knows what replies to what."""
    found: dict[str, set[str]] = {}
    for fact in await stage.imap.messages():
        name = stage.id_of(fact["id"], await stage.imap.raw(fact["id"]))
        found.setdefault(fact["threadId"], set()).add(name)
    return {frozenset(names) for names in found.values()}


async def copied_threads(stage: ImapStage) -> set[frozenset[str]]:
    """Return the threads of the copy."""
    found: dict[str, set[str]] = {}
    for message in await stage.listed():
        found.setdefault(message.thread_id, set()).add(message.external_id)
    return {frozenset(names) for names in found.values()}


async def thread_ids(stage: ImapStage) -> dict[str, str]:
    """Return the thread of each message by its subject."""
    return {str(message.subject): message.thread_id for message in await stage.listed()}


async def deliver(stage: ImapStage, subject: str, *references: str) -> str:
    """Deliver a message that is called and known by its subject, and refers to others."""
    headers = [["Message-ID", f"<{subject}@x>"], ["References", " ".join(f"<{each}@x>" for each in references)]]
    return await stage.imap.deliver(subject=subject, headers=headers[: 2 if references else 1])


@pytest.mark.parametrize("profile", PROFILES)
class TestThreads:
    async def test_equal_those_of_the_log(self, servers: Servers, profile: str) -> None:
        async with open_imap_stage(servers, profile, messages=50) as stage:
            await stage.sync(count=None)
            await stage.equals()
            copied = await copied_threads(stage)
            assert copied == await true_threads(stage)
            assert copied == parts_of(await letters_at(stage))
            assert max(map(len, copied)) > 2

    async def test_stay_when_messages_move_and_go_and_folders_are_numbered_anew(
        self, servers: Servers, profile: str
    ) -> None:
        async with open_imap_stage(servers, profile) as stage:
            root = await deliver(stage, "root")
            moved = await deliver(stage, "moved", "root")
            await deliver(stage, "reply", "root", "moved")
            await deliver(stage, "other")
            await stage.sync(count=None)
            await stage.equals()
            before = await thread_ids(stage)
            assert before["root"] == before["moved"] == before["reply"] != before["other"]
            await stage.imap.relabel(moved, add=[await stage.create_folder("Work")], remove=["INBOX"])
            await stage.imap.control("DELETE", f"users/{EMAIL}/messages/{root}")
            await stage.equals()
            await stage.imap.control("POST", f"users/{EMAIL}/folders/INBOX/reset")
            await deliver(stage, "late", "root")
            await stage.equals()
            del before["root"]
            assert await thread_ids(stage) == before | {"late": before["reply"]}

    async def test_become_one_by_a_message_that_comes_late(self, servers: Servers, profile: str) -> None:
        async with open_imap_stage(servers, profile) as stage:
            await deliver(stage, "first")
            await stage.sync(count=None)
            await deliver(stage, "second")
            await stage.equals()
            before = await thread_ids(stage)
            await deliver(stage, "link", "first", "second")
            await stage.equals()
            assert await copied_threads(stage) == parts_of(await letters_at(stage))
            for thread_id in (before["first"], before["second"]):
                found = await stage.listed(MessageFilter(thread_id=thread_id))
                assert {message.subject for message in found} == {"first", "second", "link"}
                assert {message.thread_id for message in found} == {before["first"]}
