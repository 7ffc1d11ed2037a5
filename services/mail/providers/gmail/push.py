"""Gmail's notifications, pushed by Cloud Pub/Sub: verification of the sender's token, parsing of the body.

Sources: Cloud Pub/Sub "Authentication for push subscriptions"; Gmail API guide "Push notifications".
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from services.kit.errors import AppError, Kind
from services.kit.jwks import KeysUnavailableError
from services.kit.jwt import InvalidTokenError, Keys, TokenRules, TokenVerifier
from services.mail.content.mime.transfer import decode_base64
from services.mail.providers.gmail.fields import number, text
from services.mail.providers.gmail.limits import WATCH_TIMES
from services.mail.providers.gmail.push_sender import Sender
from services.mail.providers.notifications import HookAnswer, HookRequest, Notification

# Seconds by which Google's clock may differ.
LEEWAY = 60
# Longest accepted token in characters.
LONGEST_TOKEN = 8192

log = structlog.get_logger()


class GmailPush:
    """The `NotificationSource` for the notifications of a subscription."""

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

    async def receive(self, request: HookRequest) -> HookAnswer:
        """Verify and parse a push. Raises AppError missing_token, invalid_token, provider_unavailable."""
        if not request.token:
            raise AppError(Kind.UNAUTHENTICATED, "missing_token", "Send the push service account's token.")
        try:
            await self.verify(request.token)
        except InvalidTokenError as error:
            log.warning("notification refused", reason=str(error))
            detail = "The token is not one of the push service account."
            raise AppError(Kind.UNAUTHENTICATED, "invalid_token", detail) from error
        except KeysUnavailableError as error:
            raise AppError(Kind.UNAVAILABLE, "provider_unavailable", "The provider's keys are unavailable.") from error
        notification = self.parse(request.body)
        if notification is None:
            log.warning("notification not understood", size=len(request.body))
        return HookAnswer(notifications=() if notification is None else (notification,))

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
        return Notification(email=email.strip(), cursor=number(content.get("historyId")), echo=WATCH_TIMES.echo)
