"""Provider access tokens: how long one is used, and when auth is asked for another."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from services.mail.model import Mailbox, MailboxStatus
from services.mail.provider_access.provider_tokens import MailboxTokens, ProviderTokenCache
from services.mail.providers.errors import AccessDeniedError, ProviderError, TokenRefusedError

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MAILBOX = Mailbox(
    mailbox_id=1,
    account_id=uuid4(),
    user_id=uuid4(),
    provider="google",
    email="ada@example.com",
    status=MailboxStatus.ACTIVE,
)


class Auth:
    """Gives out numbered tokens, each with so many seconds left."""

    def __init__(self, seconds: float) -> None:
        self.given: list[str] = []
        self._seconds = seconds

    async def access_token(
        self, account_id: UUID, user_id: UUID, *, refused_fingerprint: str = ""
    ) -> tuple[str, datetime]:
        """The next token."""
        del account_id, user_id, refused_fingerprint
        self.given.append(f"token {len(self.given)}")
        return self.given[-1], NOW + timedelta(seconds=self._seconds)


class TestGet:
    @pytest.mark.parametrize("seconds", [30, 60])
    async def test_asks_again_where_a_call_could_outlive_the_token(self, seconds: float) -> None:
        auth = Auth(seconds)
        tokens = ProviderTokenCache(auth, now=lambda: NOW)
        assert [await tokens.get(MAILBOX) for _ in range(2)] == ["token 0", "token 1"]

    async def test_keeps_a_token_that_lasts(self) -> None:
        auth = Auth(61)
        tokens = ProviderTokenCache(auth, now=lambda: NOW)
        assert [await tokens.get(MAILBOX) for _ in range(2)] == ["token 0", "token 0"]
        assert auth.given == ["token 0"]

    async def test_drops_expired_tokens_of_accounts_that_it_is_asked_for_no_more(self) -> None:
        now = NOW
        tokens = ProviderTokenCache(Auth(3600), now=lambda: now)
        for _ in range(3):
            await tokens.get(replace(MAILBOX, account_id=uuid4()))
        assert len(tokens) == 3
        now += timedelta(hours=1)
        await tokens.get(MAILBOX)
        assert len(tokens) == 1


class Asked:
    """A call that records its tokens and fails with the given errors first."""

    def __init__(self, *errors: ProviderError) -> None:
        self.tokens: list[str] = []
        self._errors = [*errors]

    async def __call__(self, token: str) -> str:
        self.tokens.append(token)
        if self._errors:
            raise self._errors.pop(0)
        return f"answer to {token}"


@pytest.fixture
def auth() -> Auth:
    return Auth(3600)


@pytest.fixture
def tokens(auth: Auth) -> MailboxTokens:
    return MailboxTokens(ProviderTokenCache(auth, now=lambda: NOW), MAILBOX)


class TestUse:
    async def test_replaces_a_refused_token_once(self, tokens: MailboxTokens, auth: Auth) -> None:
        ask = Asked(TokenRefusedError())
        assert await tokens.use(ask) == "answer to token 1"
        assert ask.tokens == auth.given == ["token 0", "token 1"]

    async def test_ends_with_the_second_refusal(self, tokens: MailboxTokens) -> None:
        ask = Asked(TokenRefusedError(), TokenRefusedError())
        with pytest.raises(TokenRefusedError):
            await tokens.use(ask)
        assert ask.tokens == ["token 0", "token 1"]

    async def test_asks_auth_anew_after_a_denial(self, tokens: MailboxTokens) -> None:
        with pytest.raises(AccessDeniedError):
            await tokens.use(Asked(AccessDeniedError()))
        # A sign-in meanwhile may have brought a token that allows more.
        assert await tokens.use(Asked()) == "answer to token 1"

    async def test_forgets_another_token_that_is_denied_too(self, tokens: MailboxTokens) -> None:
        with pytest.raises(AccessDeniedError):
            await tokens.use(Asked(TokenRefusedError(), AccessDeniedError()))
        assert await tokens.use(Asked()) == "answer to token 2"

    async def test_asks_auth_once_for_all_calls(self, tokens: MailboxTokens, auth: Auth) -> None:
        for _ in range(3):
            await tokens.use(Asked())
        assert auth.given == ["token 0"]


class TestUseAnother:
    async def test_leaves_out_the_last_token(self, tokens: MailboxTokens) -> None:
        ask = Asked()
        await tokens.use(ask)
        await tokens.use_another(ask)
        await tokens.use(ask)
        assert ask.tokens == ["token 0", "token 1", "token 1"]
