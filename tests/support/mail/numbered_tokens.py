"""An auth service that issues numbered tokens."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID


@dataclass
class NumberedTokens:
    """Issues `token-1`, and the next number after each refused token."""

    given: int = 1
    asked: int = 0

    async def access_token(self, *_: UUID, refused_fingerprint: str = "") -> tuple[str, datetime]:
        """Return the current token, which lasts an hour."""
        self.asked += 1
        self.given += bool(refused_fingerprint)
        return f"token-{self.given}", datetime.now(UTC) + timedelta(hours=1)
