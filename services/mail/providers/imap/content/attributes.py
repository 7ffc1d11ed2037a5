"""Attributes of messages, of which one can end the connection, or be refused, and the answer for others with it."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

import structlog

from services.mail.providers.errors import RejectedError
from services.mail.providers.folder_history.port import Item
from services.mail.providers.imap.client.errors import ConnectionLostError, ImapError, RefusedError
from services.mail.providers.imap.client.messages import Attributes, attributes_in, fetch_attributes, fetch_uid
from services.mail.providers.imap.client.responses import Data
from services.mail.providers.imap.client.uids import sets_of
from services.mail.providers.imap.refusals import is_of_messages
from services.mail.providers.imap.session import ImapSession

# Messages that are asked for one by one after a fetch that failed: the last answers before that can get lost, too.
_ALONE: Final = 50
# Messages of a folder that are left out, and in a row while no other one was read. Of more the folder is to blame.
_MOST_UNREADABLE: Final = 300
_MOST_IN_VAIN: Final = 20

log = structlog.get_logger()

type MakeItem = Callable[[Attributes], Item]


class AttributeReader:
    """Reads messages of a folder.

    It asks for no attributes of those that are `unreadable`, and adds each one that it finds: two sign-ins for one.
    """

    def __init__(
        self, session: ImapSession, name: bytes, *, validity: int | None, unreadable: Iterable[int], item: MakeItem
    ) -> None:
        self.session = session
        self.name = name
        self.unreadable = set(unreadable)
        self.item = item
        self.has_found_some = False
        self._validity = validity

    async def items(self, uids: Iterable[int]) -> list[Item]:
        """Return the messages among these whose attributes the server gives. Raises ProviderError."""
        return [self.item(each) for each in (await self.read(uids)).values()]

    async def read(self, uids: Iterable[int]) -> dict[int, Attributes]:
        """Return the attributes that the server gives of these messages, by UID. Raises ProviderError."""
        found: dict[int, Attributes] = {}
        wanted = set(uids) - self.unreadable
        doubted = set[int]()
        left, alone = sorted(wanted), 0
        while left:
            some = left[:1] if alone else left
            error = await self._ask(some, found)
            alone = max(0, alone - 1)
            if error is None:
                left = left[len(some) :]
            elif len(some) > 1 or some[0] not in doubted:
                # A connection can be lost at any moment: only a message that fails again, and by itself, is to blame.
                left, alone = without(left, found), _ALONE
                doubted.update(some)
            else:
                await self._leave_out(some[0], error, is_proven=bool(found))
                left = left[1:]
        return {uid: each for uid, each in found.items() if uid in wanted}

    async def _ask(self, uids: Sequence[int], found: dict[int, Attributes]) -> ImapError | None:
        """Add the attributes of messages to those that are found; return the error if the fetch fails."""
        async with self.session.selected(self.name, validity=self._validity) as connection:
            for some in sets_of(uids):
                answers: list[Data] = []
                try:
                    found |= await fetch_attributes(connection, some, answers=answers)
                except (RefusedError, ConnectionLostError) as error:
                    if not is_of_messages(error):
                        raise
                    found |= attributes_in(answers)
                    return error
        return None

    async def _leave_out(self, uid: int, error: ImapError, *, is_proven: bool) -> None:
        """Take a message for unreadable, if it is to blame and not the server: that gives others, or at least its UID.

        Raises ProviderError.
        """
        if not is_proven:
            async with self.session.selected(self.name, validity=self._validity) as connection:
                await fetch_uid(connection, uid)
        if len(self.unreadable) >= (_MOST_UNREADABLE if is_proven else _MOST_IN_VAIN):
            raise RejectedError("the server gives no attributes")
        log.info("a mail server gives no attributes of a message", error=str(error))
        self.unreadable.add(uid)
        self.has_found_some = True


def without(uids: Iterable[int], unreadable: Collection[int]) -> list[int]:
    """Return UIDs but for those of unreadable messages."""
    return [uid for uid in uids if uid not in unreadable]
