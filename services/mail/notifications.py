"""Notifications of changes, as Google pushes them: who sent them, and which mailboxes they are about.

Source: Cloud Pub/Sub "Authentication for push subscriptions"; Gmail API guide "Push notifications".
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import jwt
import structlog

from services.kit.errors import AppError, Kind
from services.kit.http.jwks import KeySet
from services.mail.content.mime.transfer import decode_base64
from services.mail.providers.base import ProviderUnavailableError
from services.mail.providers.gmail.fields import number, text
from services.mail.store.connection import Pool
from services.mail.store.control import schedule

PROVIDER = "google"
# Seconds by which Google's clock may differ from ours.
LEEWAY = 60
LONGEST_TOKEN = 8192
# Times are checked against the injected clock.
_OPTIONS: jwt.types.Options = {
    "require": ["iss", "aud", "exp", "iat", "email"],
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Who alone may push: the claims that its tokens must have."""

    issuer: str
    audience: str
    service_account: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """That something happened to an address, up to history record `cursor` (None: it does not tell)."""

    email: str
    cursor: int | None


class Push:
    """Turns notifications into hints. `sender` None: nobody may push."""

    def __init__(
        self,
        pool: Pool,
        *,
        keys: KeySet,
        sender: Sender | None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._pool = pool
        self._keys = keys
        self._sender = sender
        self._now = now

    async def accept(self, token: str, body: bytes) -> None:
        """Makes the mailboxes due that the notification is about; the hint is durable on return.

        What makes no sense is logged and dropped, since it would only be delivered again.
        Raises AppError invalid_token, provider_unavailable (no keys to check the token with).
        """
        await self._verify(token)
        notification = parse(body)
        if notification is None:
            log.warning("notification not understood", size=len(body))
            return
        async with self._pool.acquire() as connection, connection.transaction():
            hinted = await schedule.hint(
                connection, provider=PROVIDER, email=notification.email, cursor=notification.cursor
            )
        log.debug("notified", hinted=hinted)

    async def _verify(self, token: str) -> None:
        sender = self._sender
        if sender is None:
            raise _invalid("nobody may push")
        key = await self._key(token)
        try:
            claims = jwt.decode(
                token, key, algorithms=["RS256"], audience=sender.audience, issuer=sender.issuer, options=_OPTIONS
            )
        except jwt.PyJWTError as error:
            raise _invalid(type(error).__name__) from error
        if claims["email"] != sender.service_account or claims.get("email_verified") is not True:
            raise _invalid("another service account")
        self._check_times(claims)

    async def _key(self, token: str) -> jwt.PyJWK:
        if len(token) > LONGEST_TOKEN:
            raise _invalid("too long")
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError as error:
            raise _invalid(type(error).__name__) from error
        # Looked at before any key is: only a token of the right kind may cause a fetch.
        if header.get("alg") != "RS256":
            raise _invalid("another algorithm")
        try:
            key = await self._keys.find(header.get("kid"))
        except ProviderUnavailableError as error:
            raise AppError(Kind.UNAVAILABLE, "provider_unavailable", "The provider's keys cannot be had.") from error
        if key is None:
            raise _invalid("unknown key")
        return key

    def _check_times(self, claims: dict[str, Any]) -> None:
        expires, issued = claims["exp"], claims["iat"]
        if not isinstance(expires, int | float) or not isinstance(issued, int | float):
            raise _invalid("times that are not numbers")
        now = self._now().timestamp()
        if expires <= now - LEEWAY or issued > now + LEEWAY:
            raise _invalid("expired, or issued in the future")


def parse(body: bytes) -> Notification | None:
    """The notification in the body of a push; None for whatever is not one.

    The data is base64 in either alphabet, padded or not; historyId a number or a string.
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


def _invalid(reason: str) -> AppError:
    log.warning("notification refused", reason=reason)
    return AppError(Kind.UNAUTHENTICATED, "invalid_token", "The token is not one of the push service account.")
