"""A provider with folders and flags instead of labels, from the first sync to queries."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace

from services.mail.marks import Mark
from services.mail.model import Label, MailboxQuery, Role, SyncState
from services.mail.read_model import MessageFilter
from services.mail.reading.page_tokens import PageTokens
from services.mail.reading.threads import Threads
from services.mail.reading.user_connections import UserConnections
from tests.mail.conftest import OpenStage
from tests.support.mail.folder_provider import LIMITS, FolderMailbox, FolderProvider
from tests.support.mail.stage import Stage

PROVIDER = "made-up"
SEEN, FLAGGED = Mark.SEEN, Mark.FLAGGED


def folder(number: int, name: str, role: Role = Role.NONE) -> Label:
    return Label(label_id=f"f{number}", name=name, type="user" if role is Role.NONE else "system", role=role)


FOLDERS: Mapping[str, Label] = {
    each.label_id: each
    for each in (
        folder(1, "Posteingang", Role.INBOX),
        folder(2, "Team", Role.INBOX),
        folder(3, "Papierkorb", Role.TRASH),
        folder(4, "Werbung", Role.SPAM),
        folder(5, "Archive"),
        # Its name is that of a role, which another folder has.
        folder(6, "Trash"),
    )
}


def filled_mailbox() -> FolderMailbox:
    mailbox = FolderMailbox(FOLDERS)
    mailbox.deliver("read", "f1", SEEN)
    mailbox.deliver("unread", "f1")
    mailbox.deliver("unread in the team's", "f2", FLAGGED)
    mailbox.deliver("deleted", "f3")
    mailbox.deliver("spam", "f4")
    mailbox.deliver("archived", "f5", SEEN, Mark.IMPORTANT)
    mailbox.deliver("draft of rubbish", "f6", SEEN, Mark.DRAFT)
    return mailbox


@asynccontextmanager
async def connected(stage: OpenStage, mailbox: FolderMailbox) -> AsyncIterator[Stage]:
    """Yield a stage whose user has this mailbox and a worker."""
    async with stage(
        further=lambda *_: nullcontext({PROVIDER: FolderProvider(mailbox)}), further_limits={PROVIDER: LIMITS}
    ) as s:
        yield replace(s, account=s.auth.add_account(PROVIDER, "ada@made-up.example"))


async def found(s: Stage, query: str) -> list[str]:
    """Return the ids of the messages that a query finds, newest first."""
    return [message.external_id for message in await s.listed(MessageFilter(query=query))]


class TestFirstSync:
    async def test_of_the_newest_leaves_spam_and_trash_out(self, stage: OpenStage) -> None:
        async with connected(stage, filled_mailbox()) as s:
            assert (await s.sync(count=4)).sync.state is SyncState.COMPLETED
            assert await found(s, "") == ["draft of rubbish", "archived", "unread in the team's", "unread"]

    async def test_shows_marks_as_facts_and_folders_as_labels(self, stage: OpenStage) -> None:
        async with connected(stage, filled_mailbox()) as s:
            await s.sync(count=None)
            listed = await s.listed()
            shown = {message.external_id: (message.is_read, message.labels) for message in listed}
            assert shown == {
                "read": (True, ["Posteingang"]),
                "unread": (False, ["Posteingang"]),
                "unread in the team's": (False, ["Team"]),
                "deleted": (False, ["Papierkorb"]),
                "spam": (False, ["Werbung"]),
                "archived": (True, ["Archive"]),
                "draft of rubbish": (True, ["Trash"]),
            }
            marked = {message.external_id: message.marks for message in listed if message.marks}
            assert marked == {
                "read": [SEEN],
                "unread in the team's": [FLAGGED],
                "archived": [SEEN, Mark.IMPORTANT],
                "draft of rubbish": [SEEN, Mark.DRAFT],
            }

    async def test_counts_unread_messages(self, stage: OpenStage) -> None:
        async with connected(stage, filled_mailbox()) as s:
            await s.sync(count=None)
            counted = {
                known.label.label_id: (known.message_count, known.unread_count)
                for known in await s.messages.labels(await s.mailbox())
            }
            assert counted == {"f1": (2, 1), "f2": (1, 1), "f3": (1, 1), "f4": (1, 1), "f5": (1, 0), "f6": (1, 0)}
            [overview] = await s.mailboxes.overviews(MailboxQuery(user_id=s.user_id))
            assert (overview.message_count, overview.unread_count) == (7, 4)
            thread, _ = await Threads(UserConnections(s.servers.mail_pool), tokens=PageTokens(bytes(16))).find(
                [await s.mailbox()], "unread in the team's"
            )
            assert (thread.unread_count, thread.labels) == (1, ["Team"])


class TestQueries:
    async def test_go_by_roles_and_marks(self, stage: OpenStage) -> None:
        async with connected(stage, filled_mailbox()) as s:
            await s.sync(count=None)
            for query, ids in {
                # Both folders have the role.
                "in:inbox is:unread": ["unread in the team's", "unread"],
                "in:inbox is:read": ["read"],
                "is:unread -in:trash -in:spam": ["unread in the team's", "unread"],
                "in:trash": ["deleted"],
                "label:trash": ["draft of rubbish"],
                # No folder has the role: the name decides.
                "in:archive": ["archived"],
                "in:sent": [],
                "is:starred": ["unread in the team's"],
                "is:important": ["archived"],
                "category:social": [],
                'label:"mark:unseen"': [],
            }.items():
                assert await found(s, query) == ids, query

    async def test_see_changes_of_marks_and_moves(self, stage: OpenStage) -> None:
        mailbox = filled_mailbox()
        async with connected(stage, mailbox) as s:
            await s.sync(count=None)
            mailbox.mark("unread", on=frozenset({SEEN, FLAGGED}))
            mailbox.mark("read", off=frozenset({SEEN}))
            mailbox.move("unread in the team's", "f3")
            await s.hint()
            await s.until_idle()
            assert await found(s, "in:inbox is:unread") == ["read"]
            assert await found(s, "in:inbox is:starred") == ["unread"]
            assert await found(s, "in:trash") == ["deleted", "unread in the team's"]
