"""Sessions with mailboxes at Gmail: each call has a token, and another one after a refusal."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import cast
from uuid import uuid4

import pytest

from services.mail.model import Mailbox, MailboxStatus
from services.mail.provider_access.provider_tokens import MailboxTokens, ProviderTokenCache
from services.mail.providers.base import FetchResult, Get, PartialMessage
from services.mail.providers.errors import MessageGoneError, TokenRefusedError
from services.mail.providers.gmail.adapter import GmailProvider
from services.mail.providers.gmail.api import GmailApi
from services.mail.providers.gmail.downloads import GmailDownloads, GmailDownloadSession
from services.mail.providers.gmail.session import GmailSession
from tests.support.mail.numbered_tokens import NumberedTokens

MAILBOX = Mailbox(
    mailbox_id=1,
    account_id=uuid4(),
    user_id=uuid4(),
    provider="google",
    email="ada@example.com",
    status=MailboxStatus.ACTIVE,
)


@pytest.fixture
def tokens() -> MailboxTokens:
    return MailboxTokens(ProviderTokenCache(NumberedTokens()), MAILBOX)


class Refusing:
    """An API that refuses the first token, whatever is called. `asked` are the methods and tokens."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def __getattr__(self, name: str) -> Callable[..., Awaitable[object]]:
        async def answer(token: str, *_: object, **__: object) -> object:
            self.asked.append((name, token))
            if token == "token-1":
                raise TokenRefusedError
            return {}

        return answer


PARTIAL = PartialMessage(external_id="m", units=5, source=None)
SESSION_CALLS: dict[str, Callable[[GmailSession], Awaitable[object]]] = {
    "profile": lambda session: session.profile(),
    "version": lambda session: session.version("m"),
    "list_ids": lambda session: session.list_ids(page_token=None, page_size=1, include_spam_trash=True),
    "list_changes": lambda session: session.list_changes(cursor=1, page_token=None),
    "list_labels": lambda session: session.list_labels(),
    "list_send_as": lambda session: session.list_send_as(),
    "fetch": lambda session: session.fetch([]),
    "complete": lambda session: session.complete(PARTIAL),
    "watch": lambda session: session.watch(),
    "stop": lambda session: session.stop(),
}
DOWNLOADS: dict[str, Callable[[GmailDownloadSession], Awaitable[object]]] = {
    "copy_raw": lambda session: session.copy_raw("m", _drop),
    "copy_part": lambda session: session.copy_part("m", "1", _drop),
}


async def _drop(_: bytes) -> None:
    pass


class TestEachCall:
    @pytest.mark.parametrize(("name", "call"), SESSION_CALLS.items(), ids=SESSION_CALLS)
    async def test_is_repeated_with_another_token(
        self, tokens: MailboxTokens, name: str, call: Callable[[GmailSession], Awaitable[object]]
    ) -> None:
        api = Refusing()
        await call(GmailSession(cast("GmailApi", api), tokens))
        assert api.asked == [(name, "token-1"), (name, "token-2")]

    @pytest.mark.parametrize(("name", "call"), DOWNLOADS.items(), ids=DOWNLOADS)
    async def test_of_a_download_is_too(
        self, tokens: MailboxTokens, name: str, call: Callable[[GmailDownloadSession], Awaitable[object]]
    ) -> None:
        source = Refusing()
        await call(GmailDownloadSession(cast("GmailDownloads", source), tokens))
        assert source.asked == [(name, "token-1"), (name, "token-2")]


class Batches(GmailProvider):
    """Batches in which the first token is refused for messages m1 and m2. `asked` are tokens, ids and `singly`."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[str], bool]] = []

    async def fetch(self, access_token: str, gets: Sequence[Get], *, singly: bool = False) -> Mapping[str, FetchResult]:
        """Return errors: their messages are gone, or their token is refused."""
        ids = [id_ for get in gets for id_ in get.external_ids]
        self.asked.append((access_token, ids, singly))
        refused = {"m1", "m2"} if access_token == "token-1" else set()
        return {id_: TokenRefusedError() if id_ in refused else MessageGoneError() for id_ in ids}


class TestFetch:
    async def test_repeats_what_was_refused_of_a_batch(self, tokens: MailboxTokens) -> None:
        provider = Batches()
        gets = [Get(external_ids=(id_,), thread_id=None, units=20) for id_ in ("m0", "m1", "m2", "m3")]
        async with provider.open(MAILBOX, tokens, writing=None) as session:
            results = await session.fetch(gets, singly=True)
        assert provider.asked == [("token-1", ["m0", "m1", "m2", "m3"], True), ("token-2", ["m1", "m2"], True)]
        assert {id_: type(result) for id_, result in results.items()} == dict.fromkeys(
            ("m0", "m1", "m2", "m3"), MessageGoneError
        )
