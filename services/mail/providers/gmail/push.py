"""Gmail's notifications, pushed by Cloud Pub/Sub: verification of the sender's token, parsing of the body.

Sources: Cloud Pub/Sub "Authentication for push subscriptions"; Gmail API guide "Push notifications".
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from services.kit.jwt import InvalidTokenError, Keys, TokenRules, TokenVerifier
from services.mail.content.mime.transfer import decode_base64
from services.mail.notifications import Notification
from services.mail.providers.gmail.fields import number, text

PROVIDER = "google"
# Seconds by which Google's clock may differ.
LEEWAY = 60
# Longest accepted token in characters.
LONGEST_TOKEN = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """The only permitted sender, by the claims of its tokens."""

    issuer: str
    audience: str
    service_account: str


class GmailPush:
    """Verifies and parses the notifications of a subscription."""

    provider = PROVIDER

    def __init__(self, sender: Sender, *, keys: Keys, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._service_account = sender.service_account
        rules = TokenRules(
            algorithm="RS256",
            issuers=frozenset({sender.issuer}),
            audience=sender.audience,
            required=frozenset({"email"}),
            leeway=LEEWAY,
            longest=LONGEST_TOKEN,
        )
        self._verifier = TokenVerifier(rules, keys=keys, now=lambda: now().timestamp())

    async def verify(self, token: str) -> None:
        """Verify that the service account signed the token. Raises InvalidTokenError, KeysUnavailableError."""
        claims = (await self._verifier.verify(token)).claims
        if claims["email"] != self._service_account or claims.get("email_verified") is not True:
            raise InvalidTokenError("another service account")

    def parse(self, body: bytes) -> Notification | None:
        """Return the notification in a body; None for any other body.

        The data is base64 in either alphabet, with or without padding; historyId is a number or a string.
        """
        try:
            data = json.loads(body)["message"]["data"]
            content = json.loads(decode_base64(data.encode("ascii")))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None
        email = text(content.get("emailAddress")) if isinstance(content, dict) else None
        if email is None:
            return None
        return Notification(email=email.strip(), cursor=number(content.get("historyId")))
