"""The identity of a service towards its peers: a certificate that names it, its key, and the CA that all trust.

See docs/service-identity.md.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import load_pem_private_key

CERT, KEY, CA = "MAILROOM_TLS_CERT", "MAILROOM_TLS_KEY", "MAILROOM_TLS_CA"

log = structlog.get_logger()

type Clock = Callable[[], datetime]


class IdentityError(ValueError):
    """The files cannot be used; the message begins with the variable that names the wrong one."""


@dataclass(frozen=True, slots=True)
class Pem:
    """The contents of the three files: the certificate with its chain, its key, and the trusted CAs."""

    certificate: bytes
    key: bytes = field(repr=False)
    ca: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceIdentity:
    """The paths of the PEM files of the service `name`."""

    name: str
    certificate: Path
    key: Path
    ca: Path

    def read(self, *, now: datetime) -> Pem:
        """Read the files. Raises IdentityError unless they are complete, fit together and are valid at `now`."""
        pem = Pem(_read(CERT, self.certificate), _read(KEY, self.key), _read(CA, self.ca))
        leaf, *chain = _certificates(CERT, self.certificate, pem.certificate)
        authorities = _certificates(CA, self.ca, pem.ca)
        if _public_key(self.key, pem.key) != leaf.public_key():
            raise IdentityError(f"{KEY}: {self.key} is not the key of the certificate in {self.certificate}")
        names = _names(leaf)
        if self.name not in names:
            raise IdentityError(f"{CERT}: {self.certificate} is for {names or 'nobody'} and must be for {self.name!r}")
        if not leaf.not_valid_before_utc <= now < leaf.not_valid_after_utc:
            raise IdentityError(
                f"{CERT}: {self.certificate} is valid from {leaf.not_valid_before_utc} to {leaf.not_valid_after_utc}"
            )
        if not any(_issued(authority, leaf) for authority in [*chain, *authorities]):
            raise IdentityError(f"{CERT}: {self.certificate} was not issued by an authority in {self.ca}")
        return pem


class WatchedIdentity:
    """An identity whose files are replaced while the process runs.

    Files that do not fit together, as in the middle of a rotation, are ignored until they change again.
    """

    def __init__(self, identity: ServiceIdentity, *, now: Clock = lambda: datetime.now(UTC)) -> None:
        """Read the files. Raises IdentityError."""
        self._identity = identity
        self._now = now
        self._stamp = self._look()
        self.pem = identity.read(now=now())

    def has_changed(self) -> bool:
        """Return whether `pem` has changed since the previous call."""
        stamp = self._look()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            pem = self._identity.read(now=self._now())
        except IdentityError as error:
            log.error("changed certificate files are not used", reason=str(error))
            return False
        changed, self.pem = pem != self.pem, pem
        if changed:
            log.info("certificate files reloaded", certificate=str(self._identity.certificate))
        return changed

    def _look(self) -> tuple[tuple[int, int] | None, ...]:
        identity = self._identity
        return tuple(_stamp(path) for path in (identity.certificate, identity.key, identity.ca))


def _stamp(path: Path) -> tuple[int, int] | None:
    """Return a value that a write, a rename over the file, or a changed link on its path changes."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_ctime_ns


def _read(variable: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise IdentityError(f"{variable}: {path} cannot be read: {error.strerror}") from error


def _certificates(variable: str, path: Path, pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise IdentityError(f"{variable}: {path} holds no certificate in PEM") from error


def _public_key(path: Path, pem: bytes) -> object:
    try:
        return load_pem_private_key(pem, password=None).public_key()
    # A TypeError means that the key is encrypted.
    except (ValueError, TypeError) as error:
        raise IdentityError(f"{KEY}: {path} holds no unencrypted private key in PEM") from error


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return extension.value.get_values_for_type(x509.DNSName)


def _issued(authority: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
