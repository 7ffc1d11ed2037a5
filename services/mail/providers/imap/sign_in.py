"""Opening a connection and signing in with a mailbox's token."""

import ssl
from collections.abc import Mapping
from typing import Final

from services.mail.model import Mailbox
from services.mail.provider_access.own_buckets import OwnBuckets
from services.mail.provider_access.quota import Quota
from services.mail.providers.base import Tokens
from services.mail.providers.imap.client.connection import Connection
from services.mail.providers.imap.client.dial import dial
from services.mail.providers.imap.client.errors import ImapError, LoginRefusedError
from services.mail.providers.imap.client.frames import Patience
from services.mail.providers.imap.client.login import Credentials, enable, introduce, log_in
from services.mail.providers.imap.refusals import provider_error
from services.mail.providers.imap.servers import LOGINS, REFUSALS, MailServer

_CLIENT: Final[Mapping[str, str]] = {"name": "mailroom"}
_PATIENCE: Final = Patience()


class SignIn:
    """Signs in to one server."""

    def __init__(
        self,
        server: MailServer,
        *,
        tls: ssl.SSLContext,
        quota: Quota,
        live: bool = True,
        patience: Patience = _PATIENCE,
    ) -> None:
        """Sign-ins that are not `live` leave some of the mailbox's to others."""
        self._server = server
        self._tls = tls
        self._logins = OwnBuckets(quota, counts=LOGINS)
        self._refusals = OwnBuckets(quota, counts=REFUSALS)
        self._live = live
        self._patience = patience

    async def open(self, mailbox: Mailbox, tokens: Tokens) -> Connection:
        """Return a connection that has signed in. Raises ProviderError, and AppError as `tokens` does.

        A refused token is replaced once. Auth asks the provider first whether it is dead: a server gives the same
        answer where the user has switched IMAP off, and then no other token helps.
        """
        return await tokens.use(lambda token: self._open(mailbox, token))

    async def _open(self, mailbox: Mailbox, token: str) -> Connection:
        server = self._server
        credentials = Credentials(user=mailbox.email, token=token, host=server.host, port=server.port)
        try:
            async with (
                self._refusals.take(mailbox, only_if=LoginRefusedError),
                self._logins.take(mailbox, live=self._live),
            ):
                return await self._log_in(credentials)
        except ImapError as error:
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
