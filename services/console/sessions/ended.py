"""Sessions that were signed out, of which cookies may still be around."""

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

log = structlog.get_logger()

_NONCE_BYTES = 12
_PURPOSE = b"mailroom console ended sessions v1"
_LONGEST_ID = 64


class EndedSessions:
    """The ids of such sessions, each until its cookies are worth nothing anyway. `clock`: seconds since 1970.

    With a `file` they outlive the process. One that cannot be read or written is logged, and keeps nobody out.
    """

    def __init__(self, *, clock: Callable[[], float], file: Path | None = None) -> None:
        self._clock = clock
        self._file = file
        self._until = {} if file is None else _read(file)

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._until

    def add(self, ended: Mapping[str, float]) -> None:
        """Add sessions with the times until which they are remembered."""
        now, before = self._clock(), self._until
        self._until = {known: until for known, until in {**before, **ended}.items() if until > now}
        if self._file is not None and self._until != before:
            _write(self._file, self._until)

    def all(self) -> dict[str, float]:
        """Return those that are known."""
        return dict(self._until)


class EndedSessionsCipher:
    """Encrypts ended sessions for other processes with the same secret (AES-256-GCM)."""

    def __init__(self, secret: str) -> None:
        key = HKDF(algorithm=SHA256(), length=32, salt=None, info=_PURPOSE).derive(secret.encode())
        self._cipher = AESGCM(key)

    def encrypt(self, ended: Mapping[str, float]) -> bytes:
        """Return a message that only these processes can make and read."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, json.dumps(ended).encode(), _PURPOSE)

    def decrypt(self, message: bytes) -> dict[str, float] | None:
        """Return what a message says, None if another secret made it."""
        try:
            ended = json.loads(self._cipher.decrypt(message[:_NONCE_BYTES], message[_NONCE_BYTES:], _PURPOSE))
        except (ValueError, InvalidTag):
            return None
        return ended if _is_whole(ended) else None


def _is_whole(ended: object) -> bool:
    return isinstance(ended, dict) and all(
        len(name) <= _LONGEST_ID and isinstance(until, int | float) and math.isfinite(until)
        for name, until in ended.items()
    )


def _read(file: Path) -> dict[str, float]:
    try:
        ended = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        log.warning("ended sessions cannot be read", file=str(file), reason=type(error).__name__)
        return {}
    return ended if _is_whole(ended) else {}


def _write(file: Path, ended: Mapping[str, float]) -> None:
    """Replace the file as a whole, so that a process that is killed leaves the one before."""
    new = file.with_name(f"{file.name}.new")
    try:
        new.write_text(json.dumps(ended))
        new.replace(file)
    except OSError as error:
        log.error("ended sessions cannot be written", file=str(file), reason=type(error).__name__)
