"""Attributes of messages, of which one can end the connection, or be refused, and the answer for others with it."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

import structlog

from services.mail.providers.errors import ProviderUnavailableError, RejectedError
from services.mail.providers.folder_history.port import Item
from services.mail.providers.imap.client.errors import ConnectionLostError, ImapError, RefusedError
from services.mail.providers.imap.client.messages import Attributes, attributes_in, fetch_attributes, fetch_uid
from services.mail.providers.imap.client.responses import Data
from services.mail.providers.imap.client.uids import sets_of
from services.mail.providers.imap.refusals import is_of_messages, provider_error
from services.mail.providers.imap.session import ImapSession

# Messages that are asked for one by one after a fetch that failed: the last answers before that can get lost, too.
_ALONE: Final = 50
# Times that a message fails by itself before it is left out.
_FAILURES: Final = 2
# Messages of a folder that are left out, and in a row while no other one was read. Of more the folder is to blame.
_MOST_UNREADABLE: Final = 300
_MOST_IN_VAIN: Final = 20

log = structlog.get_logger()

type MakeItem = Callable[[Attributes], Item]


class AttributeReader:
    """Reads messages of a folder.

    It asks for no attributes of those that are `unreadable`. If it `blames` messages, it adds each one that it finds,
    which costs a sign-in for each failure. Else it takes a lost connection for an outage, as most of them are.
    """

    def __init__(
        self,
        session: ImapSession,
        name: bytes,
        *,
        validity: int | None,
        unreadable: Iterable[int],
        item: MakeItem,
        blames: bool = True,
    ) -> None:
        self.session = session
        self.name = name
        self.unreadable = set(unreadable)
        self.item = item
        self.has_found_some = False
        self._validity = validity
        self._blames = blames

    async def items(self, uids: Iterable[int]) -> list[Item]:
        """Return the messages among these whose attributes the server gives. Raises ProviderError."""
        return [self.item(each) for each in (await self.read(uids)).values()]

    async def read(self, uids: Iterable[int]) -> dict[int, Attributes]:
        """Return the attributes that the server gives of these messages, by UID. Raises ProviderError."""
        found: dict[int, Attributes] = {}
        wanted = set(uids) - self.unreadable
        failures = Counter[int]()
        left, alone = sorted(wanted), 0
        while left:
            some = left[:1] if alone else left
            error = await self._ask(some, found)
            alone = max(0, alone - 1)
            if error is None:
                left = left[len(some) :]
            elif len(some) > 1 or failures[some[0]] < _FAILURES - 1:
                left, alone = without(left, found), _ALONE
                failures.update(some if len(some) == 1 else ())
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
                    if not self._may_be_of_messages(error):
                        raise
                    found |= attributes_in(answers)
                    return error
        return None

    def _may_be_of_messages(self, error: ImapError) -> bool:
        is_outage = isinstance(provider_error(error), ProviderUnavailableError)
        return is_of_messages(error) and (self._blames or not is_outage)

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
