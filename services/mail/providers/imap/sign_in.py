"""Opening a connection and signing in with a mailbox's token."""

import ssl
from collections.abc import Mapping
from typing import Final

from services.kit.errors import AppError
from services.mail.model import Mailbox
from services.mail.provider_access.own_buckets import OwnBuckets
from services.mail.provider_access.quota import Quota
from services.mail.providers.base import Tokens
from services.mail.providers.errors import ConfirmedDenialError, TokenRefusedError
from services.mail.providers.imap.client.connection import Connection
from services.mail.providers.imap.client.dial import dial
from services.mail.providers.imap.client.errors import ImapError
from services.mail.providers.imap.client.frames import Patience
from services.mail.providers.imap.client.login import Credentials, enable, introduce, learn_namespaces, log_in
from services.mail.providers.imap.refusals import sign_in_error
from services.mail.providers.imap.servers import CONNECTIONS, LOGINS, REFUSALS, MailServer

_CLIENT: Final[Mapping[str, str]] = {"name": "mailroom"}
_PATIENCE: Final = Patience()
# Seconds to wait for the end of another process's connection.
_FOR_ANOTHER: Final = 20.0


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
        """Those that are not `live` leave some of the mailbox's sign-ins to others, and share one connection.

        Another process can have it: they wait a while for its end.
        """
        self._server = server
        self._tls = tls
        self._logins = OwnBuckets(quota, counts=LOGINS)
        self._refusals = OwnBuckets(quota, counts=REFUSALS)
        self._connections = OwnBuckets(quota, counts=CONNECTIONS)
        self._live = live
        self._patience = patience

    async def open(self, mailbox: Mailbox, tokens: Tokens) -> Connection:
        """Return a connection that has signed in. Raises ProviderError, and AppError as `tokens` does.

        A refused token is replaced once. Auth asks the provider first whether it is dead: a server gives the same
        answer where the user has switched IMAP off, and then no other token helps.
        """
        if self._live:
            return await self._open_or_tell(mailbox, tokens)
        end = await self._connections.hold(mailbox, patience=_FOR_ANOTHER)
        try:
            connection = await tokens.use(lambda token: self._open(mailbox, token))
        except BaseException:
            end()
            raise
        connection.on_close = end
        return connection

    async def _open_or_tell(self, mailbox: Mailbox, tokens: Tokens) -> Connection:
        """Sign in. Raises ConfirmedDenialError where the server refuses a token that lives, as auth has found."""
        is_refused = False

        async def ask(token: str) -> Connection:
            nonlocal is_refused
            try:
                return await self._open(mailbox, token)
            except TokenRefusedError:
                is_refused = True
                raise

        try:
            return await tokens.use(ask)
        except AppError as error:
            if is_refused and (denial := error.metadata.get("denial")):
                raise ConfirmedDenialError(error.reason, denial=denial) from error
            raise

    async def ensure_spare(self, mailbox: Mailbox) -> None:
        """Raise OwnLimitError if the sign-ins that are left are those for live mail."""
        async with self._logins.take(mailbox, live=False, only_if=TokenRefusedError):
            pass

    async def _open(self, mailbox: Mailbox, token: str) -> Connection:
        server = self._server
        credentials = Credentials(user=mailbox.email, token=token, host=server.host, port=server.port)
        async with (
            self._refusals.take(mailbox, only_if=TokenRefusedError),
            self._logins.take(mailbox, live=self._live),
        ):
            try:
                return await self._log_in(credentials)
            except ImapError as error:
                raise sign_in_error(error) from error

    async def _log_in(self, credentials: Credentials) -> Connection:
        connection = await dial(self._server.host, self._server.port, tls=self._tls, patience=self._patience)
        try:
            await log_in(connection, credentials, prefer=self._server.mechanism)
            await introduce(connection, _CLIENT)
            await enable(connection, "QRESYNC")
            await learn_namespaces(connection)
        except BaseException:
            connection.close()
            raise
        return connection
