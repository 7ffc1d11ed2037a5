"""Provider access tokens: how long one is used, and when auth is asked for another."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from services.mail.model import Mailbox, MailboxStatus
from services.mail.provider_access.provider_tokens import ProviderTokenCache

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
