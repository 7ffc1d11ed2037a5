"""Gmail as a provider of mailboxes, and stand-ins that follow its protocol."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from services.mail.model import Label, Mailbox
from services.mail.providers.base import Tokens, Writing
from services.mail.providers.gmail.api import GmailApi
from services.mail.providers.gmail.labels import SYSTEM_LABELS
from services.mail.providers.gmail.session import GmailSession


class GmailProvider(GmailApi):
    """The `Provider` for Gmail. Its sessions share the connections of the API."""

    built_in_labels: Sequence[Label] = SYSTEM_LABELS

    @asynccontextmanager
    async def open(self, mailbox: Mailbox, tokens: Tokens, *, writing: Writing | None) -> AsyncIterator[GmailSession]:
        """Yield a session; it calls nothing by itself. The token names the mailbox."""
        del mailbox, writing
        yield GmailSession(self, tokens)
