"""A session with a mailbox at Gmail: calls of the API with the mailbox's tokens."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from services.mail.model import Label, ProviderMessage
from services.mail.providers.base import FetchResult, Get, HistoryPage, IdPage, PartialMessage, Profile, Tokens
from services.mail.providers.errors import TokenRefusedError
from services.mail.providers.gmail.api import GmailApi


class GmailSession:
    """The `MailboxSession` for Gmail."""

    def __init__(self, api: GmailApi, tokens: Tokens) -> None:
        self._api = api
        self._tokens = tokens

    async def profile(self) -> Profile:
        """See GmailApi."""
        return await self._tokens.use(self._api.profile)

    async def version(self, external_id: str) -> int | None:
        """See GmailApi."""
        return await self._tokens.use(lambda token: self._api.version(token, external_id))

    async def list_ids(
        self, *, page_token: str | None, page_size: int, include_spam_trash: bool, label_id: str | None = None
    ) -> IdPage:
        """See GmailApi."""
        return await self._tokens.use(
            lambda token: self._api.list_ids(
                token,
                page_token=page_token,
                page_size=page_size,
                include_spam_trash=include_spam_trash,
                label_id=label_id,
            )
        )

    async def list_changes(self, *, cursor: int, page_token: str | None) -> HistoryPage:
        """See GmailApi."""
        return await self._tokens.use(lambda token: self._api.list_changes(token, cursor=cursor, page_token=page_token))

    async def list_labels(self) -> list[Label] | None:
        """See GmailApi."""
        return await self._tokens.use(self._api.list_labels)

    async def list_send_as(self) -> list[str] | None:
        """See GmailApi."""
        return await self._tokens.use(self._api.list_send_as)

    async def fetch(self, gets: Sequence[Get], *, singly: bool = False) -> Mapping[str, FetchResult]:
        """See GmailApi. Gets of a batch whose token is refused are repeated with another one."""
        results = await self._tokens.use(lambda token: self._api.fetch(token, gets, singly=singly))
        refused = [get for get in gets if isinstance(results.get(get.external_ids[0]), TokenRefusedError)]
        if not refused:
            return results
        again = await self._tokens.use_another(lambda token: self._api.fetch(token, refused, singly=singly))
        return {**results, **again}

    async def complete(self, partial: PartialMessage) -> ProviderMessage:
        """See GmailApi."""
        return await self._tokens.use(lambda token: self._api.complete(token, partial))

    async def watch(self) -> datetime:
        """See GmailApi."""
        return await self._tokens.use(self._api.watch)

    async def stop(self) -> None:
        """See GmailApi."""
        await self._tokens.use(self._api.stop)
