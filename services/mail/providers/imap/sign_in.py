"""Opening a connection and signing in with a mailbox's token."""

import ssl
from collections.abc import Mapping
from typing import Final

from services.mail.model import Mailbox
from services.mail.providers.base import Tokens
from services.mail.providers.imap.client.connection import Connection
from services.mail.providers.imap.client.dial import dial
from services.mail.providers.imap.client.errors import ImapError, LoginRefusedError
from services.mail.providers.imap.client.frames import Patience
from services.mail.providers.imap.client.login import Credentials, enable, introduce, log_in
from services.mail.providers.imap.login_budget import LoginBudget
from services.mail.providers.imap.refusals import provider_error
from services.mail.providers.imap.servers import MailServer

_CLIENT: Final[Mapping[str, str]] = {"name": "mailroom"}
_PATIENCE: Final = Patience()


class SignIn:
    """Signs in to one server."""

    def __init__(
        self, server: MailServer, *, tls: ssl.SSLContext, budget: LoginBudget, patience: Patience = _PATIENCE
    ) -> None:
        self._server = server
        self._tls = tls
        self._budget = budget
        self._patience = patience

    async def open(self, mailbox: Mailbox, tokens: Tokens) -> Connection:
        """Return a connection that has signed in. Raises ProviderError, and AppError as `tokens` does.

        A refused token is replaced once. Auth asks the provider first whether it is dead: a server gives the same
        answer where the user has switched IMAP off, and then no other token helps.
        """
        return await tokens.use(lambda token: self._open(mailbox, token))

    async def _open(self, mailbox: Mailbox, token: str) -> Connection:
        await self._budget.take(mailbox.mailbox_id)
        server = self._server
        try:
            return await self._log_in(Credentials(user=mailbox.email, token=token, host=server.host, port=server.port))
        except ImapError as error:
            if isinstance(error, LoginRefusedError):
                await self._budget.refused(mailbox.mailbox_id)
            raise provider_error(error) from error

    async def _log_in(self, credentials: Credentials) -> Connection:
        connection = await dial(self._server.host, self._server.port, tls=self._tls, patience=self._patience)
        try:
            await log_in(connection, credentials, prefer=self._server.mechanism)
            await introduce(connection, _CLIENT)
            await enable(connection, "QRESYNC")
        except BaseException:
            connection.close()
            raise
        return connection
