"""Begins, finds and ends the sessions of browsers."""

import secrets
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response

from services.console.sessions.ended import EndedSessions
from services.console.sessions.session import Session, SessionCipher
from services.kit.api_key import ApiKeyText

# Seconds within which a cookie is not written again: it need not know the last request to the second.
_RENEWAL = 60.0


class Sessions:
    """Sessions end when signed out, after `idle` seconds without a request, and `longest` seconds after they began."""

    def __init__(
        self,
        cipher: SessionCipher,
        *,
        ended: EndedSessions,
        idle: float,
        longest: float,
        clock: Callable[[], float],
        https: bool,
    ) -> None:
        self._cipher = cipher
        self._ended = ended
        self._idle = idle
        self._longest = longest
        self._clock = clock
        self._https = https
        # A browser sends a cookie of this prefix to this host alone, and only where it was set over TLS (RFC 6265bis).
        self._name = "__Host-console" if https else "console"

    def begin(self, key: ApiKeyText, response: Response) -> None:
        """Begin a session with a key."""
        now = self._clock()
        session = Session(
            id=secrets.token_hex(16), key=key, form_token=secrets.token_urlsafe(32), began=now, last_seen=now
        )
        self._write(session, response)

    def find(self, request: Request) -> Session | None:
        """Return the live session of a request."""
        session = self._cipher.decrypt(request.cookies.get(self._name, ""))
        if session is None or session.id in self._ended:
            return None
        now = self._clock()
        is_live = now - session.last_seen < self._idle and now - session.began < self._longest
        return session if is_live else None

    def renew(self, session: Session, response: Response) -> None:
        """Record that the session was used."""
        now = self._clock()
        if now - session.last_seen >= _RENEWAL:
            self._write(session.seen(now), response)

    def end(self, session: Session, response: Response) -> None:
        """End a session."""
        self._ended.add({session.id: session.began + self._longest})
        response.delete_cookie(self._name, path="/", secure=self._https, httponly=True, samesite="strict")

    def _write(self, session: Session, response: Response) -> None:
        response.set_cookie(
            self._name, self._cipher.encrypt(session), path="/", secure=self._https, httponly=True, samesite="strict"
        )
